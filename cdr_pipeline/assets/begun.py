"""Loads one day through its layers, and begins the next day at the same time.

To fetch a day is mostly waiting; to make its datasets is mostly CPU time. So a run of many days
fetches the next day while it makes the current one. Days are locked, fetched and made in order, and
no stored partition of a day changes before its turn.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Event, Semaphore, Thread
from typing import Final

from cdr_pipeline.api.listing import Lister
from cdr_pipeline.assets import aggregates, cdrs, raw_pages
from cdr_pipeline.assets.failures import ANY_ERROR
from cdr_pipeline.assets.layer import Made, Work, names
from cdr_pipeline.errors import Refused, Unauthorized, Unreachable
from cdr_pipeline.tables.flattening.crew import Crew, crew_of

#: How long an interrupted run waits for the thread that begins days. A request may take longer, up
#: to CDR_TIMEOUT_SECONDS; a thread that has not ended by then changes no data, and ends with the
#: process.
_SECONDS_TO_END: Final = 5


@dataclass
class Begun:
    """A day that is locked, fetched and ready to be made.

    hopeless: why the day was not begun: an earlier day failed with an error that stops the run.
    """

    work: Work
    hopeless: Exception | None = None
    _error: Exception | None = None
    _held: ExitStack = field(default_factory=ExitStack)
    _crew: Crew | None = None
    _fetching: Generator[list[Made], None, None] | None = None

    def begin(self, lister: Lister | None, over: Event) -> Exception | None:
        """Lock the day until `close`, prepare to flatten it, and fetch it if there is a lister.
        Returns the error, if there is one; `layers` raises it.

        Once `over` is set, this no longer waits for a lock that another run holds.
        """
        work = self.work
        try:
            self._held.enter_context(work.store.locked(work.day, over.is_set))
            if names(cdrs.SPECS).intersection(work.wanted):
                columns = work.settings.max_additional_columns
                self._crew = self._held.enter_context(
                    crew_of(work.store, work.day, columns, work.contract)
                )
            if lister:
                take = self._crew.take if self._crew else None
                self._fetching = raw_pages.fetch(work, lister, take)
                self._held.callback(self._fetching.close)
                next(self._fetching)
        except ANY_ERROR as error:  # raised in `layers`
            self._error = error
        return self._error

    @property
    def large(self) -> bool:
        """Whether making the day takes much memory."""
        return self._crew is not None and self._crew.large

    def layers(self) -> Iterator[Made]:
        """Make the wanted datasets; each is written, then yielded. Raises the error of `begin`."""
        if self._error:
            raise self._error
        for made in self._fetching or ():
            yield from made
        if self._crew:
            yield from cdrs.build(self.work, self._crew)
        yield from aggregates.of_the_day(self.work)

    def close(self) -> None:
        """End the work on the day and release its lock."""
        self._held.close()


def layers(work: Work, lister: Lister | None) -> Iterator[Made]:
    """Load one day by itself, locked; each dataset is written before it is yielded."""
    with closing(Begun(work)) as begun:
        begun.begin(lister, Event())
        yield from begun.layers()


@contextmanager
def begun_ahead(works: Iterable[Work], lister: Lister | None) -> Iterator[Iterator[Begun]]:
    """The days in order, each begun while the day before it is made. The caller closes each day.

    A large day is closed before the next day is begun: two large days would take twice the memory.
    """
    # `flattening.ahead` is of no use here: it waits for the task under way, and here this task may
    # wait for the vendor or for another run.
    ahead = _Ahead([Begun(work) for work in works])
    thread = Thread(target=ahead.begin_each, args=(lister,), name="cdr-begin", daemon=True)
    try:
        thread.start()  # inside `try`: an interrupt may come before this returns
        yield ahead.in_turn()
    finally:
        ahead.stop()
        if lister:
            lister.stop()
        if thread.ident:
            thread.join(_SECONDS_TO_END)
        if not thread.is_alive():
            for day in ahead.days:
                day.close()


@dataclass
class _Ahead:
    """The days of a run: one thread begins them, another takes them in order."""

    days: Sequence[Begun]
    _turns: Semaphore = field(default_factory=lambda: Semaphore(1))
    _ready: "SimpleQueue[Begun]" = field(default_factory=SimpleQueue)
    _over: Event = field(default_factory=Event)

    def begin_each(self, lister: Lister | None) -> None:
        """Begin the days in order, each at its turn."""
        hopeless: Exception | None = None
        for day in self.days:
            self._turns.acquire()
            if self._over.is_set():
                return
            if hopeless:
                day.hopeless = hopeless
            else:
                error = day.begin(lister, self._over)
                hopeless = error if error and _stops_the_run(error) else None
            self._ready.put(day)

    def in_turn(self) -> Iterator[Begun]:
        """The begun days. The caller closes each day before it asks for the next."""
        for _ in self.days:
            day = self._ready.get()
            large = day.large
            if not large:
                self._turns.release()
            yield day
            if large:
                self._turns.release()

    def stop(self) -> None:
        """Begin no other day."""
        self._over.set()
        self._turns.release()


def _stops_the_run(error: Exception) -> bool:
    """Whether the later days would fail with the same error."""
    return isinstance(error, Unauthorized | Unreachable) or (
        isinstance(error, Refused) and not error.may_be_too_much
    )
