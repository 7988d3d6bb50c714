"""Splits one response of the vendor into its records.

msgspec splits a whole page at once. If msgspec refuses the page (a lone surrogate, a control
character, a record of another shape), the slow reading splits it: the fault of one record then
costs no other record. This module does not decide what a record *means*.
"""

import json
import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Final, TypeVar

import msgspec
import polars as pl
import pyarrow as pa

from cdr_pipeline.record import EARLIEST_TIME, TIME_FORM
from cdr_pipeline.window import Window

_Column = TypeVar("_Column", pl.Expr, pl.Series)

#: The vendor's names for the records, the number of matches and the error in a response.
RECORDS: Final = "data"
_TOTAL: Final = "total"
_ERROR: Final = "error"

_STRING: Final = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_JSON_STRING: Final = re.compile(_STRING, re.DOTALL)
_is_time: Final = re.compile(TIME_FORM).match


#: What decoding raises for unexpected content.
UNREADABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError)


#: Deeper nesting is refused: how much deeper Python could read depends on the depth of the call
#: stack, since Python bounds both together.
_DEEPEST: Final = 500
_SHORTEST_TOO_DEEP: Final = 2 * (_DEEPEST - 1)

#: Up to this depth, removing pairs of brackets decides, at a tenth of the cost of counting depth.
_SHALLOW: Final = 8
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


class MalformedPage(ValueError):
    """The body is not the documented response: cut off, HTML, or of another shape."""


#: The values of `error` in a response without an error.
_NONE: Final = msgspec.Raw(b"null")
_NO_ERROR: Final[tuple[object, ...]] = (None, False, 0, "", [], {})


class Head(msgspec.Struct, gc=False):
    """The members of a record that the listing needs: its key and when it began."""

    id: str
    time_started: str | None = None


class _Response(msgspec.Struct):
    total: int | float | str = msgspec.field(name=_TOTAL)
    error: msgspec.Raw = msgspec.field(name=_ERROR, default=_NONE)


class _Headed(_Response, kw_only=True):
    records: list[Head] | None = msgspec.field(name=RECORDS)


class _Split(_Response, kw_only=True):
    records: list[msgspec.Raw] | None = msgspec.field(name=RECORDS)


_headed = msgspec.json.Decoder(_Headed)
_split = msgspec.json.Decoder(_Split)
_any_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, eq=False)
class Seen:
    """The records of one page as the listing sees them, in the vendor's order.

    keys: one key per record; equal keys mean the same call. The key of a record without a usable id
        stands for its bytes, and its position is in `nameless`: equal ones are different calls.
    started: when each record began, as the vendor wrote it.
    """

    keys: list[int]
    started: list[str | None]
    total: int
    nameless: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def began(self) -> pl.Series:
        """The vendor's wall clock when each record began; null if unreadable."""
        texts = pl.DataFrame({"began": self.started}, schema={"began": pl.String()})
        return texts.select(wall_clock(pl.col("began"))).to_series()


def split(body: bytes) -> list[bytes]:
    """The records of a page as the texts the vendor sent. Raises MalformedPage."""
    return split_and_total(body)[0]


def split_and_total(body: bytes) -> tuple[list[bytes], int]:
    """The records of a page and the vendor's total. Raises MalformedPage."""
    try:
        page = _split.decode(body)
    except UNREADABLE:
        return _records_one_by_one(body)
    _see_no_error(page.error)
    return [bytes(raw) for raw in page.records or []], _total(page.total)


def join(records: Sequence[bytes]) -> bytes:
    """A response with exactly these records, and their number as total."""
    return msgspec.json.encode({RECORDS: [*map(msgspec.Raw, records)], _TOTAL: len(records)})


def see(body: bytes) -> Seen:
    """Key and beginning of every record of a page. Raises MalformedPage."""
    try:
        page = _headed.decode(body)
    except UNREADABLE:
        return _see_each(body)
    _see_no_error(page.error)
    heads = page.records or []
    if any(not head.id for head in heads):
        return _see_each(body)
    return Seen(
        [hash(head.id) for head in heads],
        [head.time_started for head in heads],
        _total(page.total),
    )


def identity(text: bytes) -> tuple[str | None, str | None]:
    """`id` and `time_started` of a record as text; None for what is missing or unreadable."""
    members: Mapping[str, msgspec.Raw | bytes]
    try:
        members = _any_object.decode(text)
    except UNREADABLE:
        try:
            members = _members_one_by_one(text)
        except ValueError:
            members = {}
    return _text_or_none(members.get("id")), _text_or_none(members.get("time_started"))


def check_encoding(body: bytes) -> None:
    """Raises ValueError if `body` is not UTF-8; as `body.decode()`, at a seventh of the cost."""
    ends = pa.array([0, len(body)], pa.int64()).buffers()[1]
    pa.Array.from_buffers(pa.large_utf8(), 1, [None, ends, pa.py_buffer(body)]).validate(full=True)


def too_deep(text: bytes, within: int = 0) -> bool:
    """Whether a JSON text, or a value at depth `within` one, is nested deeper than `_DEEPEST`."""
    most = _DEEPEST - within
    if len(text) < 2 * most or text.count(b"[") + text.count(b"{") <= most:
        return False
    brackets = _JSON_STRING.sub(b"", text).translate(None, _NO_BRACKETS)
    left = brackets
    for _ in range(_SHALLOW):
        left = left.replace(b"[]", b"").replace(b"{}", b"")
    if not left:  # nearly always
        return False
    return max(accumulate(1 if bracket in b"[{" else -1 for bracket in brackets)) > most


def any_too_deep(tokens: Iterable[msgspec.Raw]) -> bool:
    """Whether any member of a record is nested too deeply (see `too_deep`)."""
    long = [bytes(token) for token in tokens if len(token) >= _SHORTEST_TOO_DEEP]
    return any(too_deep(token, within=1) for token in long)


def text_of(token: bytes) -> str | None:
    """A JSON value of a text field: text as it is, null as None, anything else as its JSON text.

    Raises ValueError for invalid JSON, invalid UTF-8 or a lone surrogate.
    """
    if token[:1] == b'"':
        return str(msgspec.json.decode(token))
    return None if token == b"null" else compact(token)


def compact(token: bytes) -> str:
    """JSON text without white space and without escapes that are not needed; numbers keep their
    digits.
    """
    text = msgspec.json.format(token, indent=-1)
    if b"\\u" in text or b"\\/" in text:
        text = _JSON_STRING.sub(lambda match: msgspec.json.encode(json.loads(match[0])), text)
    return text.decode()


def began(text: str | None) -> datetime | None:
    """The wall clock at which a record began, or None if the text is no valid time."""
    if not text or not _is_time(text) or text < EARLIEST_TIME:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def wall_clock(text: pl.Expr) -> pl.Expr:
    """As `began`, for a column."""
    return (
        pl.when(text.str.contains(TIME_FORM) & (text >= EARLIEST_TIME))
        .then(text)
        .str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", strict=False)
    )


def began_in(began: _Column, window: Window) -> _Column:
    """Whether each wall clock lies in the window; null for null."""
    return began.is_between(window.start, window.end, closed="left")


def _see_each(body: bytes) -> Seen:
    records, total = split_and_total(body)
    heads = [identity(text) for text in records]
    return Seen(
        [hash(id_ or (text,)) for text, (id_, _) in zip(records, heads, strict=True)],
        [started for _, started in heads],
        total,
        tuple(at for at, (id_, _) in enumerate(heads) if id_ is None),
    )


def _see_no_error(told: bytes) -> None:
    """Raises MalformedPage if a response has an error: the records beside the error, often an empty
    list, are then no answer.
    """
    try:
        error = msgspec.json.decode(told)
    except UNREADABLE:
        error = told
    if error not in _NO_ERROR:
        raise MalformedPage(f"it tells of an `{_ERROR}`")


def _total(value: float | str) -> int:
    try:
        total = int(value)
    except (ValueError, OverflowError) as error:
        raise MalformedPage(f"its `{_TOTAL}` is not a number") from error
    if isinstance(value, float) and total != value:
        raise MalformedPage(f"its `{_TOTAL}` is no whole number")
    if total < 0:
        raise MalformedPage(f"its `{_TOTAL}` is negative")
    return total


def _text_or_none(token: msgspec.Raw | bytes | None) -> str | None:
    try:
        return text_of(bytes(token)) or None if token else None
    except UNREADABLE:
        return None


# The slow reading: finds where each value begins and ends by quotes and brackets alone. It decodes
# no values, so no encoding fault, number or depth of nesting can stop it.

#: A string without an end is matched to the end of the text, where no bracket follows: before
#: 3.11.5, Python keeps what a possessive group matched before it failed.
_TO_BRACKET: Final = re.compile(
    rb'(?:[^"\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+"?)*+[\[\]{}]', re.DOTALL
)
_SCALAR: Final = re.compile(_STRING + rb'|[^\s"\[\]{},:]+', re.DOTALL)
_SPACE: Final = re.compile(rb"[ \t\r\n]*")
_CLOSES: Final = {b"{": b"}", b"[": b"]"}


def _records_one_by_one(body: bytes) -> tuple[list[bytes], int]:
    try:
        members = _members_one_by_one(body.removeprefix(BOM_UTF8))
        _see_no_error(members.get(_ERROR, b"null"))
        if _TOTAL not in members:
            raise MalformedPage(f"it has no `{_TOTAL}`")
        total = msgspec.json.decode(members[_TOTAL])
        if RECORDS not in members and total not in (0, "0"):
            raise MalformedPage(f"it has no `{RECORDS}`")
        data = members.get(RECORDS, b"null")  # some servers omit an empty list
        records = [] if data == b"null" else [data[slice(*span)] for span in _spans(data, b"[")]
    except MalformedPage:
        raise
    except ValueError as error:
        web = "a web page, and " if body.lstrip().startswith(b"<") else ""
        raise MalformedPage(f"it is {web}not the documented JSON object") from error
    if type(total) not in (int, float, str):
        raise MalformedPage(f"its `{_TOTAL}` is not a number")
    return records, _total(total)


def _members_one_by_one(text: bytes) -> dict[str, bytes]:
    """The members of an object. Raises ValueError for anything else."""
    spans = list(_spans(text, b"{"))
    names, values = spans[::2], spans[1::2]
    return {
        _name(text[slice(*name)]): text[slice(*value)]
        for name, value in zip(names, values, strict=True)
    }


def _name(token: bytes) -> str:
    try:
        return str(msgspec.json.decode(token))
    except ValueError:
        return token.decode("latin-1")


def _spans(text: bytes, opening: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of each element of an array, or of each name and each value of an object."""
    at = _skip(text, 0)
    if text[at : at + 1] != opening:
        raise ValueError("of another kind")
    closing, separators = _CLOSES[opening], b",:" if opening == b"{" else b",,"
    at = _skip(text, at + 1)
    number = 0
    while text[at : at + 1] != closing or number % 2 * (opening == b"{"):
        if number:
            separator = separators[number % 2 : number % 2 + 1]
            if text[at : at + 1] != separator:
                raise ValueError(f"no {separator!r} at {at}")
            at = _skip(text, at + 1)
        end = _end(text, at)
        yield at, end
        number += 1
        at = _skip(text, end)
    if _skip(text, at + 1) != len(text):
        raise ValueError(f"something stands behind it, at {at + 1}")


def _end(text: bytes, at: int) -> int:
    """Where the value that begins at `at` ends."""
    if text[at : at + 1] not in _CLOSES:
        scalar = _SCALAR.match(text, at)
        if not scalar:
            raise ValueError(f"no value at {at}")
        return scalar.end()
    open_: list[bytes] = []
    end = at
    while mark := _TO_BRACKET.match(text, end):
        end = mark.end()
        bracket = text[end - 1 : end]
        if bracket in _CLOSES:
            open_.append(_CLOSES[bracket])
        elif bracket != open_.pop():
            break
        if not open_:
            return end
    raise ValueError(f"no end of the value at {at}")


def _skip(text: bytes, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at
