"""One day on its way through its layers, and the next one begun meanwhile.

To fetch a day is mostly waiting, to make its datasets is mostly work. So a run of many days fetches
the next day while it makes one. Days are locked, fetched and made in their order, and nothing that
is stored of a day changes before its turn.
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

#: How long a run that breaks off waits for what it has begun. A request may take longer, up to
#: CDR_TIMEOUT_SECONDS; what has not ended by then changes nothing, and ends with the process.
_SECONDS_TO_END: Final = 5


@dataclass
class Begun:
    """A day on its way through the layers.

    hopeless: why it was not begun at all: the day before failed in a way that this one would, too.
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

        Once `over` is set, a lock that another run holds is waited for no longer.
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
        """Whether it takes much memory to go on with."""
        return self._crew is not None and self._crew.large

    def layers(self) -> Iterator[Made]:
        """The datasets that are wanted, which are written as this goes on."""
        if self._error:
            raise self._error
        for made in self._fetching or ():
            yield from made
        if self._crew:
            yield from cdrs.build(self.work, self._crew)
        yield from aggregates.of_the_day(self.work)

    def close(self) -> None:
        """Nothing more is made of it."""
        self._held.close()


def layers(work: Work, lister: Lister | None) -> Iterator[Made]:
    """One day by itself, locked; its datasets are written as this goes on."""
    with closing(Begun(work)) as begun:
        begun.begin(lister, Event())
        yield from begun.layers()


@contextmanager
def begun_ahead(works: Iterable[Work], lister: Lister | None) -> Iterator[Iterator[Begun]]:
    """The days in their order, each begun while the one before it is made; the caller closes them.

    A large day is closed before the next is begun: two of them would take twice the memory.
    """
    # Not by `ahead`, which waits for what is under way: here that may be a vendor, or another run.
    ahead = _Ahead([Begun(work) for work in works])
    thread = Thread(target=ahead.begin_each, args=(lister,), name="cdr-begin", daemon=True)
    try:
        thread.start()  # an interrupt may come before this has returned
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
    """Days that one thread begins, and another takes from it in turn."""

    days: Sequence[Begun]
    _turns: Semaphore = field(default_factory=lambda: Semaphore(1))
    _ready: "SimpleQueue[Begun]" = field(default_factory=SimpleQueue)
    _over: Event = field(default_factory=Event)

    def begin_each(self, lister: Lister | None) -> None:
        """Begin one day after the other, each when it is its turn."""
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
        """The days that are begun; asking for the next ends the work on the one before."""
        for _ in self.days:
            day = self._ready.get()
            large = day.large
            if not large:
                self._turns.release()
            yield day
            if large:
                self._turns.release()

    def stop(self) -> None:
        """No other day is begun."""
        self._over.set()
        self._turns.release()


def _stops_the_run(error: Exception) -> bool:
    """Whether the days to come would fail in the same way."""
    return isinstance(error, Unauthorized | Unreachable) or (
        isinstance(error, Refused) and not error.may_be_too_much
    )
