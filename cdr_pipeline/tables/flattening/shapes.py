"""The fast reading of `additional`: strict decoders that learn which keys come together.

A campaign's records mostly have some of the same keys, and msgspec reads such an object several
times faster than it reads any. A decoder takes a record that has no other keys than its own, and
each value tells its own type, so learning one changes nobody's cells; what none takes is read by
the law (`values.read_object`), slowly.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from cdr_pipeline.page import UNREADABLE
from cdr_pipeline.tables.names import plain_name
from cdr_pipeline.tables.values import Int64, json_type, members_of, read_fast, read_value

#: A key is worth being learned once it has come so often.
_WORTH_LEARNING: Final = 8

#: More decoders than this are not made, none takes more keys, and no more are tried on the records
#: of one hint.
_MOST_DECODERS: Final = 1_024
_MOST_KEYS: Final = 256
_MOST_TRIED: Final = 4

_PLAIN: Any = str | Int64 | float | bool | None

#: What stands for the JSON type where a record has not the key.
ABSENT: Final = "absent"

#: Type of a decoded value -> JSON type. The values of other types are read one by one.
_JSON_TYPE: Final[dict[type, str]] = {
    str: "string",
    int: "integer",
    float: "decimal",
    bool: "boolean",
    type(None): "null",
    msgspec.UnsetType: ABSENT,
}


@dataclass(frozen=True)
class Shape:
    """Keys and the JSON type (`values.JSON_TYPES`) of each one's value."""

    keys: tuple[str, ...]
    types: tuple[str, ...]


@dataclass(frozen=True)
class Cells:
    """A key's values in some records, and the JSON type of each: ABSENT where one has not the key.
    A type that all have stands there once.
    """

    values: Sequence[Any]
    types: list[str]

    def of_types(self, some: Collection[str]) -> tuple[Sequence[Any], int]:
        """The values of some types, None for the others; and how many are of these."""
        if len(self.types) == 1 and self.types[0] in some:
            return self.values, len(self.values)
        cells = zip(self.values, self.types, strict=True)
        values = [value if one in some else None for value, one in cells]
        return values, sum(map(self.types.count, some))

    def by_type(self) -> dict[str, list[int]]:
        """Each type but ABSENT, and the places of its values."""
        places: dict[str, list[int]] = defaultdict(list)
        same = len(self.types) == 1
        for at, one in enumerate(self.types * len(self.values) if same else self.types):
            places[one].append(at)
        places.pop(ABSENT, None)
        return places

    def at(self, places: Sequence[int]) -> "Cells":
        """Those of some records."""
        types = self.types if len(self.types) == 1 else [self.types[at] for at in places]
        return Cells([self.values[at] for at in places], types)


@dataclass(frozen=True)
class Group:
    """Records that have some of these keys and no other, by their rows. Whichever of them a record
    has, its columns are named like those of a record that has them all.
    """

    keys: tuple[str, ...]
    rows: Sequence[int]
    cells: Sequence[Cells]

    def shapes(self) -> tuple[list[Shape], list[int]]:
        """The shapes of the records, and each record's by its place among these."""
        mixed = [at for at, cells in enumerate(self.cells) if len(cells.types) > 1]
        if not mixed:
            return [self._shape({})], [0] * len(self.rows)
        places: dict[tuple[str, ...], int] = {}
        of_each = [
            places.setdefault(types, len(places))
            for types in zip(*(self.cells[at].types for at in mixed), strict=True)
        ]
        return [self._shape(dict(zip(mixed, types, strict=True))) for types in places], of_each

    def _shape(self, mixed: dict[int, str]) -> Shape:
        types = [mixed.get(at, cells.types[0]) for at, cells in enumerate(self.cells)]
        there = [(key, one) for key, one in zip(self.keys, types, strict=True) if one != ABSENT]
        return Shape(tuple(key for key, _ in there), tuple(one for _, one in there))


class ShapeReader:
    """Reads objects by their keys, and learns which keys come together."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()
        self._of_hint: dict[Hashable, list[_Learned]] = defaultdict(list)
        self._made: dict[tuple[frozenset[str], frozenset[str]], _Learned] = {}

    def groups(
        self, objects: Sequence[bytes | None], hints: Sequence[Hashable] | None = None
    ) -> list[Group]:
        """The objects, group by group. Those of equal `hints` likely have equal keys.

        Raises what `values.read_object` raises.
        """
        by_hint: dict[Hashable, list[int]] = defaultdict(list)
        for row, (text, hint) in enumerate(
            zip(objects, hints or [None] * len(objects), strict=True)
        ):
            if text is not None:
                by_hint[hint].append(row)
        found: list[Group] = []
        slow = _Slow()
        for hint, rows in by_hint.items():
            left: Sequence[int] = rows
            for learned in self._of_hint[hint]:
                left = learned.take(objects, left, found)
            while left:
                left = self._by_law(objects, left, hint, found, slow)
        return found + slow.groups()

    def _by_law(
        self,
        objects: Sequence[bytes | None],
        rows: Sequence[int],
        hint: Hashable,
        found: list[Group],
        slow: "_Slow",
    ) -> Sequence[int]:
        """Read rows slowly until a decoder is worth trying on the rest; those it does not take."""
        for place, row in enumerate(rows, 1):
            members = read_fast(objects[row] or b"")
            types = {key: json_type(*cell) for key, cell in members.items()}
            slow.add(row, {key: value for key, (_, value) in members.items()}, types)
            learned = self._learn(types, hint)
            if learned:
                return learned.take(objects, rows[place:], found)
        return []

    def _learn(self, types: dict[str, str], hint: Hashable) -> "_Learned | None":
        """A decoder for records like one of these keys and types, if `hint` has none and the keys
        are worth it.
        """
        tried = self._of_hint[hint]
        self._seen.update(types.keys())
        keys = frozenset(types)
        nested = frozenset(key for key in keys if types[key] not in _JSON_TYPE.values())
        if any(keys <= one.keys and nested <= one.nested for one in tried):
            return None
        if any(self._seen[key] < _WORTH_LEARNING for key in keys):
            return None
        wider = [one for one in tried[:1] if len(keys | one.keys) <= _MOST_KEYS]
        for one in wider:
            keys, nested = keys | one.keys, nested | one.nested
        learned = self._decoder(keys, nested)
        if learned:
            tried[: len(wider)] = [learned]
            del tried[_MOST_TRIED:]
        return learned

    def _decoder(self, keys: frozenset[str], nested: frozenset[str]) -> "_Learned | None":
        if (keys, nested) not in self._made:
            made = _decoder(keys, nested) if len(self._made) < _MOST_DECODERS else None
            if made is None:
                return None
            self._made[keys, nested] = made
        return self._made[keys, nested]


class _Slow:
    """Objects that were read by the law, by their keys."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, ...], list[tuple[int, list[Any], list[str]]]] = {}

    def add(self, row: int, values: dict[str, Any], types: dict[str, str]) -> None:
        """One more, key by key."""
        keys = tuple(sorted(values))
        cells = [values[key] for key in keys], [types[key] for key in keys]
        self._found.setdefault(keys, []).append((row, *cells))

    def groups(self) -> list[Group]:
        """Those of equal keys together."""
        return [_slow_group(keys, records) for keys, records in self._found.items()]


def _slow_group(
    keys: tuple[str, ...], records: Sequence[tuple[int, list[Any], list[str]]]
) -> Group:
    rows, values, types = zip(*records, strict=True)
    cells = zip(zip(*values, strict=True), zip(*types, strict=True), strict=True)
    return Group(keys, rows, [Cells(some, _once(of_each)) for some, of_each in cells])


@dataclass(frozen=True)
class _Learned:
    """Some keys, those of them whose values may be nested, and the decoders of objects which have
    none but these. distinct: whether each has the same name whichever of the others are there.
    """

    keys: frozenset[str]
    nested: frozenset[str]
    distinct: bool
    one: msgspec.json.Decoder[Any]
    many: msgspec.json.Decoder[list[Any]]

    def take(
        self, objects: Sequence[bytes | None], rows: Sequence[int], found: list[Group]
    ) -> Sequence[int]:
        """Add the objects that have no other keys to `found`; the rows of the others."""
        if not rows:
            return rows
        texts = [objects[row] or b"" for row in rows]
        try:
            structs = self.many.decode(b"[%b]" % b",".join(texts))
        except UNREADABLE:
            return self._take_each(texts, rows, found)
        found += self._groups(rows, structs)
        return []

    def _take_each(
        self, texts: Sequence[bytes], rows: Sequence[int], found: list[Group]
    ) -> list[int]:
        """As `take`, where some of them have other keys."""
        taken, structs, left = [], [], []
        for row, text in zip(rows, texts, strict=True):
            try:
                structs.append(self.one.decode(text))
            except UNREADABLE:
                left.append(row)
            else:
                taken.append(row)
        if taken:
            found += self._groups(taken, structs)
        return left

    def _groups(self, rows: Sequence[int], structs: Sequence[Any]) -> Iterator[Group]:
        keys = tuple(sorted(self.keys))
        cells = [
            _read_nested(values) if key in self.nested else Cells(values, _types(values))
            for key, values in zip(keys, members_of(structs), strict=True)
        ]
        whole = Group(keys, rows, cells)
        if self.distinct or not any(ABSENT in one.types for one in cells):
            yield whole
            return
        shapes, of_each = whole.shapes()
        by_keys: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for at, place in enumerate(of_each):
            by_keys[shapes[place].keys].append(at)
        for some, places in by_keys.items():
            there = [one.at(places) for key, one in zip(keys, cells, strict=True) if key in some]
            yield Group(some, [rows[at] for at in places], there)


def _types(values: Sequence[Any]) -> list[str]:
    """The JSON type of each value, or the one that they all have."""
    types = set(map(type, values))
    return [_JSON_TYPE[one] for one in (types if len(types) == 1 else map(type, values))]


def _once(types: Sequence[str]) -> list[str]:
    """The types of some values, or the one that they all have."""
    return list(types[:1] if len(set(types)) == 1 else types)


def _read_nested(tokens: Sequence[Any]) -> Cells:
    """The cells of values that may be nested."""
    read = [
        (ABSENT, None) if token is msgspec.UNSET else read_value(bytes(token)) for token in tokens
    ]
    types = [ending if ending == ABSENT else json_type(ending, value) for ending, value in read]
    return Cells([value for _, value in read], _once(types))


def _decoder(keys: frozenset[str], nested: frozenset[str]) -> _Learned | None:
    fields = [
        (
            f"field_{at}",
            msgspec.Raw if key in nested else _PLAIN,
            msgspec.field(name=key, default=msgspec.UNSET),
        )
        for at, key in enumerate(sorted(keys))
    ]
    try:
        struct = msgspec.defstruct("Keys", fields, forbid_unknown_fields=True, gc=False)
    except ValueError:  # a key with a quote, a backslash or a control character
        return None
    distinct = len(set(map(plain_name, keys))) == len(keys)
    one, many = msgspec.json.Decoder(struct), msgspec.json.Decoder(list[struct])  # type: ignore[valid-type]
    return _Learned(keys, nested, distinct, one, many)
