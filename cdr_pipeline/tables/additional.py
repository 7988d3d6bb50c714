"""The law of `additional_*`: which column a value of the lead list's object goes to.

It depends on the value's own record alone, never on other records, days or the order of loading:
so every day stands by itself, a column has one type for ever, and no file is ever rewritten
because of another.

- Name: `additional_` and the key without diacritics, in lower case, runs of other characters than
  a-z 0-9 as one `_`. Where keys of one record would share a name, one of them gets the bare name
  and each other adds the first hex digits of its SHA-256.
- Type: by the JSON value, told by the name's ending (`contract.ENDINGS`). null and "" are null.

A key that a user declared (see `declared`) goes by its declaration instead, and changes no other.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
import polars as pl

from cdr_pipeline.page import UNREADABLE, compact
from cdr_pipeline.record import ADDITIONAL
from cdr_pipeline.tables.contract import ADDITIONAL_KEYS, free_type, typed
from cdr_pipeline.tables.declared import NO_CONTRACT, Contract, Declared, own_token
from cdr_pipeline.tables.names import column_names
from cdr_pipeline.tables.shapes import JSON_TYPES, Decoders, Learned, Shape

INT64: Final = range(-(2**63), 2**63)
_EXAMPLE_CHARACTERS: Final = 100

#: How many values that do not fit are told of a key, and how much of each.
_EXAMPLES: Final = 3
_EXAMPLE_SHORT: Final = 40

_values = msgspec.json.Decoder(dict[str, Any])
_tokens = msgspec.json.Decoder(dict[str, msgspec.Raw])

_TYPE_OF: Final = {"": "string", "__int": "integer", "__float": "decimal", "__bool": "boolean"}
_ENDING_OF: Final = {
    **{kind: ending for ending, kind in _TYPE_OF.items()},
    **dict.fromkeys(("number", "object", "array"), "__json"),
}

#: Type of a decoded value -> ending. What is not here is read token by token.
_PLAIN: Final[dict[type, str]] = {str: "", int: "__int", float: "__float", bool: "__bool"}


@dataclass
class Columns:
    """The free columns of some records, as cells: name -> rows and their values.

    `shapes`: the shape of each record's object, by its number in `known_shapes`; None for none.
    `keys`: the keys behind each column.
    `misfits`: row -> the declared keys whose values do not fit.
    """

    contract: Contract = NO_CONTRACT
    cells: dict[str, tuple[list[int], list[Any]]] = field(default_factory=dict)
    keys: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    shapes: list[int | None] = field(default_factory=list)
    misfits: dict[int, list[str]] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, list[Any]]:
        """Each column in full, null where a record has no value."""
        return {name: self._in_full(name) for name in sorted(self.cells)}

    def series(self, most: int | None = None) -> list[pl.Series]:
        """The columns to keep (see `most_used`) in order of their names, typed by their endings."""
        used = {name: len(rows) for name, (rows, _) in self.cells.items()}
        return [
            pl.Series(name, self._in_full(name), dtype=column_type(name, self.contract.zone))
            for name in most_used(used, self.keys, most, self.contract)
        ]

    def misfit_keys(self) -> pl.Series:
        """`_misfits`: the declared keys of each record whose values do not fit; null for none."""
        keys = [self.misfits.get(row) for row in range(len(self.shapes))]
        return pl.Series("_misfits", keys, dtype=pl.List(pl.String))

    def _in_full(self, name: str) -> list[Any]:
        values: list[Any] = [None] * len(self.shapes)
        for row, value in zip(*self.cells[name], strict=True):
            values[row] = value
        return values


#: Records of one shape: their rows, and the values of each.
Group = tuple[Shape, list[int], list[tuple[Any, ...]]]


class Spreader:
    """Spreads objects into columns, batch after batch, learning their shapes on the way."""

    def __init__(self, contract: Contract = NO_CONTRACT) -> None:
        self._contract = contract
        self._decoders = Decoders()
        self._numbers: dict[Shape, int] = {}

    @property
    def known_shapes(self) -> list[Shape]:
        """The shapes met so far, by number."""
        return list(self._numbers)

    def spread(
        self, objects: Sequence[str | None], hints: Sequence[Hashable] | None = None
    ) -> Columns:
        """The columns of `objects`: one JSON object's text a record, or None.

        Records of equal `hints` (their campaign) are likely of one shape; that is all they do.
        """
        columns = Columns(self._contract, shapes=[None] * len(objects))
        for shape, rows, tuples in self.by_shape(objects, hints):
            number = self._numbers.setdefault(shape, len(self._numbers))
            for row in rows:
                columns.shapes[row] = number
            _place(columns, shape, rows, tuples, objects)
        return columns

    def by_shape(
        self, objects: Sequence[str | None], hints: Sequence[Hashable] | None = None
    ) -> Iterable[Group]:
        """The records of each shape and their values."""
        fast: dict[Learned, tuple[list[int], list[tuple[Any, ...]]]] = {}
        groups: dict[Shape, Group] = {}
        for row, (text, hint) in enumerate(zip(objects, hints or objects, strict=True)):
            if text is None:
                continue
            if read := self._decoders.read(text, hint):
                learned, values = read
                rows, tuples = fast.setdefault(learned, ([], []))
            else:
                shape, values = self._by_law(text, hint)
                _, rows, tuples = groups.setdefault(shape, (shape, [], []))
            rows.append(row)
            tuples.append(values)
        for learned, (rows, tuples) in fast.items():
            for shape, places in learned.shapes(tuples):
                group = groups.setdefault(shape, (shape, [], []))
                group[1].extend(rows[place] for place in places)
                group[2].extend(tuples[place] for place in places)
        return groups.values()

    def _by_law(self, text: str, hint: Hashable) -> tuple[Shape, tuple[Any, ...]]:
        members = _fast(text)
        shape = Shape(tuple(members), tuple(json_type(*cell) for cell in members.values()))
        self._decoders.learn(shape.keys, hint)
        return shape, tuple(value for _, value in members.values())


def spread(objects: Sequence[str | None]) -> Columns:
    """The columns of `objects` by themselves."""
    return Spreader().spread(objects)


def most_used(
    used: Mapping[str, int],
    keys: Mapping[str, Iterable[str]],
    most: int | None,
    contract: Contract,
) -> list[str]:
    """The `most` used of some columns, and those of declared keys, which are never too many.

    used: values in each column; keys: the keys behind each. Sorted by name.
    """
    declared = {name for name in used if not contract.keys.keys().isdisjoint(keys.get(name, ()))}
    free = sorted(used.keys() - declared, key=lambda name: (-used[name], name))
    return sorted({*declared, *free[:most]})


def _place(
    columns: Columns,
    shape: Shape,
    rows: list[int],
    tuples: list[tuple[Any, ...]],
    objects: Sequence[str | None],
) -> None:
    """Put the values of records of one shape into their columns; null and "" into none."""
    names = column_names(shape.keys)
    for key, name, kind, values in zip(
        shape.keys, names, shape.types, zip(*tuples, strict=True), strict=True
    ):
        if kind == "null" or (kind == "string" and not any(values)):
            continue
        declared = columns.contract.keys.get(key)
        if declared:
            texts = [objects[row] or "" for row in rows]
            _place_declared(columns, declared, name, kind, rows, values, texts)
            continue
        column = f"{name}{_ENDING_OF[kind]}"
        at, cells = columns.cells.setdefault(column, ([], []))
        if kind == "string" and not all(values):
            filled = [(row, value) for row, value in zip(rows, values, strict=True) if value]
            at.extend(row for row, _ in filled)
            cells.extend(value for _, value in filled)
        else:
            at.extend(rows)
            cells.extend(values)
        columns.keys[column].add(key)


def _place_declared(
    columns: Columns,
    declared: Declared,
    name: str,
    kind: str,
    rows: list[int],
    values: Sequence[Any],
    texts: Sequence[str],
) -> None:
    """Put a declared key's values into its column, and tell of those that do not fit."""
    own = declared.in_column(name)
    if own is None:
        return
    fitted = fit_declared(declared, kind, values, texts, columns.contract)
    column = f"{own}{declared.ending}"
    for row, value, cell in zip(rows, values, fitted.to_list(), strict=True):
        if cell is not None:
            at, cells = columns.cells.setdefault(column, ([], []))
            at.append(row)
            cells.append(cell)
            columns.keys[column].add(declared.key)
        elif value != "":
            columns.misfits.setdefault(row, []).append(declared.key)


def fit_declared(
    declared: Declared,
    kind: str,
    values: Sequence[Any],
    texts: Sequence[str],
    contract: Contract,
) -> pl.Series:
    """A declared key's values in its type, null where one does not fit. `texts`: the objects."""
    if declared.by_its_digits(kind):
        values = [own_token(text, declared.key) for text in texts]
    return contract.fit(declared, kind, values)


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
    """How a key's values stand in some objects, cut short."""
    if declared.pii:
        return ()
    tokens = (compact(own_token(text, declared.key).encode()) for text in texts)
    return tuple(sorted({token[:_EXAMPLE_SHORT] for token in tokens}))


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
        cells = read_object(text)
        for key, column, kind in zip(
            shape.keys, column_names(shape.keys), shape.types, strict=True
        ):
            declared = contract.keys.get(key)
            row = (campaign, key, declared.in_column(column) if declared else column)
            counts[row][kind] += records
            value = cells[key][1]
            if value not in (None, "") and not (declared and declared.pii):
                examples.setdefault(row, str(value)[:_EXAMPLE_CHARACTERS])
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


def json_type(ending: str, value: Any) -> str:
    """The JSON type of a value, by its cell: see `shapes.JSON_TYPES`."""
    if value is None:
        return "null"
    if ending == "__json":
        return {"{": "object", "[": "array"}.get(value[0], "number")
    return _TYPE_OF[ending]


def column_type(name: str, zone: ZoneInfo) -> pl.DataType:
    """The type of a free column as written, by its ending."""
    dtype = free_type(name)
    assert dtype is not None, name
    return typed(dtype, zone)


def read_object(text: str) -> dict[str, tuple[str, Any]]:
    """Each key of a JSON object with the ending and the value of its cell: the law, token by token.

    Raises msgspec.MsgspecError for what is no JSON object.
    """
    return {key: read_value(bytes(token)) for key, token in _tokens.decode(text).items()}


def is_object(text: str) -> bool:
    """Whether a text is a JSON object, and so has columns."""
    if not text.lstrip().startswith("{"):
        return False
    try:
        read_object(text)
    except UNREADABLE:
        return False
    return True


def read_value(token: bytes) -> tuple[str, Any]:
    """Ending and value of the cell for one JSON value."""
    first = token[:1]
    if first == b'"':
        return "", msgspec.json.decode(token)
    if first in b"tf":
        return "__bool", first == b"t"
    if first == b"n":
        return "", None
    if first in b"{[":
        return "__json", compact(token)
    if re.fullmatch(rb"-?\d+", token):
        # What has more digits than any 64-bit number need not be read (and Python may refuse to).
        if len(token) <= 20 and int(token) in INT64:
            return "__int", int(token)
        return "__json", token.decode()
    decimal = float(token)
    return ("__float", decimal) if math.isfinite(decimal) else ("__json", token.decode())


def _fast(text: str) -> dict[str, tuple[str, Any]]:
    """As `read_object`, at once where every value is plain."""
    try:
        values = _values.decode(text)
    except UNREADABLE:
        return read_object(text)
    members = {}
    for key, value in values.items():
        if value is None:
            members[key] = ("", None)
            continue
        ending = _PLAIN.get(type(value))
        if ending is None or (ending == "__int" and value not in INT64):
            return read_object(text)
        members[key] = (ending, value)
    return members
