"""Flattens a day in this process and, if the day is large, in a second process beside it.

The second process starts while the day is still being fetched, since fetching leaves one core free:
it gets every other row group of `raw_pages` at once. Both share the rest when the day is complete.
The result does not depend on which process took which row group; where it would, one process does
the whole day.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import date
from itertools import chain
from pathlib import Path
from typing import Final, TypeAlias

from cdr_pipeline.tables.arrow import give_back
from cdr_pipeline.tables.contract import Contract
from cdr_pipeline.tables.flattening.apart import Apart, apart
from cdr_pipeline.tables.flattening.flatten import Flat, Part, columns_to_keep, part_of, united
from cdr_pipeline.tables.flattening.typed import Rules
from cdr_pipeline.tables.raw_pages import Pages, StoredPage, groups_to_come
from cdr_pipeline.tables.store import Store
from cdr_pipeline.window import Window

#: From so many row groups of bodies on (some 250,000 calls) a second process pays: it takes a third
#: of a second to start, in which this process flattens three row groups.
_WORTH_A_PROCESS: Final = 32

Some: TypeAlias = Pages | list[StoredPage]


class Crew:
    """Flattens one day."""

    def __init__(
        self, store: Store, day: date, most_columns: int, contract: Contract, folder: Path
    ) -> None:
        """`folder`: where typed rows are stored, as long as the result is needed."""
        self._pages = store.pages(day)
        self._rules = Rules(Window.of(day), store.zone, most_columns, contract)
        self._folder = folder
        self._stack = ExitStack()
        self._other: Apart[Some, Part] | None = None
        self._groups = 0  # row groups that were written
        self._taken: set[int] = set()  # row groups given to the other process during the fetch
        self._readings: set[int] = set()

    def close(self) -> None:
        """End the other process, if there is one."""
        self._stack.close()
        self._other = None
        self._taken.clear()
        self._readings.clear()

    @property
    def large(self) -> bool:
        """Whether the day takes much memory."""
        return self._groups >= _WORTH_A_PROCESS

    def take(self, group: int, pages: Sequence[StoredPage]) -> None:
        """Take note of a new row group of `raw_pages`. If the day is large, every other row group
        is given to the other process.
        """
        self._groups = group + 1
        asked = [stored for stored in pages if stored.pass_]
        if group == 0 and asked and groups_to_come(asked[0]) >= _WORTH_A_PROCESS:
            self._begin()
        if self._other and asked and group % 2 == 0:
            self._other.give(asked)
            self._taken.add(group)
            self._readings.update(stored.pass_ for stored in asked)

    def flat(self) -> Flat:
        """The day from what is stored of it in `raw_pages`. Raises ProcessLost."""
        readings = self._pages.readings()
        if not self._readings <= set().union(*readings):
            self.close()  # the day was read again: the pages given so far do not count
        groups = [at for at, some in enumerate(readings) if some and at not in self._taken]
        if not self._other and len(groups) >= _WORTH_A_PROCESS:
            self._begin()
        parts = self._by_two(groups) if self._other else [self._part(self._pages)]
        kept = columns_to_keep(parts, self._rules)
        if kept is not None:
            parts = [self._part(self._pages, kept)]
        return united(parts, self._rules)

    def _by_two(self, groups: Sequence[int]) -> list[Part]:
        assert self._other
        middle = len(groups) // 2
        self._other.give(Pages(self._pages.path, groups[:middle]))
        here = self._part(Pages(self._pages.path, groups[middle:]))
        there = self._other.result()
        self.close()  # its memory is needed from now on
        return [there, here]

    def _begin(self) -> None:
        with suppress(OSError):  # if no process can be started, this one flattens the whole day
            self._other = self._stack.enter_context(apart(_part_of, self._rules, self._folder, 1))

    def _part(self, pages: Pages, kept: Collection[str] | None = None) -> Part:
        return _part_of(iter([pages]), self._rules, self._folder, 0, kept)


@contextmanager
def crew_of(store: Store, day: date, most_columns: int, contract: Contract) -> Iterator[Crew]:
    """A crew for one day and a folder for its rows, as long as the result is needed."""
    with (
        store.workspace(day) as folder,
        closing(Crew(store, day, most_columns, contract, folder)) as crew,
    ):
        yield crew


def _part_of(
    pieces: Iterator[Some],
    rules: Rules,
    folder: Path,
    number: int,
    kept: Collection[str] | None = None,
) -> Part:
    part = part_of(chain.from_iterable(pieces), rules, folder, number, kept)
    give_back()
    return part
