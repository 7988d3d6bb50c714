"""The messages between a client and the vendor: request, query, page, reply.

The parameters of the documented interface and their meaning are here. The vendor's calls are in
`source`, its answers in `server`, its faults in `chaos`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

LISTING: Final = "/v3/cdr"
SIGN_IN: Final = "/v3/auth/token"

#: Whether a range of times includes its first and its last second; half-open: only the first.
Bounds = Literal["inclusive", "exclusive", "half-open"]

#: In which order calls are listed. Shuffled: not by time, but in the same order each time.
Order = Literal["newest", "oldest", "shuffled"]

LONGEST_RANGE: Final = timedelta(days=62)
_ONE_SECOND = timedelta(seconds=1)
_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Asked:
    """The parts of a request that the vendor reads."""

    method: str
    path: str
    params: Mapping[str, str]
    token: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the vendor, before it is sent.

    status: 0 for no answer at all. delay: seconds to wait before the reply is sent. cut: how many
    bytes of the body are sent before the connection drops; None: all, and it does not drop.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: int | None = None

    @classmethod
    def json(cls, status: int, content: object) -> "Reply":
        """A reply with this content as JSON."""
        return cls(status, json.dumps(content, ensure_ascii=False).encode(), dict(AS_JSON))


AS_JSON: Final = {"content-type": "application/json; charset=utf-8"}


class Refusal(Exception):
    """A request that is answered with an error, in the form that API.md documents."""

    def __init__(self, status: int, error: str | list[dict[str, str]]) -> None:
        super().__init__(error)
        self.reply = Reply.json(status, {"error": error})

    @classmethod
    def of(cls, name: str, fault: str) -> "Refusal":
        """A 400 that names the faulty parameter or field of the request."""
        return cls(400, [{name: fault}])


@dataclass(frozen=True, slots=True)
class Query:
    """What a request asks the listing for, as this vendor understands it.

    start, end: the first and the last second in which a call may begin, both included; None: open.
    length: from the start to the end that the client wrote, whatever the bounds; None: open.
    ended: the first and the last second in which a call may end, both included.
    params: the parameters as the client sent them; the other filters are among them.
    limit, offset: -1 if the client sent none; the vendor echoes this -1.
    unstable: list the calls in a new random order.
    """

    start: datetime | None
    end: datetime | None
    length: timedelta | None
    ended: tuple[str, str] | None
    params: Mapping[str, str]
    limit: int
    offset: int
    unstable: bool = False

    @classmethod
    def read(cls, params: Mapping[str, str], bounds: Bounds) -> "Query":
        """The query in a request's parameters; undocumented parameters are ignored. Raises Refusal
        if a value cannot be read, or if the range is longer than LONGEST_RANGE.
        """
        length = _length(params, "start_date", "end_date")
        if length is None:
            length = _length(params, "start_date_ended", "end_date_ended")
        start, end = _range(params, "start_date", "end_date", bounds)
        ended_start, ended_end = _range(params, "start_date_ended", "end_date_ended", bounds)
        ended = None
        if ended_start or ended_end:
            ended = str(ended_start or datetime.min), str(ended_end or datetime.max)
            # No call lasts a day, so there is no need to search calls that began earlier.
            start = start or (ended_start and ended_start - _ONE_DAY)
            end = end or ended_end
        if start and end and end - start > LONGEST_RANGE:
            raise Refusal.of("start_date", f"range is longer than {LONGEST_RANGE.days} days")
        return cls(
            start,
            end,
            length,
            ended,
            params,
            _number(params, "limit"),
            _number(params, "offset"),
        )


class Page(NamedTuple):
    """The JSON texts of the records listed for a query, and how many calls match the query."""

    records: Sequence[bytes]
    total: int


#: Answers a query with a page, or raises a `Refusal`.
Listing = Callable[[Query], Page]

#: Answers a request.
Handler = Callable[[Asked], Reply]


def _range(
    params: Mapping[str, str], first: str, last: str, bounds: Bounds
) -> tuple[datetime | None, datetime | None]:
    """The first and the last second of a range, both included; None for an open side.

    A date without a time means the whole day, whatever the bounds: these apply to times only.
    """
    start, end = _moment(params, first), _moment(params, last)
    if start and bounds == "exclusive" and not _is_day(params[first]):
        start += _ONE_SECOND
    if end and _is_day(params[last]):
        end += _ONE_DAY - _ONE_SECOND
    elif end and bounds != "inclusive":
        end -= _ONE_SECOND
    return start, end


def _length(params: Mapping[str, str], first: str, last: str) -> timedelta | None:
    start, end = _moment(params, first), _moment(params, last)
    if not start or not end:
        return None
    return end - start + (_ONE_DAY if _is_day(params[last]) else timedelta())


def _moment(params: Mapping[str, str], name: str) -> datetime | None:
    if not (text := params.get(name)):
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d" if _is_day(text) else "%Y-%m-%d %H:%M:%S")
    except ValueError:
        raise Refusal.of(name, "must be YYYY-MM-DD or YYYY-MM-DD HH:MM:SS") from None


def _is_day(text: str) -> bool:
    return len(text) <= len("YYYY-MM-DD")


def _number(params: Mapping[str, str], name: str) -> int:
    try:
        number = int(params.get(name) or -1)
    except ValueError:
        number = -2
    if number < -1:
        raise Refusal.of(name, "must be a number from 0")
    return number
