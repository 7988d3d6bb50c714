"""The figures of a report: compared with DuckDB's from the same calls, and with a week before."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
import pytest

from cdr_pipeline.errors import Damaged
from cdr_pipeline.report.figures import NEEDED, figures
from cdr_pipeline.tables import catalog
from cdr_pipeline.tables.datasets import CAMPAIGN_HOURLY, CDRS, RECEIPTS, Dataset
from cdr_pipeline.tables.provenance import about_fetch
from cdr_pipeline.tables.store import Store
from cdr_pipeline_tests.damage import cut_short
from cdr_pipeline_tests.records import DAY, call
from cdr_pipeline_tests.report.conftest import WEEK, LoadDay, simulated


def test_the_figures_equal_those_of_duckdb_from_the_calls(store: Store, load: LoadDay) -> None:
    days = [DAY + timedelta(days=number) for number in range(3)]
    for day in days:
        load(day, simulated(day))
    it = figures(store, days[0], days[-1])
    sql = f"""
        with roots as (select * from read_parquet('{store.root}/cdrs/*/*.parquet',
            union_by_name = true) where is_root)
        select count(*), count(*) filter (disposition = 'answered') as a,
            count(*) filter (disposition <> 'not_attempt') as s, a / s,
            sum(billsec) / a, count(key_pressed),
            count(*) filter (disposition = 'answered' and billsec >= 5)
        from roots
    """
    names = ("calls", "answered", "seizures", "asr", "acd_seconds", "key_presses")
    with duckdb.connect() as db:
        *due, talked = db.execute(sql).fetchall()[0]
    assert [it.now[name] for name in names] == pytest.approx(due)
    assert it.funnel["talked"] == talked
    assert it.curve["calls"].sum() == it.heat["calls"].sum() == it.now["calls"]
    assert it.campaigns["calls"].sum() == it.now["calls"]
    assert it.curve["at"].to_list() == days


@pytest.mark.parametrize("span", [f"('{DAY}', '{DAY + timedelta(days=1)}')", "(null, null)"])
def test_the_catalogs_macros_give_the_figures_of_the_page(
    store: Store, load: LoadDay, span: str
) -> None:
    days = [DAY, DAY + timedelta(days=1)]
    for day in days:
        load(day, simulated(day))
    it = figures(store, *days)
    with duckdb.connect(catalog.build(store).path, read_only=True) as db:

        def rows(columns: str, macro: str) -> list[tuple[Any, ...]]:
            return db.execute(f"select {columns} from {macro}{span}").fetchall()

        for table, macro, columns in (
            (it.campaigns, "report_campaigns", "campaign_uuid, calls, answered, asr, ner"),
            (it.campaigns, "report_campaigns", "campaign_uuid, acd_seconds, key_presses"),
            (it.hotlines, "report_hotlines", "from_number, calls, asr, congestion_share"),
        ):
            ours = table.select(columns.split(", ")).rows()
            assert sorted(rows(columns, macro), key=str) == sorted(ours, key=str)
        hours = rows("sum(calls), max(peak_calls), max(peak_talks)", "report_hours")
        names = ("calls", "peak_calls", "peak_talks")
        assert hours == [tuple(it.now[name] for name in names)]
        attempts = rows("sum(calls), max(attempt)", "report_attempts")[0]
        assert attempts[0] == it.now["calls"]
        assert attempts[1] > 1


def test_an_hour_in_which_no_call_begins_is_not_in_the_curve(store: Store, load: LoadDay) -> None:
    load(DAY, [call(1, f"{DAY} 10:59:50", time_ended=f"{DAY} 11:00:10")])
    assert store.read(CAMPAIGN_HOURLY, DAY)["hour"].to_list() == [10, 11]
    assert figures(store, DAY, DAY).curve.select("at", "calls").rows() == [(10, 1)]


def test_a_campaign_without_calls_of_the_day_takes_no_row_among_the_hours(
    store: Store, load: LoadDay
) -> None:
    before = DAY - timedelta(days=1)
    load(
        before,
        [call("late", f"{before} 23:59:00", campaign_uuid="z", time_ended=f"{DAY} 00:05:00")],
    )
    load(DAY, [call(f"{n}", campaign_uuid=f"c{n:02}") for n in range(12)])
    it = figures(store, DAY, DAY)
    assert it.heat["row"].to_list() == it.campaigns["campaign_uuid"].to_list()


def test_a_day_without_calls_is_in_the_curve(store: Store, load: LoadDay) -> None:
    days = [DAY + timedelta(days=number) for number in range(3)]
    for day in days:
        load(day, [] if day == days[1] else [call("a", f"{day} 10:00:00")])
    assert figures(store, days[0], days[2]).curve["calls"].to_list() == [1, 0, 1]


def test_a_day_that_is_not_stored_is_named_and_has_no_figures_in_the_curve(
    store: Store, load: LoadDay
) -> None:
    first, missing, last = (DAY + timedelta(days=number) for number in range(3))
    for day in (first, last, first - WEEK, last - WEEK):
        load(day, [call("a", f"{day} 10:00:00")])
    it = figures(store, first, last)
    assert it.missing == [missing]
    assert it.curve.rows() == [(first, 1, 1), (missing, None, None), (last, 1, 1)]


def test_a_day_that_a_killed_run_left_in_part_is_in_no_figure(store: Store, load: LoadDay) -> None:
    days = [DAY, DAY + timedelta(days=1)]
    for day in days:
        load(day, [call("a", f"{day} 10:00:00")])
    again = about_fetch(datetime(2023, 3, 21, tzinfo=UTC))
    for dataset in (RECEIPTS, CDRS):
        store.write(dataset, DAY, store.read(dataset, DAY), about=again)
    it = figures(store, *days)
    assert (it.days, it.missing) == (days[1:], days[:1])


def test_a_talk_of_unknown_length_is_not_counted_as_five_seconds_or_more(
    store: Store, load: LoadDay
) -> None:
    answered = {"time_answered": f"{DAY} 10:00:09"}
    load(
        DAY,
        [
            call("a", f"{DAY} 10:00:00", **answered, billsec=5),
            call("b", f"{DAY} 10:00:00", **answered, billsec=4),
            call("c", f"{DAY} 10:00:00", **answered, billsec=""),
        ],
    )
    funnel = figures(store, DAY, DAY).funnel
    assert (funnel["answered"], funnel["talked"]) == (3, 1)


def test_a_range_is_compared_with_the_same_weekdays_before_if_all_are_stored(
    store: Store, load: LoadDay
) -> None:
    days = [DAY + timedelta(days=number) for number in range(2)]
    for day in (*days, days[0] - WEEK):
        load(day, simulated(day, 60))
    assert figures(store, *days).before is None
    load(days[1] - WEEK, simulated(days[1] - WEEK, 60))
    it = figures(store, *days)
    assert (it.earlier.first, it.earlier.last) == (days[0] - WEEK, days[1] - WEEK)
    assert it.before is not None
    assert it.curve["at"].to_list() == days


def test_nothing_is_compared_if_a_day_of_the_week_before_cannot_be_read(
    store: Store, load: LoadDay
) -> None:
    """A damaged file of the day a week before stopped the report of a whole day."""
    for day in (DAY - WEEK, DAY):
        load(day, [call("a", f"{day} 10:00:00")])
    assert figures(store, DAY, DAY).before is not None
    cut_short(store.path(CDRS, DAY - WEEK))
    it = figures(store, DAY, DAY)
    assert (it.days, it.before) == ([DAY], None)


@pytest.mark.parametrize("dataset", NEEDED, ids=lambda one: one.name)
def test_a_damaged_file_of_any_day_is_named(store: Store, load: LoadDay, dataset: Dataset) -> None:
    days = [date(2023, 3, day) for day in (6, 7, 8)]
    for day in days:
        load(day, [call(time_started=f"{day} 10:00:00")])
    path = store.path(dataset, days[1])
    cut_short(path)
    with pytest.raises(Damaged, match=re.escape(f"{path} cannot be read")):
        figures(store, days[0], days[-1])
