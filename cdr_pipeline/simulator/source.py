"""The calls that a vendor holds, and the sources they come from.

`tenant` generates calls, `server` searches them, `messy` and `chaos` spoil them.
"""

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

#: One record: the documented fields by name, values as JSON decodes them.
Record = dict[str, Any]

#: A record for `Fixed`: a mapping that is rendered as JSON, or the bytes to serve; or a pair of a
#: start time and one of these.
Given = Mapping[str, Any] | bytes | tuple[str, Mapping[str, Any] | bytes]

_as_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_started = attrgetter("started")


def render(record: Mapping[str, Any]) -> bytes:
    """The record's JSON as this vendor writes it: compact, Vietnamese letters in UTF-8.

    Half a surrogate pair has no UTF-8, so it is written as a JSON escape.
    """
    return _as_json(record).encode(errors="backslashreplace")


class Call(NamedTuple):
    """One call: its start, the fields that queries filter by, and the JSON text that is served.

    A client sees the text only. The vendor searches by the other fields, so a record whose text is
    spoiled is still listed in its place.
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
        """The call of a record. text: served in place of the rendered record. started: used in
        place of the record's `time_started`.
        """
        names = ("time_started", "id", "time_ended", *cls._fields[3:-1])
        began, *others = (str(record.get(name) or "") for name in names)
        written = render(record) if text is None else text
        return cls._make((started or began, *others, written))


class Source(Protocol):
    """Where a vendor's calls come from."""

    def between(self, start: datetime | None, end: datetime | None) -> Sequence[Call]:
        """The calls that began from `start` to `end`, both included, oldest first; None: open."""


def whole_day(day: date) -> tuple[datetime, datetime]:
    """The first and the last second of a day."""
    return datetime.combine(day, time()), datetime.combine(day, time(23, 59, 59))


def cut(calls: Sequence[Call], start: datetime | None, end: datetime | None) -> Sequence[Call]:
    """Of `calls`, sorted by start: those that began from `start` to `end`, both included; None:
    open.
    """
    first = bisect_left(calls, str(start), key=_started) if start else 0
    past = bisect_right(calls, str(end), key=_started) if end else len(calls)
    return calls[first:past]


class Fixed:
    """The calls of given records.

    A call is listed at the `time_started` of its record. A record without a valid start, or that
    shall be listed at another time, is given in a pair: `("2023-03-07 10:00:00", b"null")`. Raises
    ValueError if there is no valid start.
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
    """The JSON object in the text of a record; None if there is none."""
    try:
        record = json.loads(text.decode(errors="replace"))
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
