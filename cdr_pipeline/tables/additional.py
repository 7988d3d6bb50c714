"""The law of `additional_*`: which column a value of the lead list's object goes to.

It depends on the value's own record alone, never on other records, days or the order of loading:
so every day stands by itself, a column has one type for ever, and no file is ever rewritten
because of another.

- Name: `additional_` and the key without diacritics, in lower case, runs of other characters than
  a-z 0-9 as one `_`. Where keys of one record would share a name, one of them gets the bare name
  and each other adds the first hex digits of its SHA-256.
- Type: by the JSON value, told by the name's ending (`contract.ENDINGS`). null and "" are null.
"""

import hashlib
import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import msgspec
import polars as pl

from cdr_pipeline.page import UNREADABLE, compact
from cdr_pipeline.record import ADDITIONAL
from cdr_pipeline.tables.contract import ADDITIONAL_KEYS, ENDINGS
from cdr_pipeline.tables.shapes import JSON_TYPES, Decoders, Learned, Shape

INT64: Final = range(-(2**63), 2**63)
_DIGEST_DIGITS: Final = 6
_EXAMPLE_CHARACTERS: Final = 100
_NOT_A_NAME = re.compile(r"[^a-z0-9]+")

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
    """The additional_* columns of some records, as cells: name -> rows and their values.

    `shapes`: the shape of each record's object, by its number in `known_shapes`; None for none.
    `keys`: the keys behind each column.
    """

    cells: dict[str, tuple[list[int], list[Any]]] = field(default_factory=dict)
    keys: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    shapes: list[int | None] = field(default_factory=list)

    @property
    def values(self) -> dict[str, list[Any]]:
        """Each column in full, null where a record has no value."""
        return {name: self._in_full(name) for name in sorted(self.cells)}

    def series(self, most: int | None = None) -> list[pl.Series]:
        """The `most` used columns in order of their names, typed by their endings."""
        kept = sorted(sorted(self.cells, key=lambda name: (-len(self.cells[name][0]), name))[:most])
        return [pl.Series(name, self._in_full(name), dtype=column_type(name)) for name in kept]

    def _in_full(self, name: str) -> list[Any]:
        values: list[Any] = [None] * len(self.shapes)
        for row, value in zip(*self.cells[name], strict=True):
            values[row] = value
        return values


#: Records of one shape: their rows, and the values of each.
Group = tuple[Shape, list[int], list[tuple[Any, ...]]]


class Spreader:
    """Spreads objects into columns, batch after batch, learning their shapes on the way."""

    def __init__(self) -> None:
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
        columns = Columns(shapes=[None] * len(objects))
        for shape, rows, tuples in self.by_shape(objects, hints):
            number = self._numbers.setdefault(shape, len(self._numbers))
            for row in rows:
                columns.shapes[row] = number
            _place(columns, shape, rows, tuples)
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


def _place(columns: Columns, shape: Shape, rows: list[int], tuples: list[tuple[Any, ...]]) -> None:
    """Put the values of records of one shape into their columns; null and "" into none."""
    names = column_names(shape.keys)
    for key, name, kind, values in zip(
        shape.keys, names, shape.types, zip(*tuples, strict=True), strict=True
    ):
        if kind == "null" or (kind == "string" and not any(values)):
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


def key_table(
    groups: Iterable[tuple[str | None, int, int, str]], shapes: Sequence[Shape]
) -> pl.DataFrame:
    """`additional_keys`: what each campaign sent under each key.

    `groups`: campaign_uuid, shape, records of that shape in it, and the object of one of them.
    """
    counts: dict[tuple[str | None, str, str], Counter[str]] = defaultdict(Counter)
    examples: dict[tuple[str | None, str, str], str] = {}
    for campaign, number, records, text in groups:
        shape = shapes[number]
        cells = read_object(text)
        for key, column, kind in zip(
            shape.keys, column_names(shape.keys), shape.types, strict=True
        ):
            row = (campaign, key, column)
            counts[row][kind] += records
            value = cells[key][1]
            if value not in (None, ""):
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


def column_type(name: str) -> pl.DataType:
    """The type of an additional_* column, by its ending."""
    _, mark, ending = name.partition("__")
    return ENDINGS[mark + ending]


def read_object(text: str) -> dict[str, tuple[str, Any]]:
    """Each key of a JSON object with the ending and the value of its cell: the law, token by token.

    Raises msgspec.MsgspecError for what is no JSON object.
    """
    return {key: read_value(bytes(token)) for key, token in _tokens.decode(text).items()}


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


@lru_cache(maxsize=10_000)
def column_names(keys: tuple[str, ...]) -> tuple[str, ...]:
    """The column name of each key of one record, without the type's ending; all distinct."""
    names = {key: plain_name(key) for key in keys}
    while clashes := _clashes(names):
        for key in clashes:
            names[key] += "_" + hashlib.sha256(key.encode()).hexdigest()[:_DIGEST_DIGITS]
    return tuple(f"{ADDITIONAL}_{names[key]}" for key in keys)


@lru_cache(maxsize=100_000)
def plain_name(key: str) -> str:
    """A key as a name: Số tiền -> so_tien."""
    letters = unicodedata.normalize("NFD", key.replace("đ", "d").replace("Đ", "D"))
    bare = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return _NOT_A_NAME.sub("_", bare.lower()).strip("_") or "key"


def _clashes(names: Mapping[str, str]) -> list[str]:
    """The keys that have to give way: of those that share a name, all but the one that owns it."""
    sharing: dict[str, list[str]] = defaultdict(list)
    for key, name in names.items():
        sharing[name].append(key)
    return [key for name, keys in sharing.items() if len(keys) > 1 for key in _others(name, keys)]


def _others(name: str, keys: Iterable[str]) -> list[str]:
    _owner, *others = sorted(keys, key=lambda key: (key != name, key))
    return others


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
