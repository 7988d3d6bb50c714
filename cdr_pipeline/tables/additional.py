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
import json
import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import msgspec
import polars as pl

from cdr_pipeline.record import ADDITIONAL
from cdr_pipeline.tables.contract import ENDINGS

INT64: Final = range(-(2**63), 2**63)
_DIGEST_DIGITS: Final = 6
_NOT_A_NAME = re.compile(r"[^a-z0-9]+")
_JSON_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')

_values = msgspec.json.Decoder(dict[str, Any])
_tokens = msgspec.json.Decoder(dict[str, msgspec.Raw])

#: Type of a decoded value -> ending. What is not here is read token by token.
_PLAIN: Final[dict[type, str]] = {str: "", int: "__int", float: "__float", bool: "__bool"}


@dataclass
class Columns:
    """The additional_* columns of some records: name -> values, null where a record has none."""

    values: dict[str, list[Any]] = field(default_factory=dict)
    keys: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def series(self) -> list[pl.Series]:
        """The columns in order of their names, typed by their endings."""
        return [
            pl.Series(name, values, dtype=ENDINGS[ending_of(name)])
            for name, values in sorted(self.values.items())
        ]


def spread(objects: Sequence[str | None]) -> Columns:
    """The columns of `objects`: one JSON object's text a record, or None."""
    columns = Columns()
    for row, text in enumerate(objects):
        if text is None:
            continue
        members = _fast(text)
        names = column_names(tuple(members))
        for (key, (ending, value)), name in zip(members.items(), names, strict=True):
            if value is None or value == "":
                continue
            column = f"{name}{ending}"
            if column not in columns.values:
                columns.values[column] = [None] * len(objects)
            columns.values[column][row] = value
            columns.keys[column].add(key)
    return columns


def ending_of(column: str) -> str:
    """The ending that tells the type of an additional_* column."""
    _, mark, ending = column.partition("__")
    return mark + ending


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


def compact(token: bytes) -> str:
    """JSON text without white space, characters as themselves; numbers keep their digits."""
    text = msgspec.json.format(token, indent=-1)
    if b"\\u" in text or b"\\/" in text:
        text = _JSON_STRING.sub(lambda match: msgspec.json.encode(json.loads(match[0])), text)
    return text.decode()


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
    except (msgspec.MsgspecError, ValueError):
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
