"""One complete window of calls: the proof that nothing is missing, and its receipt.

A window is *proved* when one reading of it received as many distinct records as the vendor's own
`total`, and that total stood still from the first response to the last. Where readings of the
whole window do not get there (drift, a ceiling, deep offsets or long ranges refused), it is
walked in parts that each can, down to parts which a single response holds: drift cannot tear
those. In the end the parts' totals are asked for once more, so that none has changed meanwhile.

What nobody who reads once can see: a call that vanishes and another that arrives between the
same two responses, both on pages already read. `total` does not move, and nothing else tells.
"""

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

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

#: Readings of the same window before it is taken in smaller parts; of the whole one some more,
#: while they break off early enough to cost no more than so many full ones.
READINGS = 2
WHOLE_READINGS = 4

#: How often parts that changed after they were proved are read again.
ROUNDS = 3

#: A total below this is no ceiling; a multiple of the other may be one however often it was not.
SMALLEST_CEILING = 100
ROUND = 1000

#: Where this share of a stretch's calls has been seen, their times tell where to cut it.
ENOUGH_SEEN = 0.8

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

    def __init__(self, client: Client, *, page_size: int, concurrency: int) -> None:
        self._client = client
        self._concurrency = concurrency
        self._limits = Limits(page=page_size)
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="cdr-listing")

    @classmethod
    def from_settings(cls, client: Client, settings: Settings) -> Self:
        """A lister as the environment describes it."""
        return cls(
            client,
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
            self._limits,
            keep,
            concurrency=self._concurrency,
            threads=self._threads,
        )
        parts = _Proof(reader, window, self._limits).run()
        self._limits.reach, self._limits.ceiling = reader.reach, reader.ceiling
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


class _Ahead:
    """What is known of the stretch that lies ahead of a walk: where it ends, how much it holds."""

    def __init__(self, window: Window) -> None:
        self.at = window.start
        self._stretches = [(window.end, 1.0)]  # the shortest last: its end, the calls until there

    def part(self, aim: float, longest: timedelta, known: Iterable[datetime | None]) -> Window:
        """The next part, to hold about `aim` calls and be no longer than `longest`."""
        end, calls = self._stretches[-1]
        share = min(1.0, aim / calls)
        seen = sorted(time for time in known if time is not None and self.at <= time < end)
        if len(seen) > aim and len(seen) >= ENOUGH_SEEN * calls:
            cut = seen[int(aim)]
        else:
            cut = self.at + (end - self.at) * share
        cut = min(cut, self.at + longest).replace(microsecond=0)
        return Window(self.at, max(cut, self.at + SECOND))

    def hold(self, part: Window, calls: float) -> None:
        """`part` turned out to hold so many calls, which is too much at once.

        Infinitely many: it was too long, which `longest` takes care of.
        """
        if math.isfinite(calls):
            self._stretches.append((part.end, calls))

    def advance(self, part: Window, calls: int) -> None:
        """`part` is done, and held so many."""
        self.at = part.end
        self._stretches = [
            (end, max(1.0, left - calls)) for end, left in self._stretches if end > self.at
        ]


class _Proof:
    """One window on its way to being proved."""

    def __init__(self, reader: Reader, window: Window, limits: Limits) -> None:
        self._reader = reader
        self._window = window
        self._limits = limits
        self._reach = float("inf")  # the most calls a part may hold in this proof
        self._pages = 0  # responses that proved a part
        self._moving = False  # something changed between two responses
        self._why = ""

    def run(self) -> list[Reading]:
        """The readings that prove the window, in order of time. Raises NotProved."""
        try:
            whole = self._as_a_whole()
            return [whole] if whole else self._in_parts()
        except NotProved as error:
            tally = self._reader.tally
            raise NotProved(
                f"{self._window} is not proved complete: {error}; {self._why}. The vendor's total"
                f" was {self._largest_total():,} at most, and {len(self._known()):,} distinct records came in"
                f" {tally.passes} readings and {tally.requests} requests ({tally.retries} retries)."
                " What is stored of this day is unchanged. Try again later; if it stays so, ask"
                " the vendor about this range."
            ) from None

    def _as_a_whole(self) -> Reading | None:
        """The window in one reading, if that settles it."""
        if self._window.length > self._limits.span:
            return None
        for number in range(WHOLE_READINGS):
            if number >= READINGS and self._reader.tally.dearer_than(READINGS):
                return None
            try:
                reading = self._reader.read(self._window)
                self._doubt_total(reading)
                return reading
            except Unsettled as doubt:
                self._doubted(doubt)
                self._reach = self._limits.rows
            except TooMuch as doubt:
                self._why = str(doubt)
                self._reach = self._reader.reach
                return None
        return None

    def _in_parts(self) -> list[Reading]:
        """The window in parts, each proved, none changed by the time the last one is.

        Where something moved meanwhile every part is read again, for a total alone would not show
        a call that went for another; else their totals are asked for. Raises NotProved.
        """
        parts = self._walk(self._window)
        for _ in range(ROUNDS):
            changed = parts if self._moving else self._changed(parts)
            if not changed and self._adds_up(parts):
                return parts
            self._moving = True
            parts = [
                again
                for part in parts
                for again in (self._read_again(part) if part in changed else [part])
            ]
            if self._adds_up(parts):
                return parts
        raise NotProved("calls kept changing in parts already proved")

    def _read_again(self, part: Reading) -> list[Reading]:
        try:
            return [self._settle(part.window)]
        except TooMuch as doubt:
            self._why = str(doubt)
            return self._walk(part.window)

    def _changed(self, parts: list[Reading]) -> list[Reading]:
        """Parts whose totals are no longer what was proved."""
        if self._whole_total() == self._records(parts):
            return []
        return [part for part in parts if self._reader.probe(part.window).total != part.total]

    def _adds_up(self, parts: list[Reading]) -> bool:
        """Whether the parts hold as many as the whole window; true where no total tells that."""
        whole = self._whole_total()
        return whole is None or whole == self._records(parts)

    def _whole_total(self) -> int | None:
        """The vendor's total of the whole window now; None where it cannot be asked for it."""
        if self._window.length > self._limits.span:
            return None
        total = self._reader.probe(self._window).total
        return total if total < self._reader.ceiling else None

    @staticmethod
    def _records(parts: list[Reading]) -> int:
        return len({key for part in parts for key in part.began})

    def _doubt_total(self, reading: Reading) -> None:
        """See that a total is no ceiling: by halves, more calls would come to light.

        Both halves hold calls, so under a ceiling their totals add up to more. Asked only of
        round totals and of those larger than any seen to be honest. Raises TooMuch or Unsettled.
        """
        suspicious = reading.total % ROUND == 0 or reading.total > self._limits.honest
        if reading.total < SMALLEST_CEILING or not suspicious:
            return
        window, times = reading.window, reading.times()
        middle = times[len(times) // 2].replace(microsecond=0) if times else window.start
        if not window.start < middle < window.end:
            return
        for half in (Window(window.start, middle), Window(middle, window.end)):
            seen = self._reader.probe(half)
            least, most = reading.between(half)
            if any(at and not half.start - SECOND <= at <= half.end for at in seen.began):
                return  # the vendor does not filter by the second: parts tell nothing
            if not least <= seen.total <= most:
                now = self._reader.probe(window).total
                if now != reading.total or seen.total < least:
                    raise Unsettled(f"its total moved from {reading.total:,} to {now:,}")
                self._reader.learn_ceiling(reading.total)
                raise TooMuch(f"its total stops at {reading.total:,}, its parts hold more")
        self._limits.honest = max(self._limits.honest, reading.total)

    def _walk(self, window: Window) -> list[Reading]:
        """Parts from start to end, each as long as it can be. Raises NotProved."""
        parts: list[Reading] = []
        ahead = _Ahead(window)
        known = self._known()
        while ahead.at < window.end:
            self._reader.expect(len(known))
            part = ahead.part(self._aim, self._limits.span, known.values())
            try:
                reading = self._settle(part)
            except TooMuch as doubt:
                self._why = str(doubt)
                if part.length <= SECOND:
                    raise NotProved(f"not even the one second {part} can be proved") from None
                known |= self._reader.latest()
                ahead.hold(part, doubt.total or 2 * self._aim)
            else:
                known |= self._reader.latest()
                parts.append(reading)
                self._pages += reading.pages
                self._reader.tally.expect(self._pages + 1)
                ahead.advance(part, reading.total)
        return parts

    def _settle(self, part: Window) -> Reading:
        """One part, proved. Raises TooMuch if a shorter one should be tried."""
        most = self._reach if part.length > SECOND else math.inf
        for _ in range(READINGS):
            try:
                reading = self._reader.read(part, most)
                if reading.total >= self._largest_total():
                    self._doubt_total(reading)
                return reading
            except Unsettled as doubt:
                self._doubted(doubt)
        self._reach = min(self._reach, self._limits.rows)
        raise TooMuch(self._why)

    def _doubted(self, doubt: Unsettled) -> None:
        self._why = str(doubt)
        self._moving = True

    def _largest_total(self) -> int:
        """A total below this is no ceiling."""
        return max((reading.total for reading in self._reader.readings), default=0)

    @property
    def _aim(self) -> float:
        """Calls that a part should hold."""
        return max(1.0, FILL * min(self._reach, self._reader.reach, self._reader.ceiling))

    def _known(self) -> dict[int, datetime | None]:
        """Every record seen so far, whatever became of its reading."""
        known: dict[int, datetime | None] = {}
        for reading in self._reader.readings:
            known |= reading.began
        return known
