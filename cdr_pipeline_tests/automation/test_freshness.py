"""The check `fresh`, whether the day that ended is stored, as sensor and runs record it."""

import shutil
from typing import Any

import dagster as dg
import pytest

from cdr_pipeline.tables.datasets import CDRS
from cdr_pipeline.tables.store import Store
from cdr_pipeline_tests.automation.nights import FIRST, after_nights, nights, some_days
from cdr_pipeline_tests.damage import stale
from cdr_pipeline_tests.living import DAY, Clock, NewWorld, Switchboard, at
from cdr_pipeline_tests.runs import last_evaluation


def test_the_check_turns_red_when_the_day_that_ended_is_missing_and_green_when_it_is_there(
    world: NewWorld,
) -> None:
    it, _ = world(some_days(Switchboard(), 4))
    Clock.at = at(FIRST + DAY, 12)
    it.sensor("freshness")
    assert it.skipped == "No recent day was ever loaded."
    nights(it, FIRST + DAY, FIRST + DAY)
    for hour in (1, 2, 5, 6, 7, 23):
        Clock.at = at(FIRST + DAY * 2, hour)
        it.sensor("freshness")
    assert it.red == ["2023-03-02"]
    assert "cdr-pipeline run --from 2023-03-02 --to 2023-03-02" in it.skipped
    nights(it, FIRST + DAY * 2, FIRST + DAY * 2)
    Clock.at = at(FIRST + DAY * 2, 23.5)
    it.sensor("freshness")
    assert it.red == ["2023-03-02"]
    assert it.sensor("freshness") == []
    assert it.skipped == "2023-03-02 is there"


def test_the_check_is_red_once_while_a_setting_is_wrong_and_says_which(
    world: NewWorld, unset: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    it, _ = after_nights(world, 1)
    Clock.at = at(FIRST + DAY, 12)
    mended, it.loading = it.loading, unset["loading"]
    monkeypatch.setenv("CDR_PAGE_SIZE", "0")
    it.sensor("freshness")
    it.sensor("freshness")
    assert it.red == ["No day can"]
    assert "what is stored is safe" in it.skipped
    assert "CDR_PAGE_SIZE: should be greater than or equal to 1" in it.skipped
    it.loading = mended
    it.sensor("freshness")
    assert it.red == ["No day can"]
    assert it.skipped == "2023-03-01 is there"


def test_the_check_is_green_again_after_the_setting_is_mended_though_no_day_was_loaded(
    world: NewWorld, unset: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    it, _ = world(some_days(Switchboard(), 1))
    Clock.at = at(FIRST + DAY, 12)
    mended, it.loading = it.loading, unset["loading"]
    monkeypatch.setenv("CDR_PAGE_SIZE", "0")
    said, key = [], dg.AssetCheckKey(dg.AssetKey("cdrs"), "fresh")
    for loading in (it.loading, mended):
        it.loading = loading
        it.sensor("freshness")
        said.append(last_evaluation(it.instance, key).passed)
    assert said == [False, True]


def test_the_check_stays_red_while_days_are_missing_for_longer_than_probe_days(
    world: NewWorld,
) -> None:
    """The check turned green while the token was still refused: `No recent day was ever loaded.`"""
    it, _ = after_nights(world, 1, days=9, lookback_days=0, probe_days=2)
    it.board.down = at(FIRST + DAY * 2), at(FIRST + DAY * 9)
    it.sensor("freshness")
    for ahead in range(2, 7):
        nights(it, FIRST + DAY * ahead, FIRST + DAY * ahead)
        Clock.at = at(FIRST + DAY * ahead, 6)
        it.sensor("freshness")
    assert it.red == [f"{FIRST + DAY * ahead}" for ahead in range(1, 6)]
    assert it.skipped.startswith("2023-03-06 ended and is not there")
    it.settings = it.settings.model_copy(update={"start_date": FIRST + DAY * 30})
    it.sensor("freshness")
    assert it.skipped == "No recent day was ever loaded."


def test_the_check_turns_red_when_days_are_gone_after_a_fault(
    world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network share that hung and then was not mounted turned the check green."""
    it, _ = after_nights(world, 1)
    Clock.at = at(FIRST + DAY, 12)
    it.sensor("freshness")
    with monkeypatch.context() as patched:
        patched.setattr(Store, "days", stale)
        it.sensor("freshness")
        it.sensor("freshness")
    shutil.rmtree(it.store.root)
    it.sensor("freshness")
    assert it.red == ["No day can", "2023-03-01"]
    assert it.skipped.startswith("2023-03-01 ended and is not there")


def test_each_run_records_whether_the_day_that_ended_is_missing(world: NewWorld) -> None:
    """Dagster shows the evaluation of the last run; if that run has none, it shows skipped."""
    it, _ = after_nights(world, 1, days=3)
    assert it.fresh() == {"2023-03-01": True}
    it.board.down = at(FIRST + DAY * 2), at(FIRST + DAY * 3)
    nights(it, FIRST + DAY * 2, FIRST + DAY * 2)
    assert it.fresh() == {"None": False}, "of the run's two days"
    Clock.at = at(FIRST + DAY * 3, 1)
    it.load(FIRST)
    assert it.fresh() == {"2023-03-01": False}
    nights(it, FIRST + DAY * 3, FIRST + DAY * 3)
    assert it.fresh() == {"None": True}


def test_the_failure_of_an_old_day_leaves_the_check_green(world: NewWorld) -> None:
    it, _ = after_nights(world, 3)
    it.store.path(CDRS, FIRST).unlink()
    it.board.down = at(FIRST + DAY * 3), at(FIRST + DAY * 4)
    Clock.at = at(FIRST + DAY * 3, 12)
    it.load(FIRST)
    assert not it.store.holds(CDRS, FIRST)
    assert it.fresh() == {"2023-03-01": True}
