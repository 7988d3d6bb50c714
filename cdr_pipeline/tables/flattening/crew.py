"""Who flattens a day: this process, and of a large day another one beside it.

The other one begins while the day is still being fetched, which leaves it a core: every other row
group of `raw_pages` goes to it at once. What is left in the end is halved. The result does not
depend on which process took what; where it would, one process does it all.
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

#: Row groups of bodies from which a second process pays: it takes a third of a second to start, in
#: which this one flattens three groups. Some 250,000 calls.
_WORTH_A_PROCESS: Final = 32

Some: TypeAlias = Pages | list[StoredPage]


class Crew:
    """Flattens one day."""

    def __init__(
        self, store: Store, day: date, most_columns: int, contract: Contract, folder: Path
    ) -> None:
        """`folder`: where rows are laid aside, as long as the result is needed."""
        self._pages = store.pages(day)
        self._rules = Rules(Window.of(day), store.zone, most_columns, contract)
        self._folder = folder
        self._stack = ExitStack()
        self._other: Apart[Some, Part] | None = None
        self._groups = 0  # row groups that came
        self._taken: set[int] = set()  # of these, by the other process before all had come
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
        """A row group of `raw_pages` is there. Every other one is given to the other process, if
        the day is worth one.
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
            self.close()  # the day was read anew: what was taken of it does not count
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
        self.close()  # what it takes in memory is needed now
        return [there, here]

    def _begin(self) -> None:
        with suppress(OSError):  # where no process can be begun, this one does it all
            self._other = self._stack.enter_context(apart(_part_of, self._rules, self._folder, 1))

    def _part(self, pages: Pages, kept: Collection[str] | None = None) -> Part:
        return _part_of(iter([pages]), self._rules, self._folder, 0, kept)


@contextmanager
def crew_of(store: Store, day: date, most_columns: int, contract: Contract) -> Iterator[Crew]:
    """Who flattens a day, and a folder to do it in, for as long as the result is needed."""
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
