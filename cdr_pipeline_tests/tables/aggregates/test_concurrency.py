"""The hours of a day and the most calls at once, compared with a count of every second."""

from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdr_pipeline.tables.aggregates.concurrency import (
    Hours,
    _spans,
    campaign_hourly,
    remade,
)
from cdr_pipeline.tables.datasets import CAMPAIGN_HOURLY, CDRS
from cdr_pipeline.tables.store import Store
from cdr_pipeline.window import Window
from cdr_pipeline_tests.records import DAY, NEW_YORK, SAIGON, Sent, call, flat

#: (hour, campaign, peak of calls, peak of talks); the campaign "all" stands for all campaigns.
Peaks = set[tuple[int, str | None, int, int]]
SECOND: Final = timedelta(seconds=1)


def a_call(
    id_: str, started: datetime, ended: int | None, answered: int | None = None, campaign: str = ""
) -> Sent:
    """A call; `answered` and `ended`: seconds after its start, None for never."""

    def later(seconds: int | None) -> str:
        return "" if seconds is None else f"{started + seconds * SECOND:%F %T}"

    return call(
        id_,
        f"{started:%F %T}",
        time_answered=later(answered),
        time_ended=later(ended),
        campaign_uuid=campaign,
    )


def calls_of(days: dict[date, list[Sent]], zone: ZoneInfo = SAIGON) -> pl.DataFrame:
    """The `cdrs` of some days together, with `date`."""
    return pl.concat(
        flat(*records, day=day, zone=zone)
        .cdrs.select(CDRS.schema(zone).names())
        .with_columns(date=pl.lit(day))
        for day, records in days.items()
    )


def peaks(cdrs: pl.DataFrame, day: date, zone: ZoneInfo = SAIGON) -> Peaks:
    """The peaks of `campaign_hourly`."""
    frame = campaign_hourly(Hours.of(cdrs.lazy(), day, zone)).collect(engine="in-memory")
    one = frame.select("hour", "campaign_uuid", "peak_calls", "peak_talks")
    all_ = frame.select("hour", pl.lit("all"), "peak_calls_all", "peak_talks_all")
    return {row for row in (*one.rows(), *all_.rows()) if row[2] or row[3]}


def brute_force(cdrs: pl.DataFrame, day: date, zone: ZoneInfo = SAIGON) -> Peaks:
    """The peaks from a count of calls and talks in each second of the day."""
    bounds = (Window.of(day).start, Window.of(day).end)
    first, last = (int(at.replace(tzinfo=zone).timestamp()) for at in bounds)
    most: dict[tuple[int, str | None], list[int]] = defaultdict(lambda: [0, 0])
    for place, since in enumerate(("time_started", "time_answered")):
        at_once: Counter[tuple[int, str | None]] = Counter()
        columns = cdrs.select("campaign_uuid", since, "time_ended").drop_nulls(
            [since, "time_ended"]
        )
        for campaign, begun, ended in columns.rows():
            for second in range(
                max(first, int(begun.timestamp())), min(last, int(ended.timestamp()))
            ):
                at_once[second, campaign] += 1
                at_once[second, "all"] += 1
        for (second, campaign), count in at_once.items():
            hour = datetime.fromtimestamp(second, UTC).astimezone(zone).hour
            most[hour, campaign][place] = max(most[hour, campaign][place], count)
    return {(hour, campaign, *counts) for (hour, campaign), counts in most.items()}  # type: ignore[misc]


def _hostile(day: date) -> st.SearchStrategy[list[Sent]]:
    edges = [0, 1, 3599, 3600, 3605, 3610, 7199, 86_390, 86_399]
    seconds = st.sampled_from([None, -5, 0, 1, 5, 6, 10, 3600])
    calls = st.tuples(st.sampled_from(edges), seconds, seconds, st.sampled_from(["", "c1", "c2"]))
    midnight = datetime.combine(day, datetime.min.time())
    return st.lists(calls, max_size=7).map(
        lambda drawn: [
            a_call(f"{day:%d}-{n}", midnight + at * SECOND, ended, answered, campaign)
            for n, (at, ended, answered, campaign) in enumerate(drawn)
        ]
    )


@given(_hostile(DAY - timedelta(days=1)), _hostile(DAY))
@settings(max_examples=40, deadline=None)
def test_peaks_equal_those_of_a_count_of_every_second(
    before: list[Sent], on_it: list[Sent]
) -> None:
    cdrs = calls_of({DAY - timedelta(days=1): before, DAY: on_it})
    assert peaks(cdrs, DAY) == brute_force(cdrs, DAY)


@pytest.mark.parametrize("day", [date(2023, 3, 12), date(2023, 11, 5)])
@pytest.mark.parametrize("zone", [NEW_YORK, ZoneInfo("Australia/Lord_Howe")])
def test_peaks_are_right_on_days_of_23_and_25_hours(day: date, zone: ZoneInfo) -> None:
    midnight = datetime.combine(day, datetime.min.time())
    records = [
        a_call(f"{hour}", midnight + timedelta(hours=hour, minutes=40), 2_000 * hour, 60)
        for hour in (0, 1, 3, 4, 22)
    ]
    cdrs = calls_of({day: records}, zone)
    assert len(cdrs) == 5
    assert peaks(cdrs, day, zone) == brute_force(cdrs, day, zone)


def test_a_call_that_ends_as_another_begins_does_not_overlap_it() -> None:
    ten = datetime(2023, 3, 7, 10)
    after, beside = (a_call("b", ten + seconds * SECOND, 60) for seconds in (60, 59))
    first = a_call("a", ten, 60)
    assert (10, None, 1, 0) in peaks(calls_of({DAY: [first, after]}), DAY)
    assert (10, None, 2, 0) in peaks(calls_of({DAY: [first, beside]}), DAY)


def test_a_call_over_midnight_is_in_the_peaks_of_both_days_and_counts_on_the_first() -> None:
    over = a_call("a", datetime(2023, 3, 7, 23, 59), 120, 30)
    cdrs = calls_of({DAY: [over], DAY + timedelta(days=1): []})
    both = [
        campaign_hourly(Hours.of(cdrs.lazy(), day, SAIGON))
        .select("hour", "calls", "peak_calls", "peak_talks")
        .collect(engine="in-memory")
        .rows()
        for day in (DAY, DAY + timedelta(days=1))
    ]
    assert both == [[(23, 1, 1, 1)], [(0, 0, 1, 1)]]


def test_a_campaign_is_counted_only_in_hours_in_which_it_has_calls() -> None:
    """Each campaign was joined with each hour: 300,000 campaigns took 2 GB."""
    times = (datetime(2023, 3, 7, hour, 59, 50) for hour in range(8, 17))
    records = [a_call(f"{at}", at, 5, campaign=f"{at}") for at in times]
    over = a_call("over", datetime(2023, 3, 7, 9), 7201, campaign="over")
    spans = _spans(Hours.of(calls_of({DAY: [*records, over]}).lazy(), DAY, SAIGON), "time_started")
    assert len(spans.collect()) == len(records) + 1 + 2


# ---- days loaded in any order


def load(store: Store, day: date, *records: Sent) -> list[date]:
    """Store `cdrs` of a day and each `campaign_hourly` that changes; return the days of these."""
    store.write(CDRS, day, flat(*records, day=day).cdrs)
    written = []
    for changed, frame in remade(store, [day]):
        store.write(CAMPAIGN_HOURLY, changed, frame)
        written.append(changed)
    return written


OVER: Final = a_call("a", datetime(2023, 3, 7, 23, 59), 120)
NEXT: Final = a_call("b", datetime(2023, 3, 8, 0, 0, 30), 10)


def test_the_order_in_which_days_are_loaded_does_not_matter(store: Store, tmp_path: Path) -> None:
    tomorrow = DAY + timedelta(days=1)
    assert [load(store, DAY, OVER), load(store, tomorrow, NEXT)] == [[DAY], [tomorrow]]
    other = Store(tmp_path / "other", SAIGON)
    assert load(other, tomorrow, NEXT) == [tomorrow]
    assert load(other, DAY, OVER) == [tomorrow, DAY]
    for day in (DAY, tomorrow):
        assert store.read(CAMPAIGN_HOURLY, day).equals(other.read(CAMPAIGN_HOURLY, day))
    assert store.read(CAMPAIGN_HOURLY, tomorrow)["peak_calls_all"].to_list() == [2]


def test_a_call_without_an_end_in_this_century_goes_on_until_the_end_of_the_day() -> None:
    """Its seconds did not fit in 32 bits, and every later run of the day failed."""
    endless = call("a", "2023-03-07 22:30:00", time_ended="9999-12-31 23:59:59", campaign_uuid="c")
    found = peaks(calls_of({DAY: [endless]}), DAY)
    assert found == {(hour, one, 1, 0) for hour in (22, 23) for one in ("c", "all")}


def test_the_day_after_is_written_only_if_it_changes(store: Store) -> None:
    tomorrow = DAY + timedelta(days=1)
    load(store, tomorrow, NEXT)
    assert load(store, DAY, a_call("c", datetime(2023, 3, 7, 12), 60)) == [DAY]
    assert load(store, DAY, OVER) == [tomorrow, DAY]
    assert load(store, DAY) == [tomorrow, DAY]


def test_the_day_after_is_not_written_while_its_calls_are_missing(store: Store) -> None:
    """When a damaged file had been deleted, as the message says, the next run of the day before
    wrote the hours of that day without the calls that began on it, and was green.
    """
    tomorrow = DAY + timedelta(days=1)
    load(store, tomorrow, NEXT)
    store.path(CDRS, tomorrow).unlink()
    assert load(store, DAY, OVER) == [DAY]
    assert store.read(CAMPAIGN_HOURLY, tomorrow)["calls"].sum() == 1
