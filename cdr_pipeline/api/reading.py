"""One reading of one window: requests page after page until as many records as the vendor's `total`
were received, or raises a doubt (Unsettled, TooMuch).

Knows how vendors page: `limit` may be capped or exceeded, pages may come short or empty, deep
offsets and long ranges may be refused, offsets may be ignored. `listing` decides whether a reading
proves anything, and what to do about a doubt.
"""

import math
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Self

from cdr_pipeline.api.client import Client, Query
from cdr_pipeline.api.records import Records
from cdr_pipeline.errors import ApiError, NotProved, Refused, Unavailable
from cdr_pipeline.page import Seen, see, split_and_total
from cdr_pipeline.window import Window

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)

#: Where a search engine stands behind the vendor, `total` stops at this number (API.md).
_USUAL_CEILING: Final = 10_000

#: A proof may take this many times the requests of a listing without faults.
COST_BOUND = 5

#: If a range of this length or less is refused, its length is not the reason.
_SHORTEST_RANGE: Final = MINUTE

#: Tries for any page but the first: a 500 there may mean that the offset is too deep.
_DEEP_ATTEMPTS: Final = 5

#: If a reading lacks more records than this, the same reading is not tried again.
_FEW_MISSING: Final = 3

#: The pass number of a response that was requested only for its `total` and is part of no reading.
PROBE = 0


@dataclass(frozen=True)
class Page:
    """One response of the vendor, byte for byte, and what was asked for."""

    pass_: int
    offset: int
    limit: int
    window: Window
    fetched_at: datetime
    body: bytes


class Unsettled(Exception):
    """A reading that proves nothing: calls changed, or rows are missing. Another reading may."""


class Moved(Unsettled):
    """The total changed: the vendor's calls changed while they were read."""


class Torn(Unsettled):
    """The next reading would fail too. More rows are missing than changed calls explain: the pages
    do not fit together, for example if rows of one second come in another order each time. Or more
    rows are listed behind the last page.
    """


class TooMuch(Exception):
    """The window holds more than the vendor serves at once; a part of it may hold less.

    `total`: how many calls the window holds, according to the vendor; 0 if the vendor did not say.
    """

    def __init__(self, reason: str, total: int = 0) -> None:
        super().__init__(reason)
        self.total = total


@dataclass(eq=False)
class Reading:
    """The records of one reading."""

    window: Window
    total: int
    records: Records = field(default_factory=Records)
    pages: int = 0
    behind: int = 0  # the offset behind the last response, if that held as many rows as one can
    _nameless: dict[int, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))

    @classmethod
    def of(cls, window: Window, seen: Seen, offset: int = 0) -> Self:
        """The records of one response, as a reading."""
        listed = cls(window, seen.total)
        listed.add(seen, offset)
        return listed

    def add(self, seen: Seen, offset: int) -> None:
        """Add the records of one response; `offset` is the offset of the first.

        Equal records without an id are distinguished by their offsets: pages may overlap.
        """
        keys = list(seen.keys)
        for position in seen.nameless:
            equals = self._nameless[keys[position]]
            number = equals.setdefault(offset + position, len(equals))
            keys[position] = hash((keys[position], number))
        self.records.add(keys, seen.started)
        self.pages += 1

    def see_unmoved(self, now: int) -> None:
        """See that the vendor's total is `now` what it was. Raises Moved."""
        if now != self.total:
            raise Moved(f"its total moved from {self.total:,} to {now:,}")

    @property
    def inside(self) -> Records:
        """The records that began in the window; the vendor also lists some from just outside it."""
        return self.records.within(self.window)


@dataclass
class Limits:
    """The limits of this vendor: learned while one day is read, used for the next day."""

    page: int  # the largest `limit` that was not refused
    rows: int = 1  # the most rows that one response held
    cut: int = 0  # the most rows of a response behind which there were more rows
    reach: float = math.inf  # the most calls of one window that paging can receive
    ceiling: float = math.inf  # where totals stop
    span: timedelta = timedelta(days=366)  # the longest window that was not refused
    honest: int = 0  # the largest total that was seen to be no ceiling
    resolution: timedelta | None = None  # how finely times are compared (`ceilings.resolution_of`)
    strays: bool = False  # whether calls from far outside were listed, and none was missing

    def learn_ceiling(self, total: int) -> None:
        """Totals stop at this number: a total that is not below it proves nothing."""
        self.ceiling = min(self.ceiling, total)

    def learn_span(self, length: timedelta) -> None:
        """Ranges of this length are too long: half of it is tried next."""
        self.span = min(self.span, length / 2)

    def learn_reach(self, calls: int) -> None:
        """Paging receives this many calls of a window and no more."""
        self.reach = min(self.reach, calls)


class Tally:
    """What a proof has cost so far, and the bound on its requests. Its threads share it."""

    def __init__(self) -> None:
        self.requests = 0
        self.retries = 0
        self.pages = 0
        self.received = 0
        self.passes = 0
        self._allowed = COST_BOUND
        self._forgiven = 0
        self._lock = threading.Lock()

    def expect(self, requests: int) -> None:
        """Raise the bound: a listing without faults is now known to take so many `requests`."""
        self._allowed = max(self._allowed, COST_BOUND * requests)

    def dearer_than(self, times: int) -> bool:
        """Whether the proof has cost more requests than so many listings without faults."""
        return self.requests * COST_BOUND > self._allowed * times

    def spend(self) -> None:
        """Count one request. Raises NotProved at the bound."""
        with self._lock:
            if self.requests >= self._allowed + self._forgiven:
                raise NotProved(f"{self.requests} requests, the bound, did not settle it")
            self.requests += 1

    def retry(self, times: int) -> None:
        """Count the retries of a request, whether it succeeded or not."""
        with self._lock:
            self.retries += times

    def forgive(self, requests: int = 1) -> None:
        """Allow more requests: those that find out how the vendor behaves, as a refused range."""
        self._forgiven += requests


@dataclass(frozen=True)
class _Response:
    page: Page
    seen: Seen


@dataclass(frozen=True)
class _Chunk:
    """The responses that cover one stretch of offsets, and what ended it early, if anything did:
    an error, or the first offset that was `refused`.
    """

    responses: list[_Response]
    error: Exception | None = None
    refused: int = 0


class Reader:
    """Reads windows for one proof; passes every response to `keep`, in a fixed order."""

    def __init__(
        self,
        client: Client,
        limits: Limits,
        keep: Callable[[Page], None],
        *,
        concurrency: int,
        threads: ThreadPoolExecutor,
    ) -> None:
        self._client = client
        self._concurrency = concurrency
        self._threads = threads
        self.limits = limits
        self._keep = keep
        self.tally = Tally()
        self.readings: list[Reading] = []
        #: The largest total that the vendor reported for each window.
        self.largest: defaultdict[Window, int] = defaultdict(int)

    def read(self, window: Window, most: float = math.inf) -> Reading:
        """Every call of `window`: as many distinct records as a `total` that did not change.

        Raises TooMuch if the window holds more than the vendor serves, or takes several pages and
        holds more than `most` calls (then without a reason, which the caller knows); Unsettled; or
        what `Client.get` raises.
        """
        self.tally.passes += 1
        number = self.tally.passes
        first = self._first(window, number)
        reading = Reading(window, first.seen.total)
        self.readings.append(reading)
        self._take(first, reading)
        self._foresee(first.seen)
        if not len(first.seen) and reading.total:
            raise Unsettled(f"no record came where its total says {reading.total:,}")
        if len(first.seen) < reading.total:  # in a single response nothing can change
            reach = self.limits.reach
            if reading.total > reach:  # paging could not receive all
                told = f"of {reading.total:,} calls pages give {reach:,.0f} at most"
                raise TooMuch(told, reading.total)
            if reading.total > most:
                raise TooMuch("", reading.total)
            self.expect(reading.total)
            with closing(self._in_order(self._chunks(reading, number, len(first.seen)))) as chunks:
                for chunk in chunks:
                    self._take_chunk(chunk, reading, first.seen)
        missing = reading.total - len(reading.records)
        if missing:
            raise (Torn if missing > _FEW_MISSING else Unsettled)(
                f"{len(reading.records):,} distinct records came where its total says"
                f" {reading.total:,}"
            )
        return reading

    def probe(self, window: Window, offset: int = 0, limit: int = 1) -> Seen:
        """One response for `window` that is part of no reading, usually of one row, to see its
        total. `limit` 0: a full page.
        """
        response = self._ask(window, PROBE, offset=offset, limit=limit)
        self._count(response)
        return response.seen

    def find_out(self, window: Window, limit: int) -> Seen | None:
        """As `probe`, to find out how the vendor behaves; None if it refuses the range."""
        self.tally.forgive()
        try:
            return self.probe(window, limit=limit)
        except Refused:
            return None

    def expect(self, records: int, besides: int = 1) -> None:
        """Raise the bound of the tally to a listing of so many records and `besides` requests."""
        self.tally.expect(math.ceil(records / self.limits.rows) + besides)

    def _first(self, window: Window, number: int) -> _Response:
        """The first page. If it is refused, the limit may be too large or the range too long.

        Raises TooMuch for a range that is too long.
        """
        while True:
            try:
                return self._ask(window, number, offset=0)
            except Refused as error:
                if not error.may_be_too_much:
                    raise
                self.tally.forgive()
                if self.limits.page > 1 and self.find_out(window, limit=1) is not None:
                    self.limits.page = max(1, self.limits.page // 2)
                elif window.length > _SHORTEST_RANGE:
                    self.limits.learn_span(window.length)
                    raise TooMuch(f"a range of {window.length} is refused") from error
                else:
                    raise

    def _foresee(self, seen: Seen) -> None:
        """Raises TooMuch for a total at a known ceiling: there may be more calls."""
        if seen.total == _USUAL_CEILING:
            self.limits.learn_ceiling(seen.total)
        if seen.total >= self.limits.ceiling:
            raise TooMuch(f"its total stops at {seen.total:,}")

    def _chunks(self, reading: Reading, number: int, start: int) -> Iterator[Callable[[], _Chunk]]:
        """The offsets from `start` on, as tasks. Each task covers as many rows as the largest
        response so far.
        """
        while start < reading.total:
            stop = min(start + self.limits.rows, reading.total)
            yield partial(self._chunk, reading, number, start, stop)
            start = stop

    def _chunk(self, reading: Reading, number: int, start: int, stop: int) -> _Chunk:
        """The responses for offsets `start` to `stop`; each advances by the rows it received."""
        responses: list[_Response] = []
        at = start
        while at < stop:
            try:
                response = self._ask(reading.window, number, offset=at)
            except (Refused, Unavailable):
                return _Chunk(responses, refused=at)
            except Exception as error:  # noqa: BLE001  raised again where the chunk is taken
                return _Chunk(responses, error)
            responses.append(response)
            if not len(response.seen) or response.seen.total != reading.total:
                break
            at += len(response.seen)
        return _Chunk(responses)

    def _take_chunk(self, chunk: _Chunk, reading: Reading, first: Seen) -> None:
        for response in chunk.responses:
            self._take(response, reading)
        if chunk.refused:
            self.limits.learn_reach(chunk.refused)
            raise TooMuch(f"offset {chunk.refused:,} is refused")
        if chunk.error:
            raise chunk.error
        for response in chunk.responses:
            seen, offset = response.seen, response.page.offset
            reading.see_unmoved(seen.total)
            if not len(seen):
                self.limits.learn_reach(offset)
                raise TooMuch(
                    f"offset {offset:,} came back empty, though its total is {seen.total:,}"
                )
            if _the_same(seen.keys, first.keys):
                self.limits.learn_reach(len(first))
                raise TooMuch(f"offset {offset:,} brought the first page again")

    def _in_order(self, tasks: Iterator[Callable[[], _Chunk]]) -> Generator[_Chunk, None, None]:
        """The results of tasks in their order, from all threads at once.

        Nearly two tasks per thread are under way, so that threads have work while the first page is
        waited for or written: with one task per thread, a day at 20 ms latency took half as long
        again. Tasks are taken one by one, so that later tasks use the limits that earlier ones
        found. If the caller stops early, the responses under way are still waited for and kept.
        """
        under_way: deque[Future[_Chunk]] = deque()
        try:
            for task in tasks:
                under_way.append(self._threads.submit(task))
                if len(under_way) == 2 * self._concurrency - 1:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                if not future.cancel():
                    for response in future.result().responses:
                        self._count(response)

    def _ask(self, window: Window, number: int, *, offset: int, limit: int = 0) -> _Response:
        limit = limit or self.limits.page
        self.tally.spend()
        try:
            answer = self._client.get(
                _query(window),
                limit=limit,
                offset=offset,
                read=see,
                attempts=_DEEP_ATTEMPTS if offset else None,
            )
        except ApiError as error:
            self.tally.retry(error.retries)
            raise
        self.tally.retry(answer.retries)
        page = Page(number, offset, limit, window, answer.fetched_at, answer.body)
        return _Response(page, answer.value)

    def _count(self, response: _Response) -> None:
        """Keep a response and count it, whether its reading succeeds or not."""
        self._keep(response.page)
        window, total = response.page.window, response.seen.total
        self.largest[window] = max(self.largest[window], total)
        self.tally.pages += 1
        if response.page.pass_ != PROBE:
            self.tally.received += len(response.seen)

    def _take(self, response: _Response, reading: Reading) -> None:
        self._count(response)
        reading.add(response.seen, response.page.offset)
        rows, page = len(response.seen), response.page
        self.limits.rows = max(self.limits.rows, rows)
        if page.offset + rows < response.seen.total:
            self.limits.cut = max(self.limits.cut, rows)
        full = rows and rows in (page.limit, self.limits.cut)
        reading.behind = page.offset + rows if full else 0


def total(client: Client, window: Window) -> int:
    """The vendor's total of `window` now, asked for as a reading does: one request for one row."""
    return client.get(_query(window), limit=1, offset=0, read=see).value.total


def listed(
    client: Client, query: Query, page_size: int, limit: int, offset: int
) -> tuple[list[bytes], int]:
    """The records of a query as the vendor lists them, and the vendor's total; nothing is proved.

    At most `limit` records (0: all), from `offset` on; in smaller pages if large pages are refused.
    Raises what `Client.get` raises.
    """
    records: list[bytes] = []
    most = limit or math.inf
    while True:
        at, wanted = offset + len(records), int(min(page_size, most - len(records)))
        ask = partial(client.get, query, offset=at, read=split_and_total)
        try:
            texts, total = ask(limit=wanted).value
        except Refused as error:
            if not error.may_be_too_much or wanted == 1:
                raise
            ask(limit=1)  # raises if the page was refused for another reason than its size
            page_size = wanted // 2
            continue
        records += texts
        if not texts or len(records) >= min(most, total - offset):
            return records[: limit or None], total


def _the_same(keys: Sequence[int], first: Sequence[int]) -> bool:
    """Whether a page has the same records as the first page, in any order. For nearly every other
    page, the look at its first record is enough.
    """
    return len(keys) == len(first) and keys[0] in first and set(keys) == set(first)


def _query(window: Window) -> Query:
    """A range that holds the window whether the vendor's bounds are inclusive or not."""
    return Query(start_date=window.start - SECOND, end_date=window.end)
