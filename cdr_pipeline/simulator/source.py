"""What a vendor holds: calls as the endpoint needs them, and the places they come from.

How a call is made up belongs to `tenant`, how it is asked for to `server`, how it is spoiled to
`messy` and `chaos`.
"""

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

#: One record, as JSON has it.
Record = dict[str, Any]

#: A record as somebody wrote it down: to be rendered, or as the very bytes to serve; in a pair with
#: its time where it does not say when it began.
Given = Mapping[str, Any] | bytes | tuple[str, Mapping[str, Any] | bytes]

_as_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_started = attrgetter("started")


def render(record: Mapping[str, Any]) -> bytes:
    """The record's JSON as this vendor writes it: compact, and UTF-8 rather than escapes.

    Half a surrogate pair has no UTF-8, and the escape that stands in for it is JSON's own.
    """
    return _as_json(record).encode(errors="backslashreplace")


class Call(NamedTuple):
    """One call: when it began, what it can be found by, and the text that is served for it.

    The text is all a client ever sees. The other fields are the vendor's own knowledge, so that a
    record whose text is spoiled is still listed where it belongs.
    """

    started: str
    id: str
    ended: str
    extension: str
    status: str
    direction: str
    from_number: str
    to_number: str
    campaign_uuid: str
    text: bytes

    @classmethod
    def of(cls, record: Mapping[str, Any], text: bytes | None = None, started: str = "") -> "Call":
        """The call that a record tells of; text and start may be given where it does not tell."""
        names = ("time_started", "id", "time_ended", *cls._fields[3:-1])
        began, *others = (str(record.get(name) or "") for name in names)
        written = render(record) if text is None else text
        return cls._make((started or began, *others, written))


class Source(Protocol):
    """Where a vendor's calls come from."""

    def between(self, start: datetime | None, end: datetime | None) -> Sequence[Call]:
        """The calls begun from `start` to `end`, both included, oldest first; None: open."""


def whole_day(day: date) -> tuple[datetime, datetime]:
    """The first and the last second of a day."""
    return datetime.combine(day, time()), datetime.combine(day, time(23, 59, 59))


def cut(calls: Sequence[Call], start: datetime | None, end: datetime | None) -> Sequence[Call]:
    """The part of the calls, which are sorted, that began from `start` to `end`."""
    first = bisect_left(calls, str(start), key=_started) if start else 0
    past = bisect_right(calls, str(end), key=_started) if end else len(calls)
    return calls[first:past]


class Fixed:
    """The calls that somebody wrote down.

    A record stands where its `time_started` says. One that doesn't say, or shall stand elsewhere,
    is given as a pair of its time and itself: `("2023-03-07 10:00:00", b"null")`.
    """

    def __init__(self, records: Iterable[Given]) -> None:
        self._calls = sorted(map(_placed, records), key=_started)

    def between(self, start: datetime | None, end: datetime | None) -> Sequence[Call]:
        return cut(self._calls, start, end)


def _placed(given: Given) -> Call:
    started, record = given if isinstance(given, tuple) else ("", given)
    text = record if isinstance(record, bytes) else render(record)
    call = Call.of(read(text) or {}, text, started)
    try:
        datetime.strptime(call.started, "%Y-%m-%d %H:%M:%S")
    except ValueError:
        raise ValueError(f"say when this call began, as (time, record): {text[:200]!r}") from None
    return call


def read(text: bytes) -> Record | None:
    """The object in a record's text; None when it holds none."""
    try:
        record = json.loads(text.decode(errors="replace"))
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
