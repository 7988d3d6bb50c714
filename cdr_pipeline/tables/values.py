"""One value of a lead list's object: its JSON type, and the cell it makes.

The type is told from the value alone, and tells the ending of its column (`types.ENDING_OF`).
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

#: The same, as what a decoder takes.
Int64 = Annotated[int, msgspec.Meta(ge=INT64[0], le=INT64[-1])]

#: The members of an object, each value as it is written.
tokens_of: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

_values = msgspec.json.Decoder(dict[str, Any])

#: Every type of a JSON value that is told apart.
JSON_TYPES: Final = (*ENDING_OF, "null")

#: Type of a decoded value -> JSON type. What is not here is read token by token.
PLAIN: Final[dict[type, str]] = {
    str: "string",
    int: "integer",
    float: "decimal",
    bool: "boolean",
    type(None): "null",
}


def read_object(text: str | bytes) -> dict[str, tuple[str, Any]]:
    """Each key of a JSON object with its value's JSON type and cell: the law, token by token.

    Raises msgspec.MsgspecError for what is no JSON object.
    """
    return {key: read_value(bytes(token)) for key, token in tokens_of(text).items()}


def is_object(text: bytes) -> bool:
    """Whether a text is a JSON object, and so has columns."""
    if not text.lstrip().startswith(b"{") or too_deep(text):
        return False
    try:
        tokens_of(text)
    except UNREADABLE:
        return False
    return True


def read_value(token: bytes) -> tuple[str, Any]:
    """Type and cell of one JSON value."""
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
        # What has more digits than any 64-bit number need not be read (and Python may refuse to).
        if len(token) <= 20 and int(token) in INT64:
            return "integer", int(token)
        return "number", token.decode()
    decimal = float(token)
    return ("decimal", decimal) if math.isfinite(decimal) else ("number", token.decode())


def members_of(structs: Iterable[Any]) -> list[list[Any]]:
    """Member by member, the values of some structs of one type.

    All in one row, from which each member's are cut: `zip` would go to every struct again for each
    member, which takes twice as long.
    """
    values: list[Any] = []
    step = 0
    for one in map(msgspec.structs.astuple, structs):
        values += one
        step = len(one)
    return [values[member::step] for member in range(step)]


def read_fast(text: str | bytes) -> dict[str, tuple[str, Any]]:
    """As `read_object`, at once where every value is plain."""
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
    """The JSON text of a key's value in an object: a number's own digits, a text's quotes."""
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
