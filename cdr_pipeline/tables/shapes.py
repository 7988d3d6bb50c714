"""The fast reading of `additional`: one strict decoder a set of keys, learned as they appear.

A campaign's records mostly have the same keys, and msgspec reads such an object several times
faster than it reads any. A decoder takes a record only if it has those very keys, and values that
tell their own type, so learning one changes nobody's cells; what none takes is read by the law
(`additional.read_object`), slowly.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec

#: Keys are worth a decoder once they have come so often; more decoders than this are not kept,
#: and no more are tried on one record.
_WORTH_LEARNING: Final = 8
_MOST_DECODERS: Final = 256
_MOST_TRIED: Final = 4

#: What a decoder takes. Nested values and larger numbers are left to the law.
_INT64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_PLAIN: Any = str | _INT64 | float | bool | None

#: Type of a decoded value -> JSON type.
_JSON_TYPE: Final[dict[type, str]] = {
    str: "string",
    int: "integer",
    float: "decimal",
    bool: "boolean",
    type(None): "null",
}

#: Every type of a JSON value that is told apart; a number is one beyond 64 bits or not finite.
JSON_TYPES: Final = (*_JSON_TYPE.values(), "number", "object", "array")


@dataclass(frozen=True)
class Shape:
    """Keys and the JSON type of each one's value."""

    keys: tuple[str, ...]
    types: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Learned:
    """A set of keys, and the decoder of objects that have just these."""

    keys: tuple[str, ...]
    decoder: msgspec.json.Decoder[Any]

    def read(self, text: str) -> tuple[Any, ...] | None:
        """The values of an object of these keys; None for any other."""
        try:
            return msgspec.structs.astuple(self.decoder.decode(text))
        except (msgspec.MsgspecError, ValueError):
            return None

    def shapes(self, read: Sequence[tuple[Any, ...]]) -> Iterator[tuple[Shape, list[int]]]:
        """The shapes among some objects' values, and the places of each one's objects."""
        types = [list(map(type, values)) for values in zip(*read, strict=True)]
        if all(len(set(column)) == 1 for column in types):
            yield self._shape(tuple(column[0] for column in types)), list(range(len(read)))
            return
        places: dict[tuple[type, ...], list[int]] = defaultdict(list)
        for place, pattern in enumerate(zip(*types, strict=True)):
            places[pattern].append(place)
        for pattern, some in places.items():
            yield self._shape(pattern), some

    def _shape(self, types: tuple[type, ...]) -> Shape:
        return Shape(self.keys, tuple(_JSON_TYPE[one] for one in types))


class Decoders:
    """The sets of keys seen so far, and the decoders that last fitted each kind of caller."""

    def __init__(self) -> None:
        self._seen: Counter[tuple[str, ...]] = Counter()
        self._learned: dict[tuple[str, ...], Learned] = {}
        self._of_hint: dict[Hashable, list[Learned]] = {}

    def read(self, text: str, hint: Hashable = None) -> tuple[Learned, tuple[Any, ...]] | None:
        """Values, and by what they were read, if a decoder that fitted `hint` lately fits this."""
        tried = self._of_hint.get(hint, [])
        for place, learned in enumerate(tried):
            values = learned.read(text)
            if values is not None:
                if place:
                    tried.insert(0, tried.pop(place))
                return learned, values
        return None

    def learn(self, keys: tuple[str, ...], hint: Hashable = None) -> None:
        """An object of these keys had to be read by the law; the next may have them, too."""
        self._seen[keys] += 1
        if keys not in self._learned:
            if self._seen[keys] < _WORTH_LEARNING or len(self._learned) >= _MOST_DECODERS:
                return
            decoder = _decoder(keys)
            if not decoder:
                return
            self._learned[keys] = decoder
        tried = self._of_hint.get(hint, [])
        if self._learned[keys] not in tried:
            self._of_hint[hint] = [self._learned[keys], *tried][:_MOST_TRIED]


def _decoder(keys: tuple[str, ...]) -> Learned | None:
    fields = [
        (f"field_{number}", _PLAIN, msgspec.field(name=key)) for number, key in enumerate(keys)
    ]
    try:
        struct = msgspec.defstruct("Keys", fields, forbid_unknown_fields=True, gc=False)
    except ValueError:  # a key with a quote, a backslash or a control character
        return None
    return Learned(keys, msgspec.json.Decoder(struct))
