"""The sensor `late_calls`: days whose totals changed, and totals that cannot be asked for."""

import errno
import itertools
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from types import SimpleNamespace

import dagster as dg
import pytest

from cdr_pipeline.automation.jobs import ASKED_BY
from cdr_pipeline.automation.late_calls import _BRIEFLY, _PROBE_SECONDS, _brief
from cdr_pipeline.settings import Settings
from cdr_pipeline.simulator import Chaos
from cdr_pipeline.simulator.exchange import Refusal
from cdr_pipeline.simulator.source import Call
from cdr_pipeline.tables.datasets import RAW_PAGES, RECEIPTS
from cdr_pipeline.tables.raw_pages import Pages
from cdr_pipeline.tables.store import Store
from cdr_pipeline_tests.automation.nights import FIRST, after_nights, days_of, nights, some_days
from cdr_pipeline_tests.damage import stale
from cdr_pipeline_tests.living import DAY, HOUR, Clock, NewWorld, Switchboard, World, at


def ticks_of(it: World, day: date) -> list[dg.RunRequest]:
    """The run requests of the sensor's 24 ticks on a date."""
    requests = []
    for hour in range(24):
        Clock.at = at(day, hour)
        requests += it.sensor("late_calls")
    return requests


def test_each_older_day_is_asked_for_its_total_once_a_day(world: NewWorld) -> None:
    it, vendor = after_nights(world, 8, lookback_days=1, probe_days=5)
    vendor.requests.clear()
    assert ticks_of(it, FIRST + DAY * 8) == []
    # The nightly run loads the 8th and the 7th again; probes go back to the 3rd.
    assert [one.params["start_date"] for one in vendor.requests] == [
        f"2023-03-{day:02} 23:59:59" for day in (2, 3, 4, 5)
    ]
    assert {one.params["limit"] for one in vendor.requests} == {"1"}


def test_only_a_day_whose_total_grew_is_loaded(world: NewWorld) -> None:
    it, _ = after_nights(world, 8, lookback_days=1)
    it.board.add(at(FIRST + DAY, 23), listed=at(FIRST + DAY * 9, 3))
    (request,) = ticks_of(it, FIRST + DAY * 9)
    assert days_of([request]) == [("2023-03-02", "2023-03-02")]
    assert "5 calls were proved, the vendor counts 6 now" in request.tags[ASKED_BY]
    assert it.loaded(FIRST + DAY) == it.board.truth(FIRST + DAY)
    assert len(it.loaded(FIRST + DAY)) == 6
    assert ticks_of(it, FIRST + DAY * 10) == []


def test_a_day_whose_total_fell_fails_once_and_is_kept_as_it_was(world: NewWorld) -> None:
    it, _ = after_nights(world, 5, lookback_days=0)
    it.board.of(FIRST)[0].gone = at(FIRST + DAY * 5)
    for ahead in (6, 7, 8):
        ticks_of(it, FIRST + DAY * ahead)
    assert it.failed == [FIRST + DAY * 6]
    assert len(it.loaded(FIRST)) == 5


def test_a_call_that_was_only_edited_changes_no_total_and_is_not_seen(world: NewWorld) -> None:
    """Probes cannot see edits, as the README says: the lookback is for edits."""
    it, _ = after_nights(world, 5, lookback_days=0)
    it.board.of(FIRST)[0].edited = at(FIRST + DAY * 5)
    assert ticks_of(it, FIRST + DAY * 6) == []
    assert it.loaded(FIRST) != it.board.truth(FIRST)


def test_a_day_at_a_ceiling_is_compared_in_the_parts_it_was_proved_in(world: NewWorld) -> None:
    board = some_days(Switchboard(), 4, calls=14)
    for number in range(30):
        board.add(at(FIRST, 1 + number / 60))
    it, vendor = world(board, lookback_days=0, chaos=Chaos.parse("ceiling=20"))
    nights(it, FIRST + DAY, FIRST + DAY * 3)
    assert len(it.loaded(FIRST)) == 44
    assert 1 < len(it.store.pages(FIRST).totals()) < 10
    vendor.requests.clear()
    assert ticks_of(it, FIRST + DAY * 4) == []
    assert len(vendor.requests) == len(it.store.pages(FIRST).totals()) + 2
    board.add(at(FIRST, 23), listed=at(FIRST + DAY * 5))
    assert days_of(ticks_of(it, FIRST + DAY * 5)) == [("2023-03-01", "2023-03-01")]
    assert len(it.loaded(FIRST)) == 45


def test_a_day_in_too_many_parts_is_not_compared_and_the_tick_says_so(
    world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdr_pipeline.automation.late_calls._MOST_PARTS", 0)
    it, vendor = after_nights(world, 3, lookback_days=0)
    vendor.requests.clear()
    Clock.at = at(FIRST + DAY * 3, 23)
    assert it.sensor("late_calls") == []
    assert "proved in 1 parts, too many to compare" in it.skipped
    assert not vendor.requests


def test_days_too_many_for_one_tick_are_compared_at_the_next(
    world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    it, vendor = after_nights(world, 5, lookback_days=0)
    ticking = itertools.count()
    late = "cdr_pipeline.automation.late_calls"
    monkeypatch.setattr(f"{late}.time.monotonic", lambda: next(ticking) * 3.0)
    monkeypatch.setattr(f"{late}._PROBE_SECONDS", 10.0)
    vendor.requests.clear()
    Clock.at = at(FIRST + DAY * 5, 23)
    asked_for = []
    for _ in range(4):
        it.sensor("late_calls")
        asked_for += [one.params["start_date"][:10] for one in vendor.requests]
        vendor.requests.clear()
    assert asked_for == [f"{FIRST + DAY * ahead}" for ahead in (-1, 0, 1, 2)]


def test_a_day_in_parts_for_which_time_ran_out_is_compared_at_the_next_tick(
    world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense, board = FIRST + DAY, some_days(Switchboard(), 2, calls=14)
    for number in range(30):
        board.add(at(dense, 1 + number / 60))
    it, _ = world(board, lookback_days=0, chaos=Chaos.parse("ceiling=20"))
    nights(it, FIRST + DAY, FIRST + DAY * 2)
    board.add(at(dense, 23), listed=at(FIRST + DAY * 3))
    parts = len(it.store.pages(dense).totals())
    assert parts > 1
    # A second passes at each look at the clock: two for the first day, one for each later part.
    seconds = itertools.count()
    late = "cdr_pipeline.automation.late_calls"
    monkeypatch.setattr(f"{late}.time", SimpleNamespace(monotonic=lambda: next(seconds)))
    monkeypatch.setattr(f"{late}._PROBE_SECONDS", parts + 2.0)
    Clock.at = at(FIRST + DAY * 3, 23)
    assert it.sensor("late_calls") == []
    assert it.skipped == "No total moved."
    assert days_of(it.sensor("late_calls")) == [("2023-03-02", "2023-03-02")]


@pytest.mark.parametrize("gone", [True, False], ids=["gone", "not given by the disk"])
def test_a_day_whose_pages_cannot_be_read_stops_no_other_comparison(
    world: NewWorld, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    """With a bad sector on the disk, each tick failed at this day and compared no later day."""
    it, _ = after_nights(world, 4, lookback_days=0)
    pages = Store.pages

    def bad(store: Store, day: date) -> Pages:
        if day == FIRST:
            raise OSError(errno.EIO, "Input/output error")
        return pages(store, day)

    if gone:
        it.store.path(RAW_PAGES, FIRST).unlink()
    else:
        monkeypatch.setattr(Store, "pages", bad)
    it.board.add(at(FIRST + DAY, 23), listed=at(FIRST + DAY * 5))
    assert days_of(ticks_of(it, FIRST + DAY * 5)) == [("2023-03-02", "2023-03-02")]


def test_if_the_folder_cannot_be_read_the_tick_says_so_and_a_later_tick_goes_on(
    world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    it, _ = after_nights(world, 4, lookback_days=0)
    Clock.at = at(FIRST + DAY * 4, 23)
    with monkeypatch.context() as patched:
        patched.setattr(Store, "days", stale)
        assert it.sensor("late_calls") == []
    assert "a file in CDR_DATA_DIR could not be read or written: Stale file handle" in it.skipped
    it.board.add(at(FIRST, 23), listed=Clock.at)
    assert days_of(it.sensor("late_calls")) == [("2023-03-01", "2023-03-01")]


def test_while_the_vendor_is_down_each_tick_asks_for_one_day_and_later_for_all(
    world: NewWorld,
) -> None:
    """The sensor asked for every day that was due, and put all of them off until tomorrow."""
    it, vendor = after_nights(world, 8, lookback_days=0)
    it.board.add(at(FIRST, 23), listed=at(FIRST + DAY * 8, 3))
    it.board.down = at(FIRST + DAY * 9), at(FIRST + DAY * 9, 21)
    for hour in (19, 20):
        vendor.requests.clear()
        Clock.at = at(FIRST + DAY * 9, hour)
        assert it.sensor("late_calls") == []
        assert "answered 503" in it.skipped
        assert len({one.params["start_date"] for one in vendor.requests}) == 1
    vendor.requests.clear()
    Clock.at = at(FIRST + DAY * 9, 21)
    assert days_of(it.sensor("late_calls")) == [("2023-03-01", "2023-03-01")]
    asked_for = [one.params for one in vendor.requests if one.params["limit"] == "1"]
    probed = [one["start_date"][:10] for one in asked_for]
    assert sorted(probed) == [f"{FIRST + DAY * ahead}" for ahead in range(-1, 7)]


def test_a_day_for_which_the_vendor_never_answers_stops_no_other_comparison(
    world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    it, _ = after_nights(world, 4, lookback_days=0)
    between = Switchboard.between

    def broken(board: Switchboard, start: datetime, end: datetime) -> Sequence[Call]:
        if start <= datetime(2023, 3, 1, 12) <= end:
            raise Refusal(500, "query timed out")
        return between(board, start, end)

    monkeypatch.setattr(Switchboard, "between", broken)
    it.board.add(at(FIRST + DAY, 23), listed=at(FIRST + DAY * 5))
    requests = []
    for hour in (22, 23):
        Clock.at = at(FIRST + DAY * 5, hour)
        requests += it.sensor("late_calls")
    assert days_of(requests) == [("2023-03-02", "2023-03-02")]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1:9", "could not be reached"),
        ("https://api.example.vn", "The proxy in HTTPS_PROXY, HTTP_PROXY or ALL_PROXY cannot be"),
    ],
)
def test_a_day_is_asked_for_again_after_a_tick_without_the_vendor(
    world: NewWorld, monkeypatch: pytest.MonkeyPatch, url: str, says: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "ftp://127.0.0.1:9")
    it, _ = after_nights(world, 3, lookback_days=0)
    reachable = it.settings
    it.settings = reachable.model_copy(update={"api_base_url": url})
    Clock.at = at(FIRST + DAY * 3, 23)
    assert it.sensor("late_calls") == []
    assert says in it.skipped
    assert "Traceback" not in it.skipped
    it.settings = reachable
    it.board.add(at(FIRST, 23), listed=Clock.at)
    assert days_of(it.sensor("late_calls")) == [("2023-03-01", "2023-03-01")]


def test_the_hours_by_which_a_change_was_late_are_in_metadata_and_receipt(world: NewWorld) -> None:
    board = some_days(Switchboard(), 1)
    board.add(at(FIRST, 23), listed=at(FIRST + DAY, 20))
    it, _ = world(board)
    nights(it, FIRST + DAY, FIRST + DAY * 4)
    late_hours = [
        record.asset_materialization.metadata.get("late_hours")
        for record in it.instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey(RAW_PAGES.name), asset_partitions=[f"{FIRST}"]),
            limit=9,
        ).records
        if record.asset_materialization
    ]
    assert [late and late.value for late in late_hours] == [None, None, 25.5, None]
    changed = it.store.read(RECEIPTS, FIRST)["last_change_at"].item()
    assert changed == at(FIRST + DAY * 2, 1.5)


def test_a_tick_takes_no_longer_than_dagster_waits() -> None:
    """Its limit of time, one answer at its timeout, and pauses are less than Dagster's minute."""
    seconds = _PROBE_SECONDS
    assert _brief(Settings(timeout_seconds=600)).timeout_seconds == seconds
    assert timedelta(seconds=2 * seconds) + HOUR / 3600 * _BRIEFLY.seconds < HOUR / 60
