"""The faults that a vendor may have: each has a name and settings, and they can be combined.

A fault may change the calls that the vendor holds (`holds`), how they are listed (`lists`) or how
answers arrive (`answers`). Only `holds` changes `Vendor.truth`, with which a client's result is
compared. Ways to spoil a record are in `messy`.
"""

import inspect
from bisect import insort
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import lru_cache, partial
from random import Random
from typing import Any, Final
from uuid import UUID

from cdr_pipeline.simulator.exchange import (
    AS_JSON,
    SIGN_IN,
    Asked,
    Handler,
    Listing,
    Page,
    Query,
    Refusal,
    Reply,
)
from cdr_pipeline.simulator.messy import spoil
from cdr_pipeline.simulator.source import Call, Source, cut, read, render


@dataclass
class Fault:
    """One fault. Its fields are its settings, written `name=first:second`. The first line of its
    docstring is shown to users; the rest says what a client should do.

    rate: the probability that the fault occurs; no setting of a fault that always occurs.
    """

    rate = 1.0
    random: Random = field(default_factory=Random, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ValueError("a rate lies between 0 and 1")

    def holds(self, source: Source) -> Source:
        """The calls of a vendor with this fault, made from those of `source`."""
        return source

    def lists(self, listing: Listing) -> Listing:
        """`listing` with this fault."""
        return listing

    def answers(self, handler: Handler) -> Handler:
        """`handler` with this fault."""
        return handler

    def strikes(self) -> bool:
        """Whether the fault occurs this time: a new random draw at each call."""
        return self.random.random() < self.rate


# ---- which calls the vendor holds


@dataclass
class Drift(Fault):
    """A call arrives, is edited or vanishes at each of so many requests.

    Meanwhile rows shift from page to page. A client may accept a day only when it stops changing.
    """

    listings: int = 40
    _arrived: list[Call] = field(default_factory=list, init=False, repr=False)
    _edited: dict[str, Call] = field(default_factory=dict, init=False, repr=False)
    _gone: set[str] = field(default_factory=set, init=False, repr=False)

    def holds(self, source: Source) -> Source:
        self._source = source
        return self

    def between(self, start: datetime | None, end: datetime | None) -> Sequence[Call]:
        calls = [*self._source.between(start, end), *cut(self._arrived, start, end)]
        calls.sort(key=lambda call: call.started)
        return [self._edited.get(call.id, call) for call in calls if call.id not in self._gone]

    def lists(self, listing: Listing) -> Listing:
        def drifting(query: Query) -> Page:
            if self.listings:
                self.listings -= 1
                with suppress(ValueError):  # 1e400 is read as infinity, which JSON cannot hold
                    self._change(self.between(query.start, query.end))
            return listing(query)

        return drifting

    def _change(self, calls: Sequence[Call]) -> None:
        """One call arrives (half of the times, mostly as the newest), is edited or vanishes."""
        if not calls:
            return
        kind = self.random.choice(("arrive", "arrive", "edit", "vanish"))
        newest = kind == "arrive" and self.random.random() < 0.7
        call = calls[-1] if newest else self.random.choice(calls)
        record = read(call.text)
        if record is None or not call.id:
            return
        if kind == "vanish":
            self._gone.add(call.id)
        elif kind == "edit":
            record["note"] = f"Khách hẹn gọi lại lần {self.random.getrandbits(16)}"
            self._edited[call.id] = call._replace(text=render(record))
        else:
            record["id"] = record["parent_id"] = str(UUID(int=self.random.getrandbits(128)))
            insort(self._arrived, Call.of(record, started=call.started))


@dataclass
class Messy(Fault):
    """Records are spoiled in all known ways, from numbers as text to values that are no records.

    A record is always spoiled in the same way. Keep every value that can be kept; reject single
    records, never the page or the day.
    """

    rate: float = 0.3

    def holds(self, source: Source) -> Source:
        self._source = source
        self._spoil = lru_cache(100_000)(partial(spoil, self.random.getrandbits(32), self.rate))
        return self

    def between(self, start: datetime | None, end: datetime | None) -> Sequence[Call]:
        return list(map(self._spoil, self._source.between(start, end)))


# ---- how the vendor lists them


@dataclass
class Unstable(Fault):
    """Each request lists the calls in another order, so pages overlap and have gaps.

    Only a count of distinct records, compared with the total, shows what is missing.
    """

    def lists(self, listing: Listing) -> Listing:
        return lambda query: listing(replace(query, unstable=True))


@dataclass
class Repeat(Fault):
    """The offset is ignored: every page is the first page.

    No paging helps: ask for shorter ranges of time, or fail with a clear message.
    """

    def lists(self, listing: Listing) -> Listing:
        return lambda query: listing(replace(query, offset=0))


@dataclass
class Ceiling(Fault):
    """The total stops at a number; offsets from there on get a 400, a 500 or an `empty` page.

    A search engine behind the vendor may do this (API.md). Ask for shorter ranges of time.
    """

    total: int = 10_000
    beyond: str = "400"

    def __post_init__(self) -> None:
        if self.beyond not in ("400", "500", "empty"):
            raise ValueError("beyond it there is 400, 500 or empty")

    def lists(self, listing: Listing) -> Listing:
        def limited(query: Query) -> Page:
            room = max(self.total - max(query.offset, 0), 0)
            if not room and self.beyond != "empty":
                raise Refusal(int(self.beyond), f"result window is too large: {self.total}")
            page = listing(replace(query, limit=min(query.limit, room)))
            return Page(page.records, min(page.total, self.total))

        return limited


@dataclass
class LyingTotal(Fault):
    """The total is wrong by a number, always or at a rate.

    If only some totals are wrong, read again; if all are, no day can be proved: fail.
    """

    off: int = 3
    rate: float = 1.0

    def lists(self, listing: Listing) -> Listing:
        def lying(query: Query) -> Page:
            page = listing(query)
            return page._replace(total=max(page.total + self.off * self.strikes(), 0))

        return lying


@dataclass
class Short(Fault):
    """Some pages have fewer rows than requested, although more rows follow.

    A short page is not the last one: go on until `total` records have come.
    """

    rate: float = 0.2

    def lists(self, listing: Listing) -> Listing:
        def shortened(query: Query) -> Page:
            if query.limit > 1 and self.strikes():
                query = replace(query, limit=self.random.randrange(1, query.limit))
            return listing(query)

        return shortened


@dataclass
class Overfull(Fault):
    """Pages have more rows than requested.

    Take all of them, and continue after the last one.
    """

    extra: int = 3

    def lists(self, listing: Listing) -> Listing:
        def generous(query: Query) -> Page:
            extra = self.extra if query.limit > 0 else 0
            return listing(replace(query, limit=query.limit + extra))

        return generous


@dataclass
class Cap(Fault):
    """The limit is silently reduced to a maximum.

    Advance the offset by the rows received, never by the rows asked for.
    """

    limit: int = 100

    def lists(self, listing: Listing) -> Listing:
        return lambda query: listing(replace(query, limit=min(query.limit, self.limit)))


@dataclass
class MaxRange(Fault):
    """Ranges of more than so many hours, or without an end, are refused with 400.

    Ask for shorter ranges. With 24 hours, a day and a second more on either side is too long.
    """

    hours: float = 24

    def lists(self, listing: Listing) -> Listing:
        def strict(query: Query) -> Page:
            if query.length is None or query.length > timedelta(hours=self.hours):
                raise Refusal.of("end_date", f"range must be at most {self.hours:g} hours")
            return listing(query)

        return strict


# ---- how its answers arrive


@dataclass
class ExpiringToken(Fault):
    """A token from a sign-in works for so many requests, then the answer is 401.

    Sign in again, once. This does not apply to a ready token (CDR_API_TOKEN).
    """

    requests: int = 20
    _left: dict[str, int] = field(default_factory=dict, init=False, repr=False)

    def answers(self, handler: Handler) -> Handler:
        def forgetful(asked: Asked) -> Reply:
            if self._left.get(asked.token) == 0:
                return Reply.json(401, {"error": "token is invalid or expired"})
            if asked.token in self._left:
                self._left[asked.token] -= 1
            reply = handler(asked)
            if asked.path == SIGN_IN and reply.status == 200:
                self._left[str((read(reply.body) or {})["token"])] = self.requests
            return reply

        return forgetful


@dataclass
class Slow(Fault):
    """Some answers come so many seconds late.

    Wait up to the timeout, with other requests in flight meanwhile.
    """

    rate: float = 0.2
    seconds: float = 0.2

    def answers(self, handler: Handler) -> Handler:
        def late(asked: Asked) -> Reply:
            reply = handler(asked)
            return replace(reply, delay=self.seconds) if self.strikes() else reply

        return late


@dataclass
class Truncated(Fault):
    """A body ends in the middle; the connection drops, or the headers fit the shorter body.

    Ask again: the part that arrived is not JSON.
    """

    rate: float = 0.2

    def answers(self, handler: Handler) -> Handler:
        def cutting(asked: Asked) -> Reply:
            reply = handler(asked)
            if reply.status != 200 or not self.strikes():
                return reply
            middle = self.random.randrange(1, len(reply.body))
            if self.random.random() < 0.5:
                return replace(reply, body=reply.body[:middle])
            return replace(reply, cut=middle)

        return cutting


@dataclass
class Html(Fault):
    """A proxy answers: an HTML page with 200 or 502, or an empty body with 200.

    Ask again: a 200 may still not come from the vendor.
    """

    rate: float = 0.2

    def answers(self, handler: Handler) -> Handler:
        page = b"<!DOCTYPE html>\n<html><body><h1>Just a moment...</h1></body></html>\n"
        as_html = {"content-type": "text/html; charset=utf-8"}
        pages = (Reply(200, page, as_html), Reply(502, page, as_html), Reply(200, b"", AS_JSON))
        return lambda asked: self.random.choice(pages) if self.strikes() else handler(asked)


@dataclass
class Throttle(Fault):
    """Too many requests: 429, with Retry-After in seconds or as a date.

    Send no request for so long, on any connection.
    """

    rate: float = 0.2
    seconds: int = 1

    def answers(self, handler: Handler) -> Handler:
        def throttling(asked: Asked) -> Reply:
            if not self.strikes():
                return handler(asked)
            after = str(self.seconds)
            if self.random.random() < 0.5:
                until = datetime.now(UTC) + timedelta(seconds=self.seconds)
                after = format_datetime(until, usegmt=True)
            reply = Reply.json(429, {"error": "too many requests"})
            return replace(reply, headers={**reply.headers, "retry-after": after})

        return throttling


@dataclass
class Flaky(Fault):
    """Some requests fail with 500, 502, 503 or 504, or the connection drops.

    Ask again after a short wait.
    """

    rate: float = 0.2

    def answers(self, handler: Handler) -> Handler:
        dropped = Reply(0, b"", cut=0)
        errors = [Reply.json(status, {"error": "try again"}) for status in (500, 502, 503, 504)]
        return lambda asked: (
            self.random.choice([dropped, *errors]) if self.strikes() else handler(asked)
        )


#: Name -> fault, from those nearest to the data to those nearest to the client.
FAULTS: Final[dict[str, type[Fault]]] = {
    "drift": Drift,
    "messy": Messy,
    "unstable": Unstable,
    "repeat": Repeat,
    "ceiling": Ceiling,
    "lying-total": LyingTotal,
    "short": Short,
    "overfull": Overfull,
    "cap": Cap,
    "max-range": MaxRange,
    "expiring-token": ExpiringToken,
    "slow": Slow,
    "truncated": Truncated,
    "html": Html,
    "throttle": Throttle,
    "flaky": Flaky,
}


class Chaos:
    """Combined faults, applied in the order of `FAULTS`, in whatever order they are given. Without
    faults the vendor is honest.
    """

    def __init__(self, faults: Sequence[Fault] = ()) -> None:
        order = list(FAULTS.values())
        self.faults = sorted(faults, key=lambda fault: order.index(type(fault)))

    @classmethod
    def parse(cls, text: str, seed: int = 0) -> "Chaos":
        """Chaos from text such as `drift,flaky=0.25,slow=0.1:0.5`; "" means no fault.

        Each fault has its own random numbers, made from the seed, so to add a fault does not change
        the others. Raises ValueError if a fault or a setting is wrong.
        """
        return cls([_parse(word.strip(), seed) for word in text.split(",") if word.strip()])

    @staticmethod
    def names() -> dict[str, str]:
        """Name -> what the fault does, its settings and their defaults, in one line."""
        return {name: _explained(name, fault) for name, fault in FAULTS.items()}

    def holds(self, source: Source) -> Source:
        """The calls of a vendor with all these faults, made from those of `source`."""
        for fault in self.faults:
            source = fault.holds(source)
        return source

    def lists(self, listing: Listing) -> Listing:
        """`listing` with all these faults."""
        for fault in self.faults:
            listing = fault.lists(listing)
        return listing

    def answers(self, handler: Handler) -> Handler:
        """`handler` with all these faults."""
        for fault in self.faults:
            handler = fault.answers(handler)
        return handler


def _parse(word: str, seed: int) -> Fault:
    name, _, settings = word.partition("=")
    if name not in FAULTS:
        known = "\n".join(f"  {name}: {what}" for name, what in Chaos.names().items())
        raise ValueError(f"no fault is called {name!r}; these are:\n{known}")
    defaults = _settings(FAULTS[name]).values()
    texts = settings.split(":") if settings else []
    try:
        if len(texts) > len(defaults):
            raise ValueError("too many settings")
        values = (type(default)(text) for default, text in zip(defaults, texts, strict=False))
        fault = FAULTS[name](*values)
    except ValueError as error:
        raise ValueError(f"{word}: {error}; {name} is: {Chaos.names()[name]}") from None
    fault.random = Random(f"{seed}/{name}")
    return fault


def _explained(name: str, fault: type[Fault]) -> str:
    summary = (inspect.getdoc(fault) or "").partition("\n")[0]
    if not (settings := _settings(fault)):
        return summary
    defaults = ":".join(map(str, settings.values()))
    return f"{summary} ({name}={':'.join(settings)}; default {defaults})"


def _settings(fault: type[Fault]) -> dict[str, Any]:
    """The settings of a fault: name -> default."""
    return {setting.name: setting.default for setting in fields(fault) if setting.init}
