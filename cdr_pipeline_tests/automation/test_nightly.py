"""The schedule `nightly`: which days it requests each night."""

from datetime import time
from typing import Any

import dagster as dg
import pytest

from cdr_pipeline.automation.jobs import ASKED_BY
from cdr_pipeline.settings import Settings
from cdr_pipeline.tables.datasets import (
    CAMPAIGN_DAILY,
    CDRS,
    DATASETS,
    RAW_PAGES,
    RECEIPTS,
    Dataset,
)
from cdr_pipeline.tables.provenance import MADE
from cdr_pipeline.tables.store import Store
from cdr_pipeline_tests.automation.nights import FIRST, after_nights, days_of, some_days
from cdr_pipeline_tests.damage import cut_short, stale
from cdr_pipeline_tests.desk import TOKEN
from cdr_pipeline_tests.living import DAY, Clock, NewWorld, Switchboard, World, at


def test_the_first_night_loads_the_day_that_ended_and_the_next_ones_the_lookback_too(
    world: NewWorld,
) -> None:
    it, _ = world(some_days(Switchboard(), 6), lookback_days=2)
    Clock.at = at(FIRST + DAY * 4, 1.5)
    assert days_of(it.nightly()) == [("2023-03-04", "2023-03-04")]
    Clock.at += DAY
    (request,) = it.nightly()
    assert days_of([request]) == [("2023-03-04", "2023-03-05")]
    assert request.tags[ASKED_BY] == "nightly: 2023-03-06"
    assert it.loaded(FIRST + DAY * 4) == it.board.truth(FIRST + DAY * 4)
    assert it.nightly(at(FIRST + DAY * 5, 1.5)) == []
    assert "every day up to 2023-03-05 was fetched when it was due" in it.skipped


def test_a_run_that_ends_after_midnight_belongs_to_the_night_in_which_it_began(
    world: NewWorld,
) -> None:
    """The run was taken for the next night's, which then left out every second load of a day, also
    the last.
    """
    it, _ = world(some_days(Switchboard(), 6), lookback_days=1, schedule_time=time(23, 50))
    looked = []
    for ahead in range(1, 5):
        Clock.at = at(FIRST + DAY * (ahead + 1), 0.3)
        looked += days_of(it.nightly(at(FIRST + DAY * ahead, 23 + 5 / 6)))
    assert looked == [
        ("2023-03-01", "2023-03-01"),
        ("2023-03-01", "2023-03-02"),
        ("2023-03-02", "2023-03-03"),
        ("2023-03-03", "2023-03-04"),
    ]


def test_before_the_first_partition_there_is_nothing_to_load(world: NewWorld) -> None:
    it, vendor = world(Switchboard(), start_date=FIRST)
    Clock.at = at(FIRST, 1.5)
    assert it.nightly() == []
    assert "CDR_START_DATE" in it.skipped
    assert not vendor.requests


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("CDR_PAGE_SIZE", "0", "CDR_PAGE_SIZE: should be greater"),
        ("CDR_DATA_DIR", "s3://calls", "CDR_DATA_DIR: must be a folder"),
        ("CDR_START_DATE", "yesterday", "CDR_START_DATE"),
        ("CDR_API_BASE_URL", "", "CDR_API_BASE_URL is missing"),
    ],
)
def test_a_wrong_setting_fails_the_run_of_the_day_that_ended_in_its_words(
    unset: dict[str, Any], monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    """A tick that only skips leaves no run, so no alert is sent."""
    monkeypatch.setenv("CDR_API_BASE_URL", "api.example.vn")
    monkeypatch.setenv("CDR_API_TOKEN", TOKEN)
    monkeypatch.setenv(name, value)
    with dg.DagsterInstance.ephemeral() as instance:
        it = World(Switchboard(), instance, Settings.for_display(), unset["loading"])
        Clock.at = at(FIRST + DAY, 1.5)
        assert days_of(it.nightly()) == [("2023-03-01", "2023-03-01")]
        (failed,) = instance.get_records_for_run(
            it.last_run().run_id, of_type=dg.DagsterEventType.STEP_FAILURE
        ).records
    assert says in str(failed.event_log_entry.dagster_event)


def test_if_the_folder_cannot_be_read_the_run_fails_and_the_check_is_red(
    world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a network share hung, both ticks failed: nobody was alerted and `fresh` stayed green."""
    it, _ = after_nights(world, 2, days=4)
    monkeypatch.setattr(Store, "days", stale)
    Clock.at = at(FIRST + DAY * 3, 1.5)
    assert days_of(it.nightly()) == [("2023-03-03", "2023-03-03")]
    assert it.failed == [FIRST + DAY * 3]
    Clock.at = at(FIRST + DAY * 3, 6)
    it.sensor("freshness")
    assert it.red == ["No day can"]
    assert "a file in CDR_DATA_DIR could not be read or written: Stale file handle" in it.skipped


def test_a_partition_deleted_by_hand_is_made_again_in_the_night(world: NewWorld) -> None:
    it, vendor = after_nights(world, 6, days=8, lookback_days=0)
    it.store.path(RAW_PAGES, FIRST + DAY).unlink()
    it.store.path(CAMPAIGN_DAILY, FIRST + DAY * 2).unlink()
    vendor.requests.clear()
    Clock.at = at(FIRST + DAY * 7, 1.5)
    *fetched, made = it.nightly()
    assert days_of(fetched) == [("2023-03-02", "2023-03-02"), ("2023-03-07", "2023-03-07")]
    assert days_of([made]) == [("2023-03-03", "2023-03-03")]
    assert it.failed == []
    assert all(it.store.holds(one, FIRST + DAY) for one in DATASETS.values())
    assert it.store.holds(CAMPAIGN_DAILY, FIRST + DAY * 2)
    assert {exchange.params["start_date"][:10] for exchange in vendor.requests} == {
        "2023-03-01",
        "2023-03-06",
    }


def test_an_incomplete_first_day_is_requested_too(world: NewWorld) -> None:
    """The day was taken for one before the earliest stored day, which people must load."""
    it, _ = after_nights(world, 1, days=4, lookback_days=0)
    it.store.path(RECEIPTS, FIRST).unlink()
    Clock.at = at(FIRST + DAY * 3, 1.5)
    assert days_of(it.nightly()) == [("2023-03-01", "2023-03-03")]


def test_days_whose_raw_pages_were_deleted_are_not_requested_each_night(world: NewWorld) -> None:
    it, _ = after_nights(world, 3, days=5, lookback_days=0)
    for day in (FIRST, FIRST + DAY):
        it.store.path(RAW_PAGES, day).unlink()
    Clock.at = at(FIRST + DAY * 4, 1.5)
    assert days_of(it.nightly()) == [("2023-03-04", "2023-03-04")]


def test_a_run_killed_between_a_days_pages_and_its_calls_is_finished_the_next_night(
    world: NewWorld,
) -> None:
    it, _ = after_nights(world, 2, days=4, lookback_days=0)
    before = {one: it.store.path(one, FIRST).read_bytes() for one in MADE}
    Clock.at = at(FIRST + DAY * 2, 2)
    it.load(FIRST)
    for dataset, file in before.items():  # as if that run had not replaced them
        it.store.path(dataset, FIRST).write_bytes(file)
    Clock.at = at(FIRST + DAY * 3, 1.5)
    assert days_of(it.nightly()) == [("2023-03-03", "2023-03-03"), ("2023-03-01", "2023-03-01")]
    Clock.at += DAY
    assert days_of(it.nightly()) == [("2023-03-04", "2023-03-04")]


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=lambda one: one.name)
def test_a_damaged_file_fails_no_tick_and_its_day_is_requested(
    world: NewWorld, dataset: Dataset
) -> None:
    it, _ = after_nights(world, 3, days=6, lookback_days=0)
    cut_short(it.store.path(dataset, FIRST + DAY))
    Clock.at = at(FIRST + DAY * 4, 1.5)
    assert sorted(days_of(it.nightly())) == [("2023-03-02",) * 2, ("2023-03-04",) * 2]
    assert it.store.holds(CDRS, FIRST + DAY * 3)
