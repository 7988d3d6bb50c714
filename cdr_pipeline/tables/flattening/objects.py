"""Reads `additional` fast, by strict decoders that learn which keys come together.

The records of a campaign mostly have the same keys, or some of them, and msgspec decodes objects
with known keys several times faster than others. So each campaign gets a decoder of its keys, for
records that have no other keys. Objects that no decoder accepts are read slowly
(`values.read_object`). The type of a value depends on the value alone, so learning changes the
speed, but no value.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any, Final, TypeAlias

import msgspec

from cdr_pipeline.page import UNREADABLE
from cdr_pipeline.tables.names import plain_name
from cdr_pipeline.tables.values import PLAIN, Int64, members_of, read_fast, read_value

#: After so many slowly read records a campaign gets a decoder, after twice as many a wider one, and
#: so on.
_WORTH_LEARNING: Final = 8

#: A decoder has at most so many times the keys of a record: each key that is not there costs time.
_SPARSEST: Final = 8

#: At most so many decoders are made, and so many keys of a campaign are remembered.
_MOST_DECODERS: Final = 1_024
_MOST_REMEMBERED: Final = 4_096

_PLAIN: Any = str | Int64 | float | bool | None

#: Stands for the JSON type if a record does not have the key.
ABSENT: Final = "absent"

#: Type of a decoded value -> JSON type. Values of other types are read one by one.
_JSON_TYPE: Final = PLAIN | {msgspec.UnsetType: ABSENT}

Campaign: TypeAlias = str | None


@dataclass(frozen=True)
class Cells:
    """A key's values in some records, and the JSON type of each value: ABSENT if a record does not
    have the key. If all values have one type, `types` has it once.
    """

    values: Sequence[Any]
    types: list[str]

    def of_types(self, some: Collection[str]) -> tuple[Sequence[Any], int]:
        """The values of `some` types, None for all others; and how many have one of these types."""
        if len(self.types) == 1 and self.types[0] in some:
            return self.values, len(self.values)
        cells = zip(self.values, self.types, strict=True)
        values = [value if one in some else None for value, one in cells]
        return values, sum(map(self.types.count, some))

    def by_type(self) -> dict[str, list[int]]:
        """Type -> the places of its values, without ABSENT."""
        places: dict[str, list[int]] = defaultdict(list)
        same = len(self.types) == 1
        for at, one in enumerate(self.types * len(self.values) if same else self.types):
            places[one].append(at)
        places.pop(ABSENT, None)
        return places

    def count(self, some: slice) -> Mapping[str, int]:
        """How many of `some` values have each type, without ABSENT."""
        if len(self.types) == 1:
            count = {self.types[0]: some.stop - some.start}
        else:
            count = Counter(self.types[some])
        count.pop(ABSENT, None)
        return count

    def at(self, places: Sequence[int]) -> "Cells":
        """The cells of the records at these places."""
        types = self.types if len(self.types) == 1 else [self.types[at] for at in places]
        return Cells([self.values[at] for at in places], types)


@dataclass(frozen=True)
class Group:
    """Records that have no keys but `keys`: their rows, ordered by campaign, and for each key its
    cells. A key has the same column in all records of a group, whichever other keys they have.
    """

    keys: tuple[str, ...]
    rows: Sequence[int]
    cells: Sequence[Cells]


class ObjectReader:
    """Reads objects, and learns which keys come together in the lead lists of each campaign."""

    def __init__(self) -> None:
        self._known: dict[Campaign, _Known] = defaultdict(_Known)
        self._made: dict[frozenset[str], _Learned] = {}

    def groups(
        self, objects: Sequence[bytes | None], campaigns: Sequence[Campaign]
    ) -> Iterator[Group]:
        """The groups of `objects`; `campaigns`: the campaign of each. None is no object and in no
        group. Raises what `values.read_object` raises.
        """
        of_campaign: dict[Campaign, list[int]] = defaultdict(list)
        for row, (text, campaign) in enumerate(zip(objects, campaigns, strict=True)):
            if text is not None:
                of_campaign[campaign].append(row)
        of_decoder: dict[_Learned, list[int]] = defaultdict(list)
        left: dict[Campaign, list[int]] = defaultdict(list)
        for campaign, rows in of_campaign.items():
            learned = self._known[campaign].learned
            (of_decoder[learned] if learned else left[campaign]).extend(rows)
        for learned, rows in of_decoder.items():
            groups, refused = learned.take(objects, rows)
            yield from groups
            for row in refused:
                left[campaigns[row]].append(row)
        slow = _Slow()
        for campaign, rows in left.items():
            yield from self._learning(objects, rows, self._known[campaign], slow)
        yield from slow.groups()

    def _learning(
        self, objects: Sequence[bytes | None], rows: Sequence[int], known: "_Known", slow: "_Slow"
    ) -> Iterator[Group]:
        """Read the records of a campaign that its decoder refuses, or that has no decoder yet.
        Yields groups read by new decoders; adds slowly read records to `slow`.
        """
        left = rows
        while left:
            left = left[self._read_slowly(objects, left, known, slow) :]
            if left and known.learned:
                groups, left = known.learned.take(objects, left)
                yield from groups

    def _read_slowly(
        self, objects: Sequence[bytes | None], rows: Sequence[int], known: "_Known", slow: "_Slow"
    ) -> int:
        """Read rows slowly until there is a new decoder for the rest; return how many were read."""
        for place, row in enumerate(rows, 1):
            members = read_fast(objects[row] or b"")
            types = {key: kind for key, (kind, _) in members.items()}
            slow.add(row, {key: value for key, (_, value) in members.items()}, types)
            if self._learn(known, types):
                return place
        return len(rows)

    def _learn(self, known: "_Known", types: Mapping[str, str]) -> bool:
        """Learn from a slowly read record; return whether there is a new decoder for such records.
        `types`: the record's keys with their JSON types.
        """
        known.note(types)
        same = self._made.get(frozenset(types))
        if known.learned is None and same and known.nested <= same.nested:
            known.learned = same  # another campaign has the same keys
            return True
        if known.slow < known.due:
            return False
        known.due = 2 * known.slow
        learned = self._decoder(*known.wanted())
        if learned is None or learned is known.learned:
            return False
        if known.learned:
            self._made.pop(known.learned.keys, None)
        known.learned = self._made[learned.keys] = learned
        return True

    def _decoder(self, keys: frozenset[str], nested: frozenset[str]) -> "_Learned | None":
        made = self._made.get(keys)
        if made and nested <= made.nested:
            return made
        if not keys or len(self._made) >= _MOST_DECODERS:
            return None
        return _decoder(keys, nested | (made.nested if made else frozenset()))


@dataclass
class _Known:
    """What is known of a campaign's records.

    learned: the campaign's decoder. slow: how many records were read slowly. due: at this number of
    them the campaign gets a new decoder. cells: the sum of their numbers of keys. seen: how many of
    them had each key. nested: the keys with values that are read one by one.
    """

    learned: "_Learned | None" = None
    slow: int = 0
    due: int = field(default_factory=lambda: _WORTH_LEARNING)
    cells: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    nested: set[str] = field(default_factory=set)

    def note(self, types: Mapping[str, str]) -> None:
        """Count a slowly read record; `types`: its keys with their JSON types."""
        if len(self.seen) > _MOST_REMEMBERED:
            self.seen.clear()
            self.nested.clear()
        self.slow += 1
        self.cells += len(types)
        self.seen.update(types.keys())
        self.nested.update(key for key, one in types.items() if one not in _JSON_TYPE.values())

    def wanted(self) -> tuple[frozenset[str], frozenset[str]]:
        """The keys that a new decoder should know, and those of them with nested values. Both are
        empty if a decoder would have too many keys (`_SPARSEST`).
        """
        keys = frozenset(key for key, times in self.seen.items() if times > 1)
        nested = frozenset(self.nested)
        if self.learned:
            keys, nested = keys | self.learned.keys, nested | self.learned.nested
        if len(keys) * self.slow > _SPARSEST * self.cells:
            return frozenset(), frozenset()
        return keys, nested & keys


class _Slow:
    """Slowly read objects, collected by their keys."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, ...], list[tuple[int, list[Any], list[str]]]] = {}

    def add(self, row: int, values: Mapping[str, Any], types: Mapping[str, str]) -> None:
        """Add one object: its values and their JSON types, by key."""
        keys = tuple(sorted(values))
        cells = [values[key] for key in keys], [types[key] for key in keys]
        self._found.setdefault(keys, []).append((row, *cells))

    def groups(self) -> Iterator[Group]:
        """A group for each set of keys."""
        for keys, records in self._found.items():
            rows, values, types = zip(*records, strict=True)
            cells = zip(zip(*values, strict=True), zip(*types, strict=True), strict=True)
            yield Group(keys, rows, [Cells(some, _once(of_each)) for some, of_each in cells])


@dataclass(frozen=True, eq=False)
class _Learned:
    """The decoders of objects that have no keys but `keys`: of `one` object and of `many`.

    nested: the keys with values that may be nested. distinct: no two keys share a column name, so a
    key's column does not depend on the object's other keys.
    """

    keys: frozenset[str]
    nested: frozenset[str]
    distinct: bool
    one: msgspec.json.Decoder[Any]
    many: msgspec.json.Decoder[list[Any]]

    def take(
        self, objects: Sequence[bytes | None], rows: Sequence[int]
    ) -> tuple[Iterator[Group], Sequence[int]]:
        """The groups of the objects without other keys, and the rows of the objects with others."""
        texts = [objects[row] or b"" for row in rows]
        try:
            structs = self.many.decode(b"[%b]" % b",".join(texts))
        except UNREADABLE:
            taken, structs, left = [], [], []
            for row, text in zip(rows, texts, strict=True):
                try:
                    structs.append(self.one.decode(text))
                except UNREADABLE:
                    left.append(row)
                else:
                    taken.append(row)
            return self._groups(taken, structs), left
        return self._groups(rows, structs), []

    def _groups(self, rows: Sequence[int], structs: Sequence[Any]) -> Iterator[Group]:
        """One group for all records; or one for each set of keys, if column names depend on it."""
        if not rows:
            return
        keys = tuple(sorted(self.keys))
        cells = [
            _nested(values) if key in self.nested else Cells(values, _types(values))
            for key, values in zip(keys, members_of(structs), strict=True)
        ]
        if self.distinct or not any(ABSENT in one.types for one in cells):
            yield Group(keys, rows, cells)
            return
        by_keys: dict[tuple[bool, ...], list[int]] = defaultdict(list)
        for at in range(len(rows)):
            by_keys[tuple(one.values[at] is not msgspec.UNSET for one in cells)].append(at)
        for there, places in by_keys.items():
            some = [one.at(places) for one in compress(cells, there)]
            yield Group(tuple(compress(keys, there)), [rows[at] for at in places], some)


def _types(values: Sequence[Any]) -> list[str]:
    """The JSON type of each value; one entry if all values have the same type."""
    types = set(map(type, values))
    return [_JSON_TYPE[one] for one in (types if len(types) == 1 else map(type, values))]


def _once(types: Sequence[str]) -> list[str]:
    """The types as they are; one entry if all are the same."""
    return list(types[:1] if len(set(types)) == 1 else types)


def _nested(tokens: Sequence[Any]) -> Cells:
    """The cells of values that may be nested; `tokens`: the JSON text of each, or UNSET."""
    values, types = list(tokens), [ABSENT] * len(tokens)
    for at, token in enumerate(tokens):
        if token is not msgspec.UNSET:
            types[at], values[at] = read_value(bytes(token))
    return Cells(values, _once(types))


def _decoder(keys: frozenset[str], nested: frozenset[str]) -> _Learned | None:
    """Decoders for these keys; None if msgspec cannot have a field of such a name."""
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
