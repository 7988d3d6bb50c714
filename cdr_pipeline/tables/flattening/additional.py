"""The law of `additional_*`: which column a value of the lead list's object goes to.

It depends on the value's own record alone, never on other records, days or the order of loading:
so every day stands by itself, a column has one type for ever, and no file is ever rewritten
because of another.

- Name: `additional_` and the key without diacritics, in lower case, runs of other characters than
  a-z 0-9 as one `_`. Where keys of one record would share a name, one of them gets the bare name
  and each other adds the first hex digits of its SHA-256.
- Type: by the JSON value, told by the name's ending (`types.ENDINGS`). null and "" are null.

A key that a user declared (see `contract`) goes by its declaration instead, and changes no other.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any, Final

import polars as pl

from cdr_pipeline.page import compact
from cdr_pipeline.record import ADDITIONAL
from cdr_pipeline.tables.contract import NO_CONTRACT, Contract, Declared
from cdr_pipeline.tables.datasets import ADDITIONAL_KEYS
from cdr_pipeline.tables.fitting import fit
from cdr_pipeline.tables.flattening.shapes import Cells, Group, Shape, ShapeReader
from cdr_pipeline.tables.names import column_names, sounds_personal
from cdr_pipeline.tables.types import ENDING_OF, ENDINGS, as_written, type_of
from cdr_pipeline.tables.values import JSON_TYPES, own_token, read_fast

_EXAMPLE_CHARACTERS: Final = 100

#: How many values that do not fit are told of a key, and how much of each.
_EXAMPLES: Final = 3
_EXAMPLE_SHORT: Final = 40

#: What no log may hold whole: a phone number, which no date is, and a link.
_DATE: Final = r"(?:\d{4}[-./]\d\d?[-./]\d\d?|\d\d?[-./]\d\d?[-./]\d{4})(?!\d)"
_NOT_WHOLE: Final = re.compile(rf"(?<!\d)(?!{_DATE})\d(?:[ .-]?\d){{7,}}|\w+://[^\s\"]+")


@dataclass
class Columns:
    """The free columns of some records: name -> its cells, group by group.

    `cells`: of each column, for each group that has it, where its cells begin among `rows` and the
    cells. All other rows are null, and take no memory until they are asked for.
    `rows`: those of the records that have an object, group by group.
    `shapes`: the shape of each of these, by its number in `known_shapes`.
    `keys`: the keys behind each column. `used`: how many values it has.
    `misfits`: row -> the declared keys whose values do not fit.
    """

    records: int
    contract: Contract = NO_CONTRACT
    cells: dict[str, list[tuple[int, Sequence[Any]]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    rows: list[int] = field(default_factory=list)
    shapes: list[int] = field(default_factory=list)
    keys: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    used: Counter[str] = field(default_factory=Counter)
    misfits: dict[int, list[str]] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, list[Any]]:
        """Each column in full, null where a record has no value."""
        return self.frame().drop("_shape", "_misfits").to_dict(as_series=False)

    def frame(self, some: Collection[str] | None = None) -> pl.DataFrame:
        """The columns, or those of them that are among `some`, in order of their names, a row a
        record, typed by their endings; `_shape`; and `_misfits`: the declared keys whose values do
        not fit.
        """
        kept = sorted(self.used if some is None else self.used.keys() & some)
        types = {name: as_written(type_of(name), self.contract.zone) for name in kept}
        objects = pl.DataFrame(
            [
                pl.Series("_row", self.rows, dtype=pl.Int64),
                pl.Series("_shape", self.shapes, dtype=pl.UInt32),
                *(pl.Series(name, self._in_full(name), dtype=types[name]) for name in kept),
            ]
        )
        every = pl.DataFrame(pl.int_range(self.records, eager=True).alias("_row"))
        frame = every.join(objects, on="_row", how="left", maintain_order="left")
        keys = [self.misfits.get(row) for row in range(self.records)] if self.misfits else None
        misfits = pl.lit(keys and pl.Series(keys), pl.List(pl.String)).alias("_misfits")
        return frame.with_columns(misfits).drop("_row")

    def add(self, name: str, key: str, values: Sequence[Any], used: int) -> None:
        """More cells of a column, those of the rows that come next; `used` of them are not null."""
        if used:
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
    """Spreads objects into columns, batch after batch, learning their shapes on the way."""

    def __init__(self, contract: Contract = NO_CONTRACT) -> None:
        self._contract = contract
        self._reader = ShapeReader()
        self._numbers: dict[Shape, int] = {}

    @property
    def known_shapes(self) -> list[Shape]:
        """The shapes met so far, by number."""
        return list(self._numbers)

    def spread(
        self, objects: Sequence[bytes | None], hints: Sequence[Hashable] | None = None
    ) -> Columns:
        """The columns of `objects`: one JSON object a record, or None.

        Records of equal `hints` (their campaign) likely have equal keys; that is all they do.
        """
        columns = Columns(len(objects), self._contract)
        for group in self._reader.groups(objects, hints):
            _place(columns, group, objects)
            shapes, of_each = group.shapes()
            numbers = [self._numbers.setdefault(one, len(self._numbers)) for one in shapes]
            columns.rows.extend(group.rows)
            columns.shapes.extend([numbers[place] for place in of_each])
        return columns


def most_used(
    used: Mapping[str, int],
    keys: Mapping[str, Iterable[str]],
    most: int,
    contract: Contract,
) -> list[str]:
    """The `most` used of some columns, and those of declared keys, which are never too many.

    used: values in each column; keys: the keys behind each. Sorted by name.
    """
    declared = {name for name in used if not contract.keys.keys().isdisjoint(keys.get(name, ()))}
    free = sorted(used.keys() - declared, key=lambda name: (-used[name], name))
    return sorted({*declared, *free[:most]})


def _place(columns: Columns, group: Group, objects: Sequence[bytes | None]) -> None:
    """Put the values of a group's records into their columns; null and "" into none."""
    for key, name, cells in zip(group.keys, column_names(group.keys), group.cells, strict=True):
        declared = columns.contract.keys.get(key)
        if declared:
            texts = [objects[row] or b"" for row in group.rows]
            _place_declared(columns, declared, name, group.rows, cells, texts)
            continue
        for ending in {ENDING_OF[kind] for kind in ENDING_OF.keys() & cells.types}:
            values, used = cells.of_types(ENDINGS[ending].json)
            empty = 0 if ending else values.count("")
            if empty:
                values = [value or None for value in values]
            columns.add(f"{name}{ending}", key, values, used - empty)


def _place_declared(
    columns: Columns,
    declared: Declared,
    name: str,
    rows: Sequence[int],
    cells: Cells,
    texts: Sequence[bytes],
) -> None:
    """Put a declared key's values into its column, and tell of those that do not fit."""
    own = declared.in_column(name)
    if own is None:
        return
    placed: list[Any] = [None] * len(rows)
    used = 0
    for kind, places in cells.by_type().items():
        values = [cells.values[at] for at in places]
        if kind == "null" or (kind == "string" and not any(values)):
            continue
        written = [texts[at] for at in places]
        fitted = fit_declared(declared, kind, values, written, columns.contract)
        used += fitted.count()
        for at, value, cell in zip(places, values, fitted.to_list(), strict=True):
            placed[at] = cell
            if cell is None and value != "":
                columns.misfits.setdefault(rows[at], []).append(declared.key)
    columns.add(f"{own}{declared.ending}", declared.key, placed, used)


def fit_declared(
    declared: Declared,
    kind: str,
    values: Sequence[Any],
    texts: Sequence[bytes],
    contract: Contract,
) -> pl.Series:
    """A declared key's values in its type, null where one does not fit. `texts`: the objects."""
    if declared.by_its_digits(kind):
        values = [own_token(text, declared.key) for text in texts]
    return fit(declared.type, declared.format, kind, values, contract.zone)


@dataclass(frozen=True)
class Misfits:
    """Values of a declared key that do not fit; `examples` are none of personal data."""

    declared: Declared
    count: int
    examples: tuple[str, ...]

    def __add__(self, other: "Misfits | None") -> "Misfits":
        """Those of two parts of the calls."""
        if other is None:
            return self
        examples = tuple(sorted({*self.examples, *other.examples})[:_EXAMPLES])
        return Misfits(self.declared, self.count + other.count, examples)

    def __str__(self) -> str:
        told = f", such as {', '.join(self.examples)}" if self.examples else ""
        return f"{self.declared.key[:60]}: {self.count:,} no {self.declared.type}{told}"


def misfits(calls: pl.LazyFrame, contract: Contract) -> list[Misfits]:
    """What does not fit among calls with `additional` and `_misfits`."""
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


def united(parts: Iterable[Iterable[Misfits]]) -> list[Misfits]:
    """The misfits of some parts of the calls as one, the most frequent first."""
    found: dict[str, Misfits] = {}
    for one in chain.from_iterable(parts):
        found[one.declared.key] = one + found.get(one.declared.key)
    return sorted(found.values(), key=lambda one: (-one.count, one.declared.key))


def _examples(declared: Declared, texts: Iterable[str]) -> tuple[str, ...]:
    """How a key's values stand in some objects, cut short; of numbers as long as a phone's, and of
    links, only how they begin. None where the key's name says that they tell of a person.
    """
    if declared.pii or sounds_personal(declared.key):
        return ()
    tokens = (compact(own_token(text, declared.key).encode()) for text in texts)
    told = (_NOT_WHOLE.sub(lambda found: f"{found[0][:3]}…", token) for token in tokens)
    return tuple(sorted({token[:_EXAMPLE_SHORT] for token in told}))


def key_table(
    groups: Iterable[tuple[str | None, int, int, str]],
    shapes: Sequence[Shape],
    contract: Contract = NO_CONTRACT,
) -> pl.DataFrame:
    """`additional_keys`: what each campaign sent under each key.

    `groups`: campaign_uuid, shape, records of that shape in it, and the object of one of them.
    """
    counts: dict[tuple[str | None, str, str | None], Counter[str]] = defaultdict(Counter)
    examples: dict[tuple[str | None, str, str | None], str] = {}
    for campaign, number, records, text in groups:
        shape = shapes[number]
        cells = read_fast(text)
        for key, column, kind in zip(
            shape.keys, column_names(shape.keys), shape.types, strict=True
        ):
            declared = contract.keys.get(key)
            row = (campaign, key, declared.in_column(column) if declared else column)
            counts[row][kind] += records
            value = cells[key][1]
            if value not in (None, "") and not (declared and declared.pii):
                told = value if isinstance(value, str) else json.dumps(value)
                example = told[:_EXAMPLE_CHARACTERS]
                examples[row] = min(example, examples.get(row, example))
    return pl.DataFrame(
        [
            {
                "campaign_uuid": row[0],
                "key": row[1],
                "column": row[2],
                "records": sum(kinds.values()),
                **{kind: kinds[kind] for kind in JSON_TYPES},
                "example": examples.get(row),
            }
            for row, kinds in counts.items()
        ],
        schema={column.name: column.dtype for column in ADDITIONAL_KEYS.columns},
    ).sort("campaign_uuid", "key", "column")
