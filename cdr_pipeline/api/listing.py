"""One complete window of calls: the proof that nothing is missing, and its receipt.

A window is *proved* when one reading received as many distinct records as the vendor's own
`total`, and this total did not change from the first response to the last. If that fails for the
whole window (calls come and go, there is a ceiling, deep offsets or long ranges are refused), the
window is read from start to end in parts, each proved by itself. A part is shortened until it can
be proved, down to a part that a single response holds, in which nothing can change. In the end, the
totals of the parts are asked for again, to check that none has changed.

A total that adds up may still be wrong: see `ceilings` and `strays`.

One change cannot be seen: a call vanishes and another arrives, both on pages already read, before
the vendor is next asked for the total of that window. The total is then the same. For a day read as
a whole, this can happen between two responses, or while `ceilings` checks its halves; for a day
read in parts, between the last reading of a part and the last request for its total.
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

#: Readings of the same window before it is read in smaller parts.
_READINGS: Final = 2

#: While its total changes, the whole window is read again, up to the cost of so many full readings.
_PATIENCE: Final = 4

#: Pages of a part if only the total changed: so few are likely to be read without another change.
#: (If rows are missing although the total did not change, a part must fit in a single response.)
_DRIFTING_PAGES: Final = 3

#: How often parts are read again that changed after they were proved.
_REREADS: Final = 3

#: So many calls may vanish while a window is proved, or this share of its calls if that is more.
_FEW_GONE: Final = 3
_SHARE_GONE: Final = 0.05

#: If this share of a stretch's calls has been seen, their times decide where to cut the stretch.
_ENOUGH_SEEN: Final = 0.8

#: A part of this length or more ends at a whole minute: a vendor may compare no finer than that.
_ENDS_AT_A_MINUTE: Final = timedelta(minutes=2)

#: A part is made to hold this share of what it may hold, to leave room for a wrong guess.
_FILL: Final = 0.75


@dataclass(frozen=True)
class Receipt:
    """How a window was fetched and why it is believed: a row of `cdr_receipts`.

    `unique_records` = `reported_total`, both summed over the parts in which the window was proved.
    `outside_window` counts the records that were listed for a part in which they did not begin. The
    others are the records of the window. `received` counts the records of every response, also of
    responses that proved nothing.
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
        """How many records the window has."""
        return self.unique_records - self.outside_window


class Lister:
    """Proves windows against the vendor's totals, and remembers the vendor's limits.

    honest: a total that is known to be no ceiling.
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
        """End a proof in another thread: its next request raises Unavailable."""
        self._client.stop()

    def prove(self, window: Window, keep: Callable[[Page], None]) -> Receipt:
        """Read `window` until it is proved, and pass every response to `keep` in a fixed order.

        A record counts if its page belongs to the last reading (`pass_`) that covers the record.
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
        self._limits = reader.limits  # only after a proof: a bad hour gives wrong limits
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
    """What a walk knows of the time ahead: how many calls it holds up to which times, and which of
    these calls were already received. Of the time behind the walk, only how many were received.
    """

    def __init__(self, window: Window, calls: float, known: Records) -> None:
        self.at = window.start
        before, self._known = known.cut(window.start)
        self._passed = len(before)
        # Stretches that begin here, the shortest last: the end of each, and the calls it holds.
        self._stretches = [(window.end, calls if math.isfinite(calls) else 1.0)]
        self._aim = 1.0
        self._shortest = SECOND  # the least length of the next part, if its calls are guessed

    @property
    def seen(self) -> int:
        """How many calls were received so far, ahead of the walk and behind it."""
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
        """Note that `part` holds so many `calls`, too many at once; `came`: those received already.

        `calls` is infinite if the part was refused for its length: the next part is shorter anyway.
        """
        self._known = Records.of((self._known, came.cut(part.start)[1]))
        self._shortest = SECOND
        if math.isfinite(calls):
            self._stretches.append((part.end, calls))

    def advance(self, part: Window, reading: Reading) -> None:
        """Move on to the end of `part`. The number of calls left may be a guess that is too high.
        So after a part of few calls, the next part is twice as long: otherwise the walk would go on
        second by second, for calls that do not exist.
        """
        self.at, calls = part.end, reading.total
        self._shortest = 2 * part.length if calls < self._aim / 2 else SECOND
        self._stretches = [
            (end, max(1.0, left - calls)) for end, left in self._stretches if end > self.at
        ]
        came = reading.records.cut(part.start)[1]
        before, after = self._known.cut(part.end)
        self._passed += len(Records.of((before, came.cut(part.end)[0])))
        # Leave out the second after the part: the next part lists it again. Without this second,
        # there are mostly no records to merge and sort into those ahead.
        self._known = Records.of((after, came.cut(part.end + SECOND)[1]))


class _Proof:
    """The proof of one window."""

    def __init__(self, reader: Reader, window: Window) -> None:
        self._reader = reader
        self._limits = reader.limits
        self._window = window
        self._ceilings = Ceilings(reader)
        self._strays = Strays(reader)
        self._reach = math.inf  # the most calls a part may hold in this proof
        self._calls = math.inf  # how many calls the whole window may hold, if that was seen
        self._moving = False  # whether a total changed between two responses
        self._why = ""  # why the last reading proved nothing
        self._apart = ""  # why parts that were proved one by one did not prove the whole

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
        """Check that all but a few of the calls received in any reading are in the readings that
        count, and that the vendor does not list those few any more: it rarely deletes more calls
        during a proof, but one of its machines may lag behind another, or have a bad moment. Raises
        NotProved.
        """
        if len(self._reader.readings) == len(parts):
            return
        came = self._known().within(self._window)
        gone = came.without(inside(parts))
        if len(gone) > max(_FEW_GONE, _SHARE_GONE * len(came)):
            raise NotProved(f"{len(gone):,} calls came that were no longer listed in the end")
        self._strays.see_not_listed(gone)

    def _as_a_whole(self) -> Reading | None:
        """The window in one reading that proves it; None if it has to be read in parts.

        While only the total changes, the window is read again within _PATIENCE: such a reading
        stops early and costs little, and while the total changes, no part could be proved either.
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
        """The window in parts, each proved, none of them changed when the last one is proved.

        To check this, the totals of the parts are asked for again. If anything changed, every part
        is read again: a total does not show that one call went and another came. Raises NotProved.
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
        """Parts whose totals are no longer the proved ones; the last part was only just read."""
        return [part for part in parts[:-1] if self._reader.probe(part.window).total != part.total]

    def _stand(self, before: list[Reading], parts: list[Reading]) -> bool:
        """Whether the parts agree, and add up to the total of the whole window. (A lower total is a
        ceiling, if nothing changed and the total was never larger.)

        A window that is too long, or above a ceiling, has no total to compare with. Then the parts
        `before` and now must have the same records, and no call received in any reading may be left
        out. Raises NotProved.
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
        """Whether the part in which a call began listed it, for every call of the window, and
        whether every call was listed with one time only. `listed`: `key` and `began` of all records
        of all parts, without equal rows; `own`: the keys of the records that began in their parts,
        as `inside`.

        False if the time of a call was changed between two readings, so that the wrong part lists
        it, or two parts list it with two times; and if the vendor compares times less finely than
        seconds, so that no part lists a call between two parts.
        """
        whole = Records([listed]).within(self._window)
        return listed["key"].n_unique() == len(listed) and whole.keys().equals(own)

    def _walk(self, window: Window, calls: float) -> list[Reading]:
        """Proved parts from start to end, each as long as it can be. Raises NotProved.

        calls: how many calls the window may hold.
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
        """One part, proved. Raises TooMuch if a shorter part should be tried."""
        most = self._reach if part.length > SECOND else math.inf
        for _ in range(_READINGS):
            try:
                reading = self._reader.read(part, most)
                if reading.total >= self._largest_total():
                    reading = self._ceilings.see_no_ceiling(reading)
                return self._ceilings.see_none_behind(reading)
            except Unsettled as doubt:
                self._doubted(doubt)
                self._why = f"in {part}: {doubt}"  # name the part: its total is not the day's
                if isinstance(doubt, Torn):
                    break
        self._reach = min(self._reach, self._limits.rows)
        # At least twice the aim: so the next part is shorter even if this total is wrong.
        raise TooMuch(self._why, max(self._reader.readings[-1].total, math.ceil(2 * self._aim)))

    def _doubted(self, doubt: Unsettled) -> None:
        self._why = str(doubt)
        self._moving = self._moving or isinstance(doubt, Moved)

    def _held(self, doubt: TooMuch) -> float:
        """How many calls a window holds that was too much at once. If the vendor does not say, a
        guess (infinite if nothing is known about how many calls a part may hold).
        """
        self._why = str(doubt) or self._why
        return doubt.total or 2 * self._aim

    def _largest_total(self) -> int:
        """The largest total of any reading; a smaller total is no ceiling."""
        return max((reading.total for reading in self._reader.readings), default=0)

    @property
    def _aim(self) -> float:
        """How many calls a part should hold."""
        return max(1.0, _FILL * min(self._reach, self._limits.reach, self._limits.ceiling))

    def _known(self) -> Records:
        """Every record received so far, whether its reading succeeded or not."""
        return Records.of(reading.records for reading in self._reader.readings)


def inside(parts: list[Reading]) -> pl.Series:
    """The keys of the distinct records that began in the part which listed them, sorted."""
    return Records.of(part.inside for part in parts).keys()
