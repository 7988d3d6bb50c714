"""One value of a lead list's object: its JSON type, and the cell that is stored.

The type depends only on the value, and decides the ending of its column (`types.ENDING_OF`).
"""

import math
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Annotated, Any, Final

import msgspec

from cdr_pipeline.page import UNREADABLE, compact, too_deep
from cdr_pipeline.tables.types import ENDING_OF

INT64: Final = range(-(2**63), 2**63)

#: The same range, as a type for a decoder.
Int64 = Annotated[int, msgspec.Meta(ge=INT64[0], le=INT64[-1])]

#: Reads the members of an object, each value as its JSON text.
tokens_of: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

_values = msgspec.json.Decoder(dict[str, Any])

#: Every JSON type that is distinguished.
JSON_TYPES: Final = (*ENDING_OF, "null")

#: Type of a decoded value -> JSON type. An object with a value of another type is read by tokens.
PLAIN: Final[dict[type, str]] = {
    str: "string",
    int: "integer",
    float: "decimal",
    bool: "boolean",
    type(None): "null",
}


def read_object(text: str | bytes) -> dict[str, tuple[str, Any]]:
    """Key of a JSON object -> JSON type and cell of its value, read token by token: the definition.

    Raises msgspec.MsgspecError if the text is no JSON object.
    """
    return {key: read_value(bytes(token)) for key, token in tokens_of(text).items()}


def is_object(text: bytes) -> bool:
    """Whether a text is a readable JSON object; only such a text has columns."""
    if not text.lstrip().startswith(b"{") or too_deep(text):
        return False
    try:
        tokens_of(text)
    except UNREADABLE:
        return False
    return True


def read_value(token: bytes) -> tuple[str, Any]:
    """JSON type and cell of one JSON value."""
    first = token[:1]
    if first == b'"':
        return "string", msgspec.json.decode(token)
    if first in b"tf":
        return "boolean", first == b"t"
    if first == b"n":
        return "null", None
    if first in b"{[":
        return "object" if first == b"{" else "array", compact(token)
    if re.fullmatch(rb"-?\d+", token):
        # More digits than a 64-bit number has are not parsed (and Python may refuse to).
        if len(token) <= 20 and int(token) in INT64:
            return "integer", int(token)
        return "number", token.decode()
    decimal = float(token)
    return ("decimal", decimal) if math.isfinite(decimal) else ("number", token.decode())


def members_of(structs: Iterable[Any]) -> list[list[Any]]:
    """For each member of the structs' one type, the values of all structs.

    All values are put in one list and each member's are sliced from it: `zip` would go over all
    structs again for each member, which takes twice as long.
    """
    values: list[Any] = []
    step = 0
    for one in map(msgspec.structs.astuple, structs):
        values += one
        step = len(one)
    return [values[member::step] for member in range(step)]


def read_fast(text: str | bytes) -> dict[str, tuple[str, Any]]:
    """As `read_object`, but faster if every value is of a type in `PLAIN`."""
    try:
        values = _values.decode(text)
    except UNREADABLE:
        return read_object(text)
    members = {}
    for key, value in values.items():
        kind = PLAIN.get(type(value))
        if kind is None or (kind == "integer" and value not in INT64):
            return read_object(text)
        members[key] = (kind, value)
    return members


def own_token(text: str | bytes, key: str) -> str:
    """The JSON text of a key's value in an object: a number with its digits, a text with quotes."""
    return _token_reader(key)(text)


@lru_cache(maxsize=1_000)
def _token_reader(key: str) -> Callable[[str | bytes], str]:
    try:
        struct: Any = msgspec.defstruct(
            "Token", [("token", msgspec.Raw, msgspec.field(name=key))], gc=False
        )
    except ValueError:  # a key with a quote, a backslash or a control character
        return lambda text: bytes(tokens_of(text)[key]).decode()
    decoder = msgspec.json.Decoder(struct)
    return lambda text: bytes(decoder.decode(text).token).decode()
