"""One response of the vendor, taken apart into records, each by itself.

A page is taken apart at once by msgspec. Where it refuses (a lone surrogate, a control character,
a record of another shape), the slow reading stands in: it loses no record that another record's
fault sits beside. What a record *means* is not decided here.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from cdr_pipeline.record import SENTINEL_TIME, TIME_FORM

RECORD_KEY: Final = "data"
_TIME_FORM: Final = re.compile(TIME_FORM).match


class MalformedPage(ValueError):
    """The body is not the documented response: cut off, HTML, or of another shape."""


class Head(msgspec.Struct, gc=False):
    """What the listing needs of a record: its key and when it began."""

    id: str
    time_started: str


class _Headed(msgspec.Struct):
    data: list[Head] | None
    total: int | str


class _Split(msgspec.Struct):
    data: list[msgspec.Raw] | None
    total: int | str


_headed = msgspec.json.Decoder(_Headed)
_split = msgspec.json.Decoder(_Split)
_any_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True)
class Seen:
    """The records of one page as the listing sees them, in the vendor's order.

    keys: one key a record: equal keys, same call. That of a record without a usable id stands
        for its bytes, and its position is among `nameless`: equal ones are calls of their own.
    began: the vendor's wall clock when each began; None where that cannot be read.
    """

    keys: list[int]
    began: list[datetime | None]
    total: int
    nameless: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.keys)


def split(body: bytes) -> list[bytes]:
    """The records of a page as the texts the vendor sent. Raises MalformedPage."""
    return _records(body)[0]


def split_and_total(body: bytes) -> tuple[list[bytes], int]:
    """The records of a page and the vendor's total. Raises MalformedPage."""
    return _records(body)


def see(body: bytes) -> Seen:
    """Key and beginning of every record of a page. Raises MalformedPage."""
    try:
        page = _headed.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _see_each(body)
    heads = page.data or []
    if any(not head.id for head in heads):
        return _see_each(body)
    return Seen(
        [hash(head.id) for head in heads],
        [began(head.time_started) for head in heads],
        _total(page.total),
    )


def identity(text: bytes) -> tuple[str | None, str | None]:
    """`id` and `time_started` of a record as text, as far as they can be read at all."""
    members: Mapping[str, msgspec.Raw | bytes]
    try:
        members = _any_object.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        members = _members_one_by_one(text)
    return _plain_text(members.get("id")), _plain_text(members.get("time_started"))


def began(text: str | None) -> datetime | None:
    """The wall clock at which a record began, or None where that cannot be read."""
    if not text or not _TIME_FORM(text) or SENTINEL_TIME.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _see_each(body: bytes) -> Seen:
    records, total = _records(body)
    heads = [identity(text) for text in records]
    return Seen(
        [hash(id_ or text) for text, (id_, _) in zip(records, heads, strict=True)],
        [began(started) for _, started in heads],
        total,
        tuple(at for at, (id_, _) in enumerate(heads) if id_ is None),
    )


def _records(body: bytes) -> tuple[list[bytes], int]:
    try:
        page = _split.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _records_one_by_one(body)
    return [bytes(raw) for raw in page.data or []], _total(page.total)


def _total(value: int | str) -> int:
    try:
        total = int(value)
    except ValueError as error:
        raise MalformedPage("its `total` is not a number") from error
    if total < 0:
        raise MalformedPage("its `total` is negative")
    return total


def _plain_text(raw: msgspec.Raw | bytes | None) -> str | None:
    """A text or number member as text; None for "", null and anything else."""
    try:
        value = msgspec.json.decode(raw) if raw else None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if isinstance(value, str):
        return value or None
    return bytes(raw).decode() if raw and type(value) in (int, float) else None


# The slow reading: the standard library's scanner over the bytes as Latin-1, so that one byte is
# one character, positions are positions, and no encoding fault can stop it.

_scanner: Final = json.JSONDecoder(strict=False)
_SPACE: Final = " \t\r\n"


def _records_one_by_one(body: bytes) -> tuple[list[bytes], int]:
    text = body.decode("latin-1")
    try:
        members = {name: (start, end) for name, start, end in _members(text, _skip(text, 0))}
        missing = {RECORD_KEY, "total"} - members.keys()
        if missing:
            raise MalformedPage(f"it has no `{missing.pop()}`")
        total = json.loads(text[slice(*members["total"])])
        start, _ = members[RECORD_KEY]
        if text.startswith("null", start):
            records = []
        else:
            records = [body[first:last] for first, last in _elements(text, start)]
    except MalformedPage:
        raise
    except (ValueError, IndexError, TypeError, RecursionError) as error:
        raise MalformedPage("it is not the documented JSON object") from error
    if type(total) not in (int, str):
        raise MalformedPage(f"its `total` is {json.dumps(total)[:20]}, not a number")
    return records, _total(total)


def _members_one_by_one(text: bytes) -> dict[str, bytes]:
    latin = text.decode("latin-1")
    try:
        spans = list(_members(latin, _skip(latin, 0)))
    except (ValueError, IndexError, RecursionError):
        return {}
    return {name: text[start:end] for name, start, end in spans}


def _members(text: str, at: int) -> Iterator[tuple[str, int, int]]:
    """Name, start and end of each member's value of the object at `at`."""
    at = _expect(text, at, "{")
    while text[at] != "}":
        name, at = _value(text, at)
        at = _expect(text, _skip(text, at), ":")
        _, end = _value(text, at)
        yield name, at, end
        at = _next(text, end, "}")


def _elements(text: str, at: int) -> Iterator[tuple[int, int]]:
    """Start and end of each element of the array at `at`."""
    at = _expect(text, at, "[")
    while text[at] != "]":
        _, end = _value(text, at)
        yield at, end
        at = _next(text, end, "]")


def _value(text: str, at: int) -> tuple[Any, int]:
    value, end = _scanner.raw_decode(text, at)
    return value, end


def _next(text: str, at: int, close: str) -> int:
    at = _skip(text, at)
    return at if text[at] == close else _expect(text, at, ",")


def _expect(text: str, at: int, char: str) -> int:
    if text[at] != char:
        raise ValueError(f"expected {char} at {at}")
    return _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    while text[at] in _SPACE:
        at += 1
    return at
