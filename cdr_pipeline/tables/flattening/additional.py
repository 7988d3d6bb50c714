"""Decides to which `additional_*` column each value of a lead list's object goes.

The decision depends on the value's own record alone, never on other records, other days or the
order of loading. So every day stands by itself, a column has one type for ever, and no file is
rewritten because of another.

- Name: `additional_` and the key in lower case without diacritics; each run of characters other
  than a-z and 0-9 becomes one `_`. If keys of one record would share a name, one key has the bare
  name, and each other key adds the first hex digits of its SHA-256.
- Type: by the JSON value; the name's ending tells it (`types.ENDINGS`). null and "" are null.

A key that a user declared (see `contract`) follows its declaration instead; this changes no other
key.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby, repeat
from typing import Any, Final

import polars as pl

from cdr_pipeline.errors import redacted, shortened
from cdr_pipeline.page import compact
from cdr_pipeline.record import ADDITIONAL
from cdr_pipeline.tables.contract import NO_CONTRACT, Contract, Declared
from cdr_pipeline.tables.fitting import fit
from cdr_pipeline.tables.flattening.objects import Campaign, Cells, Group, ObjectReader
from cdr_pipeline.tables.flattening.sent import Senders, Sent
from cdr_pipeline.tables.names import column_names, sounds_personal
from cdr_pipeline.tables.types import ENDING_OF, ENDINGS, as_written, type_of
from cdr_pipeline.tables.values import is_object, own_token

#: How many examples of values that do not fit are given for a key, and how many characters of each.
_EXAMPLES: Final = 3
_EXAMPLE_SHORT: Final = 40


@dataclass
class Columns:
    """The additional_* columns of some records.

    records: how many records there are. rows: the rows of those with an object, group by group.
    cells: column -> for each group with values, the place in `rows` where its cells begin, and the
    cells; the other rows are null, which takes no memory before `frame`. keys: column -> its keys.
    used: column -> how many cells are not null. misfits: row -> the declared keys with values that
    do not fit.
    """

    records: int
    contract: Contract = NO_CONTRACT
    cells: dict[str, list[tuple[int, Sequence[Any]]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    rows: list[int] = field(default_factory=list)
    keys: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    used: Counter[str] = field(default_factory=Counter)
    misfits: dict[int, list[str]] = field(default_factory=dict)

    def frame(self, some: Collection[str] | None = None) -> pl.DataFrame:
        """One row for each record: the columns (only those in `some`, if given), sorted by name and
        typed by their endings; and `_misfits`: the declared keys with values that do not fit.
        """
        kept = sorted(self.used if some is None else self.used.keys() & some)
        types = {name: as_written(type_of(name), self.contract.zone) for name in kept}
        objects = pl.DataFrame(
            [
                pl.Series("_row", self.rows, dtype=pl.Int64),
                *(pl.Series(name, self._in_full(name), dtype=types[name]) for name in kept),
            ]
        )
        every = pl.DataFrame(pl.int_range(self.records, eager=True).alias("_row"))
        frame = every.join(objects, on="_row", how="left", maintain_order="left")
        keys = [self.misfits.get(row) for row in range(self.records)] if self.misfits else None
        misfits = pl.lit(keys and pl.Series(keys), pl.List(pl.String)).alias("_misfits")
        return frame.with_columns(misfits).drop("_row")

    def add(self, name: str, key: str, values: Sequence[Any], used: int) -> None:
        """Add cells of a column, for the next rows; `used` of them are not null."""
        self.cells[name].append((len(self.rows), values))
        self.keys[name].add(key)
        self.used[name] += used

    def _in_full(self, name: str) -> list[Any]:
        cells: list[Any] = []
        for start, values in self.cells[name]:
            cells.extend(repeat(None, start - len(cells)))
            cells.extend(values)
        cells.extend(repeat(None, len(self.rows) - len(cells)))
        return cells


class Spreader:
    """Spreads objects into columns, batch after batch.

    sent: the values under each key, over all objects so far.
    """

    def __init__(self, contract: Contract = NO_CONTRACT) -> None:
        self._contract = contract
        self._reader = ObjectReader()
        self.sent = Sent()

    def spread(self, objects: Sequence[bytes | None], campaigns: Sequence[Campaign]) -> Columns:
        """The columns of `objects`: for each record a JSON object or None. `campaigns`: the
        campaign of each record: `sent` counts by it, and it makes reading faster.
        """
        columns = Columns(len(objects), self._contract)
        for group in self._reader.groups(objects, campaigns):
            senders = _senders(map(campaigns.__getitem__, group.rows))
            self._place(columns, group, senders, objects)
            columns.rows.extend(group.rows)
        return columns

    def _place(
        self, columns: Columns, group: Group, senders: Senders, objects: Sequence[bytes | None]
    ) -> None:
        """Put the values of a group's records into their columns; null and "" into none."""
        for key, name, cells in zip(group.keys, column_names(group.keys), group.cells, strict=True):
            declared = self._contract.keys.get(key)
            column = declared.in_column(name) if declared else name
            self.sent.add(key, column, senders, cells)
            for ending, values, used in _by_ending(cells):
                if not (declared and declared.pii):
                    self.sent.show(key, column, senders, ending, values)
                if not declared:
                    columns.add(f"{name}{ending}", key, values, used)
            if declared and column:
                texts = [objects[row] or b"" for row in group.rows]
                _place_declared(columns, declared, column, group.rows, cells, texts)


def objects_of(calls: pl.DataFrame) -> tuple[list[bytes | None], list[Campaign]]:
    """The objects to spread, None where `additional` is not an object, and their campaigns; from
    calls with `additional` and `campaign_uuid`.
    """
    texts = calls[ADDITIONAL].cast(pl.Binary)
    objects = [text if text is not None and is_object(text) else None for text in texts]
    return objects, calls["campaign_uuid"].to_list()


def most_used(
    used: Mapping[str, int],
    keys: Mapping[str, Iterable[str]],
    most: int,
    contract: Contract,
) -> list[str]:
    """The `most` used columns, and all columns of declared keys, which do not count. Sorted by
    name.

    used: column -> how many values it has. keys: column -> its keys.
    """
    declared = {name for name in used if not contract.keys.keys().isdisjoint(keys.get(name, ()))}
    free = sorted(used.keys() - declared, key=lambda name: (-used[name], name))
    return sorted({*declared, *free[:most]})


def _senders(campaigns: Iterable[Campaign]) -> Senders:
    """Each campaign with the slice of its records; records of a campaign are adjacent."""
    senders, start = [], 0
    for campaign, some in groupby(campaigns):
        stop = start + len(list(some))
        senders.append((campaign, slice(start, stop)))
        start = stop
    return senders


def _by_ending(cells: Cells) -> Iterator[tuple[str, Sequence[Any], int]]:
    """For each ending among a key's values: the ending, the values (None for null, "" and values of
    other endings), and how many are not None.
    """
    for ending in sorted({ENDING_OF[kind] for kind in ENDING_OF.keys() & cells.types}):
        values, used = cells.of_types(ENDINGS[ending].json)
        empty = 0 if ending else values.count("")
        if empty:
            values = [value or None for value in values]
        if used > empty:
            yield ending, values, used - empty


def _place_declared(
    columns: Columns,
    declared: Declared,
    column: str,
    rows: Sequence[int],
    cells: Cells,
    texts: Sequence[bytes],
) -> None:
    """Put a declared key's values into its column, and note those that do not fit."""
    placed: list[Any] = [None] * len(rows)
    used = 0
    for kind, places in cells.by_type().items():
        if kind == "null":
            continue
        values = [cells.values[at] for at in places]
        written = [texts[at] for at in places]
        fitted = fit_declared(declared, kind, values, written, columns.contract)
        used += fitted.count()
        for at, value, cell in zip(places, values, fitted.to_list(), strict=True):
            placed[at] = cell
            if cell is None and value != "":
                columns.misfits.setdefault(rows[at], []).append(declared.key)
    if used:
        columns.add(f"{column}{declared.ending}", declared.key, placed, used)


def fit_declared(
    declared: Declared,
    kind: str,
    values: Sequence[Any],
    texts: Sequence[bytes],
    contract: Contract,
) -> pl.Series:
    """A declared key's values in its type; null if a value does not fit. `texts`: their objects."""
    if declared.by_its_digits(kind):
        values = [own_token(text, declared.key) for text in texts]
    return fit(declared.type, declared.format, kind, values, contract.zone)


@dataclass(frozen=True)
class Misfits:
    """Values of a declared key that do not fit; there are no `examples` of personal data."""

    declared: Declared
    count: int
    examples: tuple[str, ...]

    def __add__(self, other: "Misfits | None") -> "Misfits":
        """The misfits of two parts of the calls together."""
        if other is None:
            return self
        examples = tuple(sorted({*self.examples, *other.examples})[:_EXAMPLES])
        return Misfits(self.declared, self.count + other.count, examples)

    def __str__(self) -> str:
        told = f", such as {', '.join(self.examples)}" if self.examples else ""
        values = "1 value is" if self.count == 1 else f"{self.count:,} values are"
        return f"{shortened(self.declared.key, 60)}: {values} no {self.declared.type}{told}"


def misfits(calls: pl.LazyFrame, contract: Contract) -> list[Misfits]:
    """The misfits of each key; from calls with `additional` and `_misfits`."""
    counts = (
        calls.filter(pl.col("_misfits").is_not_null())
        .select("_misfits", ADDITIONAL)
        .explode("_misfits")
        .group_by("_misfits")
        .agg(pl.len(), pl.col(ADDITIONAL).head(_EXAMPLES))
        .collect()
    )
    return [
        Misfits(contract.keys[key], count, _examples(contract.keys[key], texts))
        for key, count, texts in counts.iter_rows()
    ]


def united_misfits(parts: Iterable[Iterable[Misfits]]) -> list[Misfits]:
    """The misfits of several parts of the calls together, the most frequent first."""
    found: dict[str, Misfits] = {}
    for one in chain.from_iterable(parts):
        found[one.declared.key] = one + found.get(one.declared.key)
    return sorted(found.values(), key=lambda one: (-one.count, one.declared.key))


def _examples(declared: Declared, texts: Iterable[str]) -> tuple[str, ...]:
    """A key's values as these objects hold them, cut short and `redacted`; none if the key is
    declared or named as personal data.
    """
    if declared.pii or sounds_personal(declared.key):
        return ()
    tokens = (compact(own_token(text, declared.key).encode()) for text in texts)
    return tuple(sorted({shortened(redacted(token), _EXAMPLE_SHORT) for token in tokens}))
