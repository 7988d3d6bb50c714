"""Attempts: numbered over all days, the same whatever the order in which days are loaded."""

from datetime import date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdr_pipeline.tables.aggregates.attempts import (
    calls_to_leads,
    counted,
    lead_attempts,
    remade,
)
from cdr_pipeline.tables.aggregates.daily import Day, campaign_daily
from cdr_pipeline.tables.datasets import CAMPAIGN_DAILY, CDRS, DATE, LEAD_ATTEMPTS, RECEIPTS
from cdr_pipeline.tables.readers import fixed
from cdr_pipeline.tables.store import Store
from cdr_pipeline_tests.records import SAIGON, Sent, call, flat

FIRST: Final = date(2023, 3, 6)
DAYS: Final = [FIRST + timedelta(days=number) for number in range(4)]


def call_to(lead: str, number: int, hour: int = 10, campaign: str = "c1", **fields: object) -> Sent:
    """A call to a lead on the day `DAYS[number]`."""
    day = DAYS[number]
    return call(
        f"{day}-{hour}-{lead}-{campaign}",
        f"{day} {hour:02}:00:00",
        lead_uuid=lead,
        campaign_uuid=campaign,
        **fields,
    )


def load(store: Store, day: date, records: list[Sent]) -> list[date]:
    """Store `cdrs` and `campaign_daily` of a day, and each `lead_attempts` that changes; return the
    days of these.
    """
    store.write(CDRS, day, flat(*records, day=day).cdrs)
    store.write(
        CAMPAIGN_DAILY,
        day,
        campaign_daily(Day.of(store.lazy(CDRS, day))).collect(engine="in-memory"),
    )
    written = []
    for changed, frame in remade(store, [day]):
        store.write(LEAD_ATTEMPTS, changed, frame)
        written.append(changed)
    return written


def attempts(store: Store, day: date) -> list[tuple[Any, ...]]:
    """(campaign, attempt, calls, mean hours since the previous attempt) of each row."""
    frame = store.read(LEAD_ATTEMPTS, day)
    return frame.select("campaign_uuid", "attempt", "calls", "hours_since_previous").rows()


def test_attempts_are_numbered_within_a_campaign_and_over_days(store: Store) -> None:
    load(
        store,
        DAYS[0],
        [call_to("a", 0), call_to("a", 0, 12), call_to("b", 0), call_to("a", 0, campaign="c2")],
    )
    load(store, DAYS[2], [call_to("a", 2), call_to("b", 2), call_to("c", 2)])
    assert attempts(store, DAYS[0]) == [
        ("c1", 1, 2, None),
        ("c1", 2, 1, 2.0),
        ("c2", 1, 1, None),
    ]
    assert attempts(store, DAYS[2]) == [("c1", 1, 1, None), ("c1", 2, 1, 48.0), ("c1", 3, 1, 46.0)]


def test_calls_without_a_lead_have_no_number(store: Store) -> None:
    load(store, DAYS[0], [call_to("", 0), call_to("", 0, 11), call_to("", 0, campaign="")])
    assert attempts(store, DAYS[0]) == [(None, None, 1, None), ("c1", None, 2, None)]


def test_a_day_that_arrives_late_renumbers_later_days(store: Store) -> None:
    load(store, DAYS[1], [call_to("a", 1)])
    load(store, DAYS[2], [call_to("a", 2), call_to("x", 2, campaign="c2")])
    load(store, DAYS[3], [call_to("x", 3, campaign="c2")])
    assert load(store, DAYS[0], [call_to("a", 0)]) == [DAYS[2], DAYS[1], DAYS[0]]
    assert attempts(store, DAYS[1]) == [("c1", 2, 1, 24.0)]
    assert attempts(store, DAYS[2]) == [("c1", 3, 1, 24.0), ("c2", 1, 1, None)]


def test_a_day_that_loses_its_calls_renumbers_later_days(store: Store) -> None:
    load(store, DAYS[0], [call_to("a", 0)])
    load(store, DAYS[1], [call_to("a", 1)])
    assert load(store, DAYS[0], []) == [DAYS[1], DAYS[0]]
    assert attempts(store, DAYS[1]) == [("c1", 1, 1, None)]


def test_a_day_without_a_list_of_campaigns_is_searched(store: Store) -> None:
    load(store, DAYS[0], [call_to("a", 0)])
    store.path(CAMPAIGN_DAILY, DAYS[0]).unlink()
    load(store, DAYS[1], [call_to("a", 1)])
    assert attempts(store, DAYS[1]) == [("c1", 2, 1, 24.0)]


def test_the_numbers_of_later_days_do_not_count_calls_that_were_replaced(store: Store) -> None:
    # The first run was killed before it wrote lead_attempts; the next day's run counted its calls.
    store.write(CDRS, DAYS[0], flat(call_to("a", 0), day=DAYS[0]).cdrs)
    load(store, DAYS[1], [call_to("a", 1)])
    assert attempts(store, DAYS[1]) == [("c1", 2, 1, 24.0)]
    row = dict.fromkeys(("reported_total", "unique_records", "outside_window", "new_calls"), 1)
    receipt = row | {"finished_at": datetime(2023, 3, 8, tzinfo=SAIGON)}
    store.write(RECEIPTS, DAYS[0], pl.DataFrame([receipt], schema=RECEIPTS.schema(SAIGON)))
    assert load(store, DAYS[0], [call_to("a", 0, campaign="c2")]) == [DAYS[1], DAYS[0]]
    assert attempts(store, DAYS[1]) == [("c1", 1, 1, None)]


_CALLS: Final = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", ""]), st.integers(8, 12), st.sampled_from(["c1", "c2", ""])
    ),
    unique=True,
    max_size=5,
)


_LOADS: Final = st.lists(st.tuples(st.integers(0, 3), _CALLS), min_size=1, max_size=7)
_Loads = list[tuple[int, list[tuple[str, int, str]]]]


def with_calls(loads: _Loads) -> list[tuple[int, list[Sent]]]:
    """(number of the day, its calls) of each load."""
    return [
        (day, [call_to(lead, day, hour, campaign) for lead, hour, campaign in c])
        for day, c in loads
    ]


@given(_LOADS, st.permutations(range(4)))
@settings(max_examples=20, deadline=None)
def test_the_stored_attempts_do_not_depend_on_the_order_in_which_days_were_loaded(
    loads: _Loads, order: list[int]
) -> None:
    days = with_calls(loads)
    last = dict(days)
    with TemporaryDirectory() as folder:
        one, other = (Store(Path(folder) / name, SAIGON) for name in ("one", "other"))
        for number, records in days:
            load(one, DAYS[number], records)
        for number in filter(last.__contains__, order):
            load(other, DAYS[number], last[number])
        for number in last:
            ours, theirs = (store.read(LEAD_ATTEMPTS, DAYS[number]) for store in (one, other))
            assert ours.equals(theirs)
        total = sum(one.read(LEAD_ATTEMPTS, day)["calls"].sum() for day in one.days(LEAD_ATTEMPTS))
        assert total == sum(map(len, last.values()))


@given(_LOADS, st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_the_stored_attempts_do_not_depend_on_how_many_calls_were_numbered_at_once(
    loads: _Loads, at_once: int
) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("cdr_pipeline.tables.aggregates.attempts._AT_ONCE", at_once)
        store = Store(Path(folder), SAIGON)
        for number, records in with_calls(loads):
            load(store, DAYS[number], records)
        all_ = calls_to_leads(fixed(store, CDRS, store.days(CDRS)))
        due = lead_attempts(counted(all_, FIRST)).collect(engine="in-memory")
        for day in store.days(CDRS):
            numbered = due.filter(pl.col(DATE) == day).drop(DATE)
            assert store.read(LEAD_ATTEMPTS, day).equals(numbered)
