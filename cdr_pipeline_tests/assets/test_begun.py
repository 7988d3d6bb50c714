"""While a day is made, the next day is fetched: the order and the result stay the same."""

import signal
from collections import defaultdict
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import ExitStack
from datetime import date
from threading import Event, main_thread
from types import ModuleType
from typing import Any

import polars as pl
import pytest

from cdr_pipeline.api.listing import Lister
from cdr_pipeline.assets import cdrs, raw_pages
from cdr_pipeline.assets.begun import begun_ahead
from cdr_pipeline.assets.daily import lister_for
from cdr_pipeline.assets.layer import Made, Work
from cdr_pipeline.errors import NotProved
from cdr_pipeline.tables.datasets import CDRS, DATASETS, RAW_PAGES
from cdr_pipeline.tables.flattening.crew import Crew
from cdr_pipeline.tables.raw_pages import OnGroup
from cdr_pipeline_tests.desk import Desk, NewDesk

DAYS = [date(2023, 3, 6), date(2023, 3, 7), date(2023, 3, 8)]


class Watch:
    """Notes which days are being fetched, and calls `before_made(day)` before each day is made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fetched: dict[date, Event] = defaultdict(Event)
        self.before_made: Callable[[date], None] = lambda _: None
        fetch, build = raw_pages.fetch, cdrs.build

        def fetching(
            work: Work, lister: Lister, take: OnGroup | None = None
        ) -> Generator[list[Made], None, None]:
            self.fetched[work.day].set()
            return fetch(work, lister, take)

        def building(work: Work, crew: Crew) -> list[Made]:
            self.before_made(work.day)
            return build(work, crew)

        monkeypatch.setattr(raw_pages, "fetch", fetching)
        monkeypatch.setattr(cdrs, "build", building)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(monkeypatch)


def test_the_next_day_is_fetched_while_one_is_made(desk: NewDesk, watch: Watch) -> None:
    def wait_for_the_next(day: date) -> None:
        assert day == DAYS[-1] or watch.fetched[DAYS[DAYS.index(day) + 1]].wait(30)

    watch.before_made = wait_for_the_next
    at = desk()
    assert at.run(f"{DAYS[0]}", f"{DAYS[-1]}").success
    assert [day for day, _ in at.ended] == DAYS
    for day in DAYS:
        assert at.store.read(CDRS, day).height == len(at.vendor.truth(day))


def test_no_day_is_fetched_while_a_large_one_is_made(
    desk: NewDesk, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two large days at once would take twice the memory."""
    monkeypatch.setattr(Crew, "large", property(lambda _: True))
    early: list[date] = []

    def look_for_the_next(day: date) -> None:
        early.extend(later for later in DAYS if later > day and watch.fetched[later].is_set())

    watch.before_made = look_for_the_next
    assert desk().run(f"{DAYS[0]}", f"{DAYS[-1]}").success
    assert early == []


def test_a_day_fails_alone_though_the_next_day_was_already_fetched(
    desk: NewDesk, watch: Watch
) -> None:
    def fail(day: date) -> None:
        if day == DAYS[1]:
            raise OSError(28, "No space left on device")

    watch.before_made = fail
    at = desk()
    assert not at.run(f"{DAYS[0]}", f"{DAYS[-1]}").success
    assert [day for day, error in at.ended if error] == [DAYS[1]]
    assert at.materialized(RAW_PAGES.name) == {f"{day}" for day in DAYS}
    assert at.materialized(CDRS.name) == {f"{DAYS[0]}", f"{DAYS[2]}"}


class Endless:
    """A lister whose proof ends only when the lister is stopped."""

    def __init__(self, asked: Callable[[], object] = lambda: None) -> None:
        self._asked = asked
        self._stopped = Event()

    def stop(self) -> None:
        self._stopped.set()

    def prove(self, *_: object) -> None:
        self._asked()
        assert self._stopped.wait(30)
        raise NotProved("the run has ended")


def works(at: Desk, wanted: Collection[str] = tuple(DATASETS)) -> list[Work]:
    return [Work(day, at.settings, at.store, wanted) for day in DAYS]


def unlocked_days(at: Desk) -> Iterator[date]:
    """The days that no run holds."""
    for day in DAYS:
        try:
            with at.store.locked(day, given_up=lambda: True):
                yield day
        except TimeoutError:
            continue


def test_a_run_that_breaks_off_stops_its_fetch_and_locks_no_day(
    desk: NewDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = desk()
    endless = Endless()
    fetch = raw_pages.fetch

    def fetching(
        work: Work, _: object, take: OnGroup | None = None
    ) -> Generator[list[Made], None, None]:
        if work.day == DAYS[0]:
            yield []
        else:
            yield from fetch(work, endless, take)  # type: ignore[arg-type]

    monkeypatch.setattr(raw_pages, "fetch", fetching)
    with begun_ahead(works(at), endless) as days:  # type: ignore[arg-type]
        assert next(days).work.day == DAYS[0]
    assert list(unlocked_days(at)) == DAYS
    assert not at.store.holds(RAW_PAGES, DAYS[1])


@pytest.mark.parametrize(("module", "name"), [(raw_pages, "fetch"), (cdrs, "build")])
def test_a_panic_over_one_day_fails_no_other_day(
    desk: NewDesk, monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str
) -> None:
    """A panic of Polars is no Exception: the fetching thread ended, and the run waited for ever."""
    does = getattr(module, name)

    def panics(work: Work, *given: Any) -> Any:
        if work.day == DAYS[0]:
            raise pl.exceptions.PanicException("index out of bounds")
        return does(work, *given)

    monkeypatch.setattr(module, name, panics)
    at = desk()
    assert not at.run(f"{DAYS[0]}", f"{DAYS[1]}").success
    assert at.materialized(CDRS.name) == {f"{DAYS[1]}"}


def test_a_run_that_is_interrupted_while_it_waits_for_a_fetch_ends_at_once(desk: NewDesk) -> None:
    at = desk()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    endless = Endless(lambda: signal.pthread_kill(main_thread().ident or 0, signal.SIGINT))
    try:
        with (
            pytest.raises(KeyboardInterrupt),
            begun_ahead(works(at), endless) as days,  # type: ignore[arg-type]
        ):
            next(days)
    finally:
        signal.signal(signal.SIGINT, before)
    assert list(unlocked_days(at)) == DAYS
    assert not at.store.holds(RAW_PAGES, DAYS[0])


def test_no_partition_of_a_day_is_replaced_before_its_turn(
    desk: NewDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = desk()
    proved = {day: Event() for day in DAYS}
    fetch = raw_pages.fetch

    def fetching(
        work: Work, lister: Lister, take: OnGroup | None = None
    ) -> Generator[list[Made], None, None]:
        fetched = fetch(work, lister, take)
        assert next(fetched) == []
        proved[work.day].set()
        yield []
        yield from fetched

    monkeypatch.setattr(raw_pages, "fetch", fetching)
    with ExitStack() as stack:
        lister = lister_for(stack, at.settings, at.store)
        with begun_ahead(works(at), lister) as days:
            assert [made.dataset for made in next(days).layers()]
            assert proved[DAYS[1]].wait(30)
            assert at.store.days(RAW_PAGES) == at.store.days(CDRS) == DAYS[:1]
    assert at.store.days(RAW_PAGES) == DAYS[:1]
    assert list(unlocked_days(at)) == DAYS


def test_a_run_that_breaks_off_does_not_wait_for_a_day_of_another_run(desk: NewDesk) -> None:
    at = desk()
    with at.store.locked(DAYS[1]), begun_ahead(works(at, [CDRS.name]), None) as days:
        next(days)
    assert list(unlocked_days(at)) == DAYS
