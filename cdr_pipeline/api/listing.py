"""One complete window of calls: the proof that nothing is missing, and its receipt.

A window is *proved* when one reading of it received as many distinct records as the vendor's own
`total`, and that total stood still from the first response to the last. Where that fails for the
whole window (calls that come and go, a ceiling, deep offsets or long ranges that are refused), the
window is walked from start to end in parts, each proved by itself. Parts get shorter until they
can be, down to those that a single response holds, in which nothing can move. In the end their
totals are asked for once more, to see that none has changed meanwhile.

A total that adds up may be wrong all the same: see `ceilings` and `strays`.

One thing nobody can see: a call vanishes and another arrives, both on pages already read, before
the vendor is next asked for that window's total. Then the total is the same. For a day read as a
whole that is between two responses, or while `ceilings` looks at its halves; for one read in parts,
between a part's last reading and the last look at its total.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Self

import polars as pl

from cdr_pipeline.api.ceilings import SMALLEST_CEILING, Ceilings
from cdr_pipeline.api.client import Client
from cdr_pipeline.api.reading import (
    SECOND,
    Limits,
    Moved,
    Page,
    Reader,
    Reading,
    TooMuch,
    Torn,
    Unsettled,
)
from cdr_pipeline.api.records import Records
from cdr_pipeline.api.strays import Strays
from cdr_pipeline.errors import NotProved
from cdr_pipeline.window import Window

#: Readings of the same window before it is taken in smaller parts.
_READINGS: Final = 2

#: While its total moves, the whole window is read again, up to the cost of so many full readings.
_PATIENCE: Final = 4

#: Pages of a part where only the total moved: so few are likely to find the calls at rest. (Where
#: rows are missing under a total at rest, nothing but a single response will do.)
_DRIFTING_PAGES: Final = 3

#: How often parts that changed after they were proved are read again.
_REREADS: Final = 3

#: So many calls may vanish while a window is proved, or this share of them, where that is more.
_FEW_GONE: Final = 3
_SHARE_GONE: Final = 0.05

#: Where this share of a stretch's calls has been seen, their times tell where to cut it.
_ENOUGH_SEEN: Final = 0.8

#: A part of this length or more ends at a whole minute: a vendor may compare no finer than that.
_ENDS_AT_A_MINUTE: Final = timedelta(minutes=2)

#: A part aims at this share of what one part may hold, to leave room for a wrong guess.
_FILL: Final = 0.75


@dataclass(frozen=True)
class Receipt:
    """How a window was fetched and why it is believed: a row of `cdr_receipts`.

    `unique_records` = `reported_total`, both summed over the parts in which the window was proved.
    Some of these were listed for a part that they did not begin in: `outside_window`. The others
    are the records of the window. `received` counts the records of every response, whatever it
    proved.
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
    parts: int
    verified: bool
    window_start: datetime
    window_end: datetime
    started_at: datetime
    finished_at: datetime
    api_host: str

    @property
    def records(self) -> int:
        """Those of the window."""
        return self.unique_records - self.outside_window


class Lister:
    """Proves windows against the vendor's totals, and remembers what the vendor allows. `honest`: a
    total known to be no ceiling.
    """

    def __init__(
        self, client: Client, *, page_size: int, concurrency: int, honest: int = 0
    ) -> None:
        self._client = client
        self._concurrency = concurrency
        self._limits = Limits(page=page_size, honest=honest)
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="cdr-listing")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def stop(self) -> None:
        """What another thread is proving ends with its next request: Unavailable."""
        self._client.stop()

    def prove(self, window: Window, keep: Callable[[Page], None]) -> Receipt:
        """List `window` until it is proved, handing every response to `keep` in a fixed order.

        A record counts if its page belongs to the last reading (`pass_`) that covers it.
        Raises NotProved with figures, or what `Client.get` raises.
        """
        started_at = datetime.now(UTC)
        reader = Reader(
            self._client,
            replace(self._limits),
            keep,
            concurrency=self._concurrency,
            threads=self._threads,
        )
        parts = _Proof(reader, window).run()
        self._limits = reader.limits  # only of a window that was proved: a bad hour teaches nothing
        tally = reader.tally
        unique = sum(len(part.records) for part in parts)
        return Receipt(
            reported_total=sum(part.total for part in parts),
            received=tally.received,
            unique_records=unique,
            duplicates=tally.received - unique,
            outside_window=unique - len(inside(parts)),
            pages=tally.pages,
            requests=tally.requests,
            retries=tally.retries,
            passes=tally.passes,
            parts=len(parts),
            verified=True,
            window_start=window.start,
            window_end=window.end,
            started_at=started_at,
            finished_at=datetime.now(UTC),
            api_host=self._client.host,
        )


class _Ahead:
    """What a walk knows of the time ahead of it: how many calls it holds until where, and which of
    them came already. Of the time behind it only how many came.
    """

    def __init__(self, window: Window, calls: float, known: Records) -> None:
        self.at = window.start
        before, self._known = known.cut(window.start)
        self._passed = len(before)
        # Stretches that begin here, the shortest last: the end of each, and the calls it holds.
        self._stretches = [(window.end, calls if math.isfinite(calls) else 1.0)]
        self._aim = 1.0
        self._shortest = SECOND  # the next part, where only a guess tells

    @property
    def seen(self) -> int:
        """How many calls came so far, ahead of the walk and behind it."""
        return self._passed + len(self._known)

    def part(self, aim: float, longest: timedelta) -> Window:
        """The next part, to hold about `aim` calls and be no longer than `longest`."""
        self._aim = aim
        end, calls = self._stretches[-1]
        share = min(1.0, aim / calls)
        seen = self._known.times()
        seen = seen.head(seen.search_sorted(end))
        if len(seen) > aim and len(seen) >= _ENOUGH_SEEN * calls:
            cut = seen[int(aim * min(1.0, len(seen) / calls))]
        else:
            cut = self.at + max((end - self.at) * share, self._shortest)
        cut = min(cut, end, self.at + longest).replace(microsecond=0)
        if cut - self.at >= _ENDS_AT_A_MINUTE:
            cut = cut.replace(second=0)
        return Window(self.at, max(cut, self.at + SECOND))

    def hold(self, part: Window, calls: float, came: Records) -> None:
        """`part` turned out to hold so many calls, which is too much at once; some of them `came`.

        Infinitely many where it was refused for its length: then the next one is shorter anyway.
        """
        self._known = Records.of((self._known, came.cut(part.start)[1]))
        self._shortest = SECOND
        if math.isfinite(calls):
            self._stretches.append((part.end, calls))

    def advance(self, part: Window, reading: Reading) -> None:
        """`part` is done. How many calls are left may be a guess that is too high. So behind a part
        of few calls the next one is twice as long: else the walk would go on second by second, for
        calls that are not there.
        """
        self.at, calls = part.end, reading.total
        self._shortest = 2 * part.length if calls < self._aim / 2 else SECOND
        self._stretches = [
            (end, max(1.0, left - calls)) for end, left in self._stretches if end > self.at
        ]
        came = reading.records.cut(part.start)[1]
        before, after = self._known.cut(part.end)
        self._passed += len(Records.of((before, came.cut(part.end)[0])))
        # The second behind it the next part lists again: without it there is mostly nothing to be
        # put in order among what lies ahead.
        self._known = Records.of((after, came.cut(part.end + SECOND)[1]))


class _Proof:
    """One window on its way to being proved."""

    def __init__(self, reader: Reader, window: Window) -> None:
        self._reader = reader
        self._limits = reader.limits
        self._window = window
        self._ceilings = Ceilings(reader)
        self._strays = Strays(reader)
        self._reach = math.inf  # the most calls a part may hold in this proof
        self._calls = math.inf  # what the whole window may hold, where that was seen
        self._moving = False  # something changed between two responses
        self._why = ""  # of the last reading that did not settle it
        self._apart = ""  # why parts that were each proved did not make the whole

    def run(self) -> list[Reading]:
        """The readings that prove the window, in order of time. Raises NotProved."""
        try:
            whole = self._as_a_whole()
            parts = [whole] if whole else self._in_parts()
            self._see_few_gone(parts)
            self._strays.see_none_elsewhere(
                Records.of(part.records for part in parts), self._window
            )
            return parts
        except NotProved as error:
            tally = self._reader.tally
            why = "; ".join(filter(None, (f"{error}", self._why, self._apart)))
            raise NotProved(
                f"{self._window} is not proved complete: {why}. The vendor's total"
                f" was {self._largest_total():,} at most, and {len(self._known()):,} distinct"
                f" records came in {tally.passes} readings and {tally.requests} requests"
                f" ({tally.retries} retries)."
                " What is stored of this day is unchanged. Try again later; if it stays so, ask"
                " the vendor about this range."
            ) from None

    def _see_few_gone(self, parts: list[Reading]) -> None:
        """See that calls which came in any reading are there in those that count, but for a few: a
        vendor hardly deletes more meanwhile, but one of its machines may lag behind another, or
        have a bad moment. Raises NotProved.
        """
        if len(self._reader.readings) == len(parts):
            return
        came = self._known().within(self._window)
        gone = len(came.without(inside(parts)))
        if gone > max(_FEW_GONE, _SHARE_GONE * len(came)):
            raise NotProved(f"{gone:,} calls came that were no longer listed in the end")

    def _as_a_whole(self) -> Reading | None:
        """The window in one reading, if that settles it.

        While only the total moves it is read again, as long as _PATIENCE lasts: such a reading
        breaks off early and costs little, and until it is at rest no part could be proved either.
        """
        if self._window.length > self._limits.span:
            return None
        unsettled = 0
        while unsettled < _READINGS and not self._reader.tally.dearer_than(_PATIENCE):
            try:
                whole = self._ceilings.see_none_lost(self._reader.read(self._window))
                whole = self._ceilings.see_no_ceiling(whole)
                return self._ceilings.see_none_behind(whole)
            except Moved as doubt:
                self._doubted(doubt)
            except Unsettled as doubt:
                unsettled += _READINGS if isinstance(doubt, Torn) else 1
                self._doubted(doubt)
            except TooMuch as doubt:
                self._calls = self._held(doubt)
                return None
        self._reach = self._limits.rows * (1 if unsettled else _DRIFTING_PAGES)
        self._calls = max(self._largest_total(), 2 * self._aim)
        return None

    def _in_parts(self) -> list[Reading]:
        """The window in parts, each proved, and none changed since by the time the last one is.

        To see that, their totals are asked for again. Where something moved meanwhile, every part
        is read again: a total does not show one call that went and another that came. Raises
        NotProved.
        """
        parts = self._walk(self._window, self._calls)
        for _ in range(_REREADS):
            before = parts
            changed = parts if self._moving else self._changed(parts)
            parts = [
                again
                for part in parts
                for again in (self._read_again(part) if part in changed else [part])
            ]
            if self._stand(before, parts):
                return parts
            self._moving = True
            self._apart = (
                "calls kept changing in parts already proved, or were listed by another part than"
                " the one they began in"
            )
        raise NotProved(f"to read its parts {1 + _REREADS} times did not settle it")

    def _read_again(self, part: Reading) -> list[Reading]:
        try:
            return [self._settle(part.window)]
        except TooMuch as doubt:
            return self._walk(part.window, self._held(doubt))

    def _changed(self, parts: list[Reading]) -> list[Reading]:
        """Parts whose totals are no longer what was proved; the last has only just been read."""
        return [part for part in parts[:-1] if self._reader.probe(part.window).total != part.total]

    def _stand(self, before: list[Reading], parts: list[Reading]) -> bool:
        """Whether the parts agree, and add up to the total of the whole window. (A lower total is a
        ceiling, if nothing moved and it was never larger.)

        A window that is too long, or above a ceiling, has no total to compare with: then nothing
        may have moved between the parts as they were `before` and now, and no call that came in any
        reading may be left out. Raises NotProved.
        """
        listed = pl.concat(part.records.frame for part in parts).unique()
        own = inside(parts)
        if not self._agree(listed, own):
            return False
        records, unmoved = len(listed), inside(before).equals(own)
        if self._window.length > self._limits.span or records >= self._limits.ceiling:
            if unmoved:
                self._strays.see_none_left_out(self._known().within(self._window), own)
            return unmoved
        total = self._reader.probe(self._window).total
        stops = total == self._reader.largest[self._window] < records and unmoved
        if stops and total >= SMALLEST_CEILING:
            self._limits.learn_ceiling(total)
        return total == records or stops

    def _agree(self, listed: pl.DataFrame, own: pl.Series) -> bool:
        """Whether every call of the window was listed by the part that it began in, and with one
        time wherever it was listed. `listed`: `key` and `began` of all records of all parts,
        without equal rows; `own`: the keys of those that began in their parts, as `inside`.

        It was not, where a call's time was changed between two readings, so that the wrong part
        lists it, or two parts do, with two times; and where a vendor compares less finely than
        seconds, so that no part lists what lies between two of them.
        """
        whole = Records([listed]).within(self._window)
        return listed["key"].n_unique() == len(listed) and whole.keys().equals(own)

    def _walk(self, window: Window, calls: float) -> list[Reading]:
        """Parts from start to end, each as long as it can be; `calls`: what the window may hold.

        Raises NotProved.
        """
        parts: list[Reading] = []
        ahead = _Ahead(window, calls, self._known())
        while ahead.at < window.end:
            ranges = math.ceil(self._window.length / self._limits.span)
            full = math.ceil(ahead.seen / min(self._limits.reach, self._limits.ceiling))
            self._reader.expect(ahead.seen, besides=2 * max(ranges, full))
            part = ahead.part(self._aim, self._limits.span)
            try:
                reading = self._settle(part)
            except TooMuch as doubt:
                calls = self._held(doubt)
                if part.length <= SECOND:
                    raise NotProved(f"not even the one second {part} can be proved") from None
                came = Records.of(one.records for one in self._reader.readings[-1:])
                ahead.hold(part, calls, came)
            else:
                parts.append(reading)
                ahead.advance(part, reading)
        return parts

    def _settle(self, part: Window) -> Reading:
        """One part, proved. Raises TooMuch if a shorter one should be tried."""
        most = self._reach if part.length > SECOND else math.inf
        for _ in range(_READINGS):
            try:
                reading = self._reader.read(part, most)
                if reading.total >= self._largest_total():
                    reading = self._ceilings.see_no_ceiling(reading)
                return self._ceilings.see_none_behind(reading)
            except Unsettled as doubt:
                self._doubted(doubt)
                self._why = f"in {part}: {doubt}"  # its total is not the day's
                if isinstance(doubt, Torn):
                    break
        self._reach = min(self._reach, self._limits.rows)
        # Of a total that is wrong, a shorter part all the same.
        raise TooMuch(self._why, max(self._reader.readings[-1].total, math.ceil(2 * self._aim)))

    def _doubted(self, doubt: Unsettled) -> None:
        self._why = str(doubt)
        self._moving = self._moving or isinstance(doubt, Moved)

    def _held(self, doubt: TooMuch) -> float:
        """How many calls a window holds that is too much at once; where the vendor does not say, a
        guess (infinitely many, if nothing is known of how many a part may hold).
        """
        self._why = str(doubt) or self._why
        return doubt.total or 2 * self._aim

    def _largest_total(self) -> int:
        """A total below this is no ceiling."""
        return max((reading.total for reading in self._reader.readings), default=0)

    @property
    def _aim(self) -> float:
        """Calls that a part should hold."""
        return max(1.0, _FILL * min(self._reach, self._limits.reach, self._limits.ceiling))

    def _known(self) -> Records:
        """Every record seen so far, whatever became of its reading."""
        return Records.of(reading.records for reading in self._reader.readings)


def inside(parts: list[Reading]) -> pl.Series:
    """The keys of the distinct records that belong to the parts which listed them, in order."""
    return Records.of(part.inside for part in parts).keys()
