"""The fast reading of `additional`: one strict decoder a shape, learned as shapes appear.

A shape is the keys of an object with the JSON type of each one's value. A campaign's
records mostly share one, and msgspec reads that several times faster than it reads any object. A
decoder takes a record only if it is of that very shape, so learning one changes nobody's cells;
what none takes is read by the law (`additional.read_object`), slowly.
"""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec

#: A shape is worth a decoder once it has come so often; more decoders than this are not kept.
_WORTH_LEARNING: Final = 8
_MOST_DECODERS: Final = 256

#: JSON type -> what a decoder must find. A float field would take an integer silently, so both
#: are let in and told apart afterwards. Nested values and larger numbers are left to the law.
_FIELDS: Final[dict[str, Any]] = {
    "string": str,
    "integer": Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)],
    "decimal": int | float,
    "boolean": bool,
    "null": None,
}

#: Every type of a JSON value that is told apart; a number is one beyond 64 bits or not finite.
JSON_TYPES: Final = (*_FIELDS, "number", "object", "array")


@dataclass(frozen=True)
class Shape:
    """Keys and the JSON type of each one's value."""

    keys: tuple[str, ...]
    types: tuple[str, ...]


@dataclass(frozen=True)
class _Learned:
    shape: Shape
    decoder: msgspec.json.Decoder[Any]
    decimals: tuple[int, ...]

    def read(self, text: str) -> tuple[Any, ...] | None:
        """The values of an object of this very shape; None for any other."""
        try:
            values = msgspec.structs.astuple(self.decoder.decode(text))
        except (msgspec.MsgspecError, ValueError):
            return None
        if any(type(values[position]) is not float for position in self.decimals):
            return None
        return values


class Shapes:
    """The shapes seen so far, and the decoder that last fitted each kind of caller."""

    def __init__(self) -> None:
        self._seen: Counter[Shape] = Counter()
        self._learned: dict[Shape, _Learned] = {}
        self._last: dict[Hashable, _Learned] = {}

    def read(self, text: str, hint: Hashable = None) -> tuple[Shape, tuple[Any, ...]] | None:
        """Shape and values, if the decoder that fitted the last object of `hint` fits this one."""
        learned = self._last.get(hint)
        values = learned.read(text) if learned else None
        return (learned.shape, values) if learned and values is not None else None

    def learn(self, shape: Shape, hint: Hashable = None) -> None:
        """An object of this shape had to be read by the law; the next may be of it, too."""
        self._seen[shape] += 1
        if shape in self._learned:
            self._last[hint] = self._learned[shape]
        elif self._seen[shape] >= _WORTH_LEARNING and len(self._learned) < _MOST_DECODERS:
            decoder = _decoder(shape)
            if decoder:
                self._learned[shape] = decoder
                self._last[hint] = decoder


def _decoder(shape: Shape) -> _Learned | None:
    if not all(json_type in _FIELDS for json_type in shape.types):
        return None
    fields = [
        (f"field_{number}", _FIELDS[json_type], msgspec.field(name=key))
        for number, (key, json_type) in enumerate(zip(shape.keys, shape.types, strict=True))
    ]
    try:
        struct = msgspec.defstruct("Shape", fields, forbid_unknown_fields=True, gc=False)
    except ValueError:  # a key with a quote, a backslash or a control character
        return None
    decimals = [number for number, one in enumerate(shape.types) if one == "decimal"]
    return _Learned(shape, msgspec.json.Decoder(struct), tuple(decimals))
