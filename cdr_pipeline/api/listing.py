"""One complete window of calls: the proof that nothing is missing, and its receipt.

A window is *proved* when one reading of it received as many distinct records as the vendor's own
`total`, and that total stood still from the first response to the last. Where readings of the
whole window do not get there (drift, a ceiling, deep offsets or long ranges refused), it is
walked in parts that each can, down to parts which a single response holds: drift cannot tear
those. In the end the parts' totals are asked for once more, so that none has changed meanwhile.

What nobody who reads once can see: a call that vanishes and another that arrives between the
same two responses, both on pages already read. `total` does not move, and nothing else tells.
"""

from bisect import bisect_left
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self
from zoneinfo import ZoneInfo

from cdr_pipeline.api.client import Client
from cdr_pipeline.api.reading import (
    SECOND,
    Limits,
    Page,
    Reader,
    Reading,
    TooMuch,
    Unsettled,
)
from cdr_pipeline.errors import NotProved
from cdr_pipeline.record import Window
from cdr_pipeline.settings import Settings

#: Readings of the same window before it is taken in smaller parts.
READINGS = 2

#: How often parts that changed after they were proved are read again.
ROUNDS = 3

#: A part aims at this share of what one part may hold, to leave room for a wrong guess.
FILL = 0.75


@dataclass(frozen=True)
class Receipt:
    """How a window was fetched and why it is believed: a row of `cdr_receipts`.

    `unique_records` = `reported_total`, both summed over the parts in which the window was
    proved; less `outside_window` (listed for a part they did not begin in) they are the records
    of the window. `received` counts the records of every response, whatever it proved.
    """

    reported_total: int
    received: int
    unique_records: int
    duplicates: int
    outside_window: int
    pages: int
    requests: int
    retries: int
    passes: int
    verified: bool
    window_start: datetime
    window_end: datetime
    started_at: datetime
    finished_at: datetime
    api_host: str


class Lister:
    """Proves windows against the vendor's totals, and remembers what the vendor allows."""

    def __init__(self, client: Client, *, zone: ZoneInfo, page_size: int, concurrency: int) -> None:
        self._client = client
        self._zone = zone
        self._page_size = page_size
        self._concurrency = concurrency
        self._limits = Limits()
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="cdr-listing")

    @classmethod
    def from_settings(cls, client: Client, settings: Settings) -> Self:
        """A lister as the environment describes it."""
        return cls(
            client,
            zone=settings.zone,
            page_size=settings.page_size,
            concurrency=settings.concurrency,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._threads.shutdown(cancel_futures=True)

    def prove(self, window: Window, keep: Callable[[Page], None]) -> Receipt:
        """List `window` until it is proved, handing every response to `keep` in a fixed order.

        A record counts if its page belongs to the last reading (`pass_`) that covers it.
        Raises NotProved with figures, or what `Client.get` raises.
        """
        started_at = datetime.now(UTC)
        reader = Reader(
            self._client,
            self._zone,
            self._page_size,
            self._concurrency,
            self._threads,
            self._limits,
            keep,
        )
        parts = _Proof(reader, window, self._limits).run()
        self._limits.reach = min(self._limits.reach, reader.reach)
        tally = reader.tally
        unique = sum(len(part.began) for part in parts)
        return Receipt(
            reported_total=sum(part.total for part in parts),
            received=tally.received,
            unique_records=unique,
            duplicates=tally.received - unique,
            outside_window=unique - len(set().union(*(part.inside for part in parts))),
            pages=tally.pages,
            requests=tally.requests,
            retries=tally.retries,
            passes=tally.passes,
            verified=True,
            window_start=window.start,
            window_end=window.end,
            started_at=started_at,
            finished_at=datetime.now(UTC),
            api_host=self._client.host,
        )


class _Proof:
    """One window on its way to being proved."""

    def __init__(self, reader: Reader, window: Window, limits: Limits) -> None:
        self._reader = reader
        self._window = window
        self._limits = limits
        self._reach = float("inf")  # the most calls a part may hold in this proof
        self._pages = 0  # responses that proved a part
        self._why = ""

    def run(self) -> list[Reading]:
        """The readings that prove the window, in order of time. Raises NotProved."""
        try:
            whole = self._as_a_whole()
            return [whole] if whole else self._in_parts()
        except NotProved as error:
            tally = self._reader.tally
            total = max((reading.total for reading in self._reader.readings), default=0)
            raise NotProved(
                f"{self._window} is not proved complete: {error}; {self._why}. The vendor's total"
                f" was {total:,} at most, and {len(self._known()):,} distinct records came in"
                f" {tally.passes} readings and {tally.requests} requests ({tally.retries} retries)."
                " What is stored of this day is unchanged. Try again later; if it stays so, ask"
                " the vendor about this range."
            ) from None

    def _as_a_whole(self) -> Reading | None:
        """The window in one reading, if that settles it."""
        if self._window.length > self._limits.span:
            return None
        for _ in range(READINGS):
            try:
                reading = self._reader.read(self._window)
                self._doubt_total(reading)
                return reading
            except Unsettled as doubt:
                self._why = str(doubt)
                self._reach = self._limits.rows
            except TooMuch as doubt:
                self._why = str(doubt)
                self._reach = self._reader.reach
                return None
        return None

    def _in_parts(self) -> list[Reading]:
        """The window in parts, each proved, none changed by the time the last one is."""
        parts = self._walk(self._window)
        for _ in range(ROUNDS):
            changed = self._changed(parts)
            if changed is None:
                return parts
            parts = [
                again
                for part in parts
                for again in (self._walk(part.window) if part in changed else [part])
            ]
        raise NotProved("calls kept changing in parts already proved")

    def _doubt_total(self, reading: Reading) -> None:
        """See that a total is no ceiling: by halves, more calls would come to light.

        Both halves hold calls, so under a ceiling their totals add up to more. Asked only of
        totals larger than any seen to be honest. Raises TooMuch or Unsettled.
        """
        if reading.pages == 1 or reading.total <= self._limits.honest:
            return
        times = reading.times()
        middle = times[len(times) // 2].replace(microsecond=0) if times else self._window.start
        if not self._window.start < middle < self._window.end:
            return
        for half in (Window(self._window.start, middle), Window(middle, self._window.end)):
            seen = self._reader.probe(half)
            least, most = reading.between(half)
            if any(at and not half.start - SECOND <= at <= half.end for at in seen.began):
                return  # the vendor does not filter by the second: parts tell nothing
            if not least <= seen.total <= most:
                now = self._reader.probe(self._window).total
                if now != reading.total or seen.total < least:
                    raise Unsettled(f"its total moved from {reading.total:,} to {now:,}")
                self._reader.reach = min(self._reader.reach, reading.total - 1)
                raise TooMuch(f"its total stops at {reading.total:,}, its parts hold more")
        self._limits.honest = reading.total

    def _walk(self, window: Window) -> list[Reading]:
        """Parts from start to end, each as long as it can be. Raises NotProved."""
        parts: list[Reading] = []
        at, span = window.start, window.length
        known = sorted(at for at in self._known().values() if at is not None)
        while at < window.end:
            part = Window(at, self._part_end(at, min(at + span, window.end), known))
            try:
                reading = self._settle(part)
            except TooMuch as doubt:
                self._why = str(doubt)
                span = self._shorter(part, doubt.total)
                continue
            parts.append(reading)
            self._pages += reading.pages
            self._reader.tally.expect(self._pages + 1)
            at = part.end
            span = max(span, part.length * min(4.0, self._aim / max(reading.total, 1)))
        return parts

    def _settle(self, part: Window) -> Reading:
        """One part, proved. Raises TooMuch if a shorter one should be tried."""
        for _ in range(READINGS):
            try:
                return self._reader.read(part, most=self._reach)
            except Unsettled as doubt:
                self._why = str(doubt)
        self._reach = min(self._reach, self._limits.rows)
        raise TooMuch(self._why)

    @property
    def _aim(self) -> float:
        """Calls that a part should hold."""
        return max(1.0, FILL * min(self._reach, self._reader.reach))

    def _part_end(self, at: datetime, latest: datetime, known: list[datetime]) -> datetime:
        """Where the next part ends, by what has been seen of the calls' times."""
        end = min(latest, at + self._limits.span)
        ahead = bisect_left(known, at) + self._aim
        if ahead < len(known):
            end = min(end, known[int(ahead)].replace(microsecond=0))
        return max(end, at + SECOND)

    def _shorter(self, part: Window, total: int) -> timedelta:
        """The length to try next, given how many calls the part turned out to hold."""
        if part.length <= SECOND:
            raise NotProved(f"not even the one second {part} can be proved")
        share = min(self._aim / total, FILL) if total else 0.5
        return max(SECOND, timedelta(seconds=part.length.total_seconds() * share // 1))

    def _known(self) -> dict[int, datetime | None]:
        """Every record seen so far, whatever became of its reading."""
        known: dict[int, datetime | None] = {}
        for reading in self._reader.readings:
            known |= reading.began
        return known

    def _changed(self, parts: list[Reading]) -> list[Reading] | None:
        """The parts whose totals are no longer what was proved; None if all stands."""
        if len(parts) == 1 and parts[0].pages == 1:
            return None
        records = len({key for part in parts for key in part.began})
        whole = 0
        if self._window.length <= self._limits.span and records <= self._reader.reach:
            whole = self._reader.probe(self._window).total
            if whole == records:
                return None
        changed = [p for p in parts if self._reader.probe(p.window).total != p.total]
        return changed or ([] if whole > records else None)
