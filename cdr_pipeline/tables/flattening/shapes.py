"""The fast reading of `additional`: one strict decoder a set of keys, learned as they appear.

A campaign's records mostly have the same keys, and msgspec reads such an object several times
faster than it reads any. A decoder takes a record only if it has those very keys, and each value
tells its own type, so learning one changes nobody's cells; what none takes is read by the law
(`values.read_object`), slowly.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from cdr_pipeline.tables.values import Int64, json_type, members_of, read_fast, read_value

#: Keys are worth a decoder once they have come so often; more decoders than this are not kept,
#: and no more are tried on the records of one hint.
_WORTH_LEARNING: Final = 8
_MOST_DECODERS: Final = 256
_MOST_TRIED: Final = 4

_PLAIN: Any = str | Int64 | float | bool | None

#: Type of a decoded value -> JSON type. The values of other types are read one by one.
_JSON_TYPE: Final[dict[type, str]] = {
    str: "string",
    int: "integer",
    float: "decimal",
    bool: "boolean",
    type(None): "null",
}


@dataclass(frozen=True)
class Shape:
    """Keys and the JSON type (`values.JSON_TYPES`) of each one's value."""

    keys: tuple[str, ...]
    types: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """Records of one shape: their rows, and the cells of each key."""

    shape: Shape
    rows: list[int]
    columns: list[list[Any]]


class ShapeReader:
    """Reads objects shape by shape, and learns which keys come together."""

    def __init__(self) -> None:
        self._seen: Counter[tuple[str, ...]] = Counter()
        self._learned: dict[tuple[str, ...], _Learned] = {}
        self._of_hint: dict[Hashable, list[_Learned]] = {}

    def groups(
        self, objects: Sequence[bytes | None], hints: Sequence[Hashable] | None = None
    ) -> Collection[Group]:
        """The objects by their shapes. Those of equal `hints` likely have equal keys.

        Raises what `values.read_object` raises.
        """
        found: dict[Shape, Group] = {}
        by_hint: dict[Hashable, list[int]] = defaultdict(list)
        for row, (text, hint) in enumerate(
            zip(objects, hints or [None] * len(objects), strict=True)
        ):
            if text is not None:
                by_hint[hint].append(row)
        for hint, rows in by_hint.items():
            left: Sequence[int] = rows
            for learned in self._of_hint.get(hint, []):
                left = learned.take(objects, left, found)
            while left:
                left = self._by_law(objects, left, hint, found)
        return found.values()

    def _by_law(
        self,
        objects: Sequence[bytes | None],
        rows: Sequence[int],
        hint: Hashable,
        found: dict[Shape, Group],
    ) -> Sequence[int]:
        """Read rows slowly until a decoder is worth trying on the rest; those it does not take."""
        for place, row in enumerate(rows, 1):
            members = read_fast(objects[row] or b"")
            shape = Shape(tuple(members), tuple(json_type(*cell) for cell in members.values()))
            _add(found, shape, [row], [[value] for _, value in members.values()])
            learned = self._learn(shape, hint)
            if learned:
                return learned.take(objects, rows[place:], found)
        return []

    def _learn(self, shape: Shape, hint: Hashable) -> "_Learned | None":
        """The decoder of a shape's keys, if they are worth one that `hint` does not have."""
        keys = shape.keys
        self._seen[keys] += 1
        known = self._learned.get(keys)
        nested = {at for at, kind in enumerate(shape.types) if kind not in _JSON_TYPE.values()}
        if known is None or not nested <= known.nested:
            if self._seen[keys] < _WORTH_LEARNING or len(self._learned) >= _MOST_DECODERS:
                return None
            known = _decoder(keys, frozenset(nested | (known.nested if known else set())))
            if known is None:
                return None
            self._learned[keys] = known
        others = [one for one in self._of_hint.get(hint, []) if one.keys != keys]
        self._of_hint[hint] = [known, *others][:_MOST_TRIED]
        return known


@dataclass(frozen=True)
class _Learned:
    """A set of keys, the places of those that may hold nested values, and their decoders."""

    keys: tuple[str, ...]
    nested: frozenset[int]
    one: msgspec.json.Decoder[Any]
    many: msgspec.json.Decoder[list[Any]]

    def take(
        self, objects: Sequence[bytes | None], rows: Sequence[int], found: dict[Shape, Group]
    ) -> Sequence[int]:
        """Add the objects that have these keys to `found`; the rows of the others."""
        if not rows:
            return rows
        texts = [objects[row] or b"" for row in rows]
        try:
            structs = self.many.decode(b"[%b]" % b",".join(texts))
        except (msgspec.MsgspecError, ValueError):
            return self._take_each(texts, rows, found)
        self._add_by_type(rows, structs, found)
        return []

    def _take_each(
        self, texts: Sequence[bytes], rows: Sequence[int], found: dict[Shape, Group]
    ) -> list[int]:
        """As `take`, where not all of them have these keys."""
        taken, structs, left = [], [], []
        for row, text in zip(rows, texts, strict=True):
            try:
                structs.append(self.one.decode(text))
            except (msgspec.MsgspecError, ValueError):
                left.append(row)
            else:
                taken.append(row)
        if taken:
            self._add_by_type(taken, structs, found)
        return left

    def _add_by_type(
        self, rows: Sequence[int], structs: Sequence[Any], found: dict[Shape, Group]
    ) -> None:
        """Put records of these keys to the others of their shape."""
        columns, types = [], []
        for at, cells in enumerate(members_of(structs)):
            values, kinds = _read_nested(cells) if at in self.nested else (cells, _kinds(cells))
            columns.append(values)
            types.append(kinds)
        mixed = [at for at, kinds in enumerate(types) if len(kinds) > 1]
        if not mixed:
            _add(found, Shape(self.keys, tuple(kinds[0] for kinds in types)), rows, columns)
            return
        places: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for place, pattern in enumerate(zip(*(types[at] for at in mixed), strict=True)):
            places[pattern].append(place)
        for pattern, some in places.items():
            for at, kind in zip(mixed, pattern, strict=True):
                types[at] = [kind]
            shape = Shape(self.keys, tuple(kinds[0] for kinds in types))
            cells_of = [[column[place] for place in some] for column in columns]
            _add(found, shape, [rows[place] for place in some], cells_of)


def _kinds(cells: Sequence[Any]) -> list[str]:
    """The JSON type of each value, or the one that they all have."""
    types = set(map(type, cells))
    return [_JSON_TYPE[one] for one in (types if len(types) == 1 else map(type, cells))]


def _read_nested(tokens: Sequence[msgspec.Raw]) -> tuple[list[Any], list[str]]:
    """The values of cells that may be nested, and their types as `_kinds`."""
    read = [read_value(bytes(token)) for token in tokens]
    types = [json_type(*cell) for cell in read]
    return [value for _, value in read], types[:1] if len(set(types)) == 1 else types


def _add(
    found: dict[Shape, Group],
    shape: Shape,
    rows: Sequence[int],
    columns: Iterable[Sequence[Any]],
) -> None:
    group = found.setdefault(shape, Group(shape, [], [[] for _ in shape.keys]))
    group.rows.extend(rows)
    for all_cells, cells in zip(group.columns, columns, strict=True):
        all_cells.extend(cells)


def _decoder(keys: tuple[str, ...], nested: frozenset[int]) -> _Learned | None:
    fields = [
        (f"field_{at}", msgspec.Raw if at in nested else _PLAIN, msgspec.field(name=key))
        for at, key in enumerate(keys)
    ]
    try:
        struct = msgspec.defstruct("Keys", fields, forbid_unknown_fields=True, gc=False)
    except ValueError:  # a key with a quote, a backslash or a control character
        return None
    one, many = msgspec.json.Decoder(struct), msgspec.json.Decoder(list[struct])  # type: ignore[valid-type]
    return _Learned(keys, nested, one, many)
