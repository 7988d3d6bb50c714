"""One day on its way through its layers, and the next one begun meanwhile.

To fetch a day is mostly waiting, to make its datasets mostly work: so a run of many days fetches
the next while it makes one. Days are locked, fetched and made in their order. Knows no Dagster but
what a dataset's metadata are.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import Event

import dagster as dg

from cdr_pipeline.api.listing import Lister
from cdr_pipeline.assets import aggregates, cdrs, raw_pages
from cdr_pipeline.assets.layer import Made, Work
from cdr_pipeline.errors import Refused, Unreachable
from cdr_pipeline.tables.ahead import ahead
from cdr_pipeline.tables.crew import Crew, crew_of


@dataclass
class Begun:
    """A day on its way through the layers.

    made: what has been fetched of it, if that was asked for. error: why it is not.
    """

    work: Work
    made: list[Made] = field(default_factory=list)
    error: Exception | None = None
    closed: Event = field(default_factory=Event)
    _held: ExitStack = field(default_factory=ExitStack)
    _crew: Crew | None = None

    def begin(self, wanted: set[str], lister: Lister | None, *, alone: bool = False) -> None:
        """Fetch it, if there is a lister; `alone`: other runs wait for it until it is closed."""
        work = self.work
        try:
            if alone:
                self._held.enter_context(work.store.locked(work.day, self.closed.is_set))
            if wanted & names(cdrs.SPECS):
                columns = work.settings.max_additional_columns
                self._crew = self._held.enter_context(
                    crew_of(work.store, work.day, columns, work.contract)
                )
            if lister:
                take = self._crew.take if self._crew else None
                self.made = raw_pages.fetch(work, lister, take)
        except Exception as error:  # noqa: BLE001  raised in `layers`
            self.error = error

    @property
    def large(self) -> bool:
        """Whether it takes much memory to go on with."""
        return self._crew is not None and self._crew.is_two

    def layers(self, wanted: set[str]) -> Iterator[Made]:
        """The datasets that are `wanted`; those that are not there yet are written meanwhile."""
        if self.error:
            raise self.error
        yield from self.made
        if self._crew:
            yield from cdrs.build(self.work, self._crew)
        yield from aggregates.of_the_day(self.work, wanted)

    def close(self) -> None:
        """Nothing more is made of it."""
        self._held.close()
        self.closed.set()


def layers(work: Work, wanted: set[str], lister: Lister | None) -> Iterator[Made]:
    """One day through the datasets that are `wanted`, which are written as this goes on."""
    begun = Begun(work)
    try:
        begun.begin(wanted, lister)
        yield from begun.layers(wanted)
    finally:
        begun.close()


@contextmanager
def begun_ahead(
    works: Iterable[Work], wanted: set[str], lister: Lister | None
) -> Iterator[Iterator[Begun]]:
    """The days in their order, each begun while the one before it is made."""
    days = [Begun(work) for work in works]
    begun = ahead(_each_begun(days, wanted, lister))
    try:
        yield begun
    finally:
        # A run that breaks off waits neither for a whole day nor for another run's.
        if lister:
            lister.stop()
        for day in days:
            day.closed.set()
        begun.close()
        for day in days:
            day.close()


def _each_begun(days: Iterable[Begun], wanted: set[str], lister: Lister | None) -> Iterator[Begun]:
    hopeless: Exception | None = None
    for day in days:
        if hopeless:
            day.error = hopeless
        else:
            day.begin(wanted, lister, alone=True)
        if day.error and _stops_the_run(day.error):
            hopeless = day.error
        yield day
        if day.large:
            day.closed.wait()  # two of them would take twice the memory


def names(specs: Iterable[dg.AssetSpec]) -> set[str]:
    """Of some assets, as they are asked for."""
    return {spec.key.to_user_string() for spec in specs}


def _stops_the_run(error: Exception) -> bool:
    """Whether the days to come would fail in the same way."""
    return isinstance(error, Unreachable) or (isinstance(error, Refused) and error.status != 400)
