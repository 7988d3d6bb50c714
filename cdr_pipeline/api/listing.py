"""One complete window of calls: the proof that nothing is missing, and its receipt.

A window is *proved* when one reading of it received as many distinct records as the vendor's own
`total`, and that total stood still from the first response to the last. Where readings of the
whole window do not get there (drift, a ceiling, deep offsets or long ranges refused), it is
walked in parts that each can, down to parts which a single response holds: drift cannot tear
those. In the end the parts' totals are asked for once more, so that none has changed meanwhile.

What nobody who reads once can see: a call that vanishes and another that arrives, both on pages
already read, before the vendor is next asked for that window's total. It does not move then, and
nothing else tells. For a day read as a whole that is between two responses, or while a total of
several pages is doubted (once, see `_doubt_total`); for one read in parts, between a part's last
reading and the last look at its total.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from types import TracebackType
from typing import Self

import polars as pl

from cdr_pipeline.api.client import Client
from cdr_pipeline.api.reading import (
    MINUTE,
    SECOND,
    Limits,
    Moved,
    Page,
    Reader,
    Reading,
    Records,
    TooMuch,
    Unsettled,
    blur_of,
)
from cdr_pipeline.errors import NotProved, Refused, Unauthorized, Unavailable
from cdr_pipeline.page import Seen
from cdr_pipeline.settings import Settings
from cdr_pipeline.window import Window, days

#: Readings of the same window before it is taken in smaller parts.
READINGS = 2

#: The whole window is read again while its total moves, up to the cost of so many full readings.
PATIENCE = 4

#: Where calls only come and go, a part of a few pages is likely to find them at rest; where rows
#: are torn under a total at rest, nothing but a single response will do.
DRIFTING_PAGES = 3

#: How often parts that changed after they were proved are read again.
REREADS = 3

#: A total below this is no ceiling; a multiple of the second may be one however often it was not,
#: and one of the third is not believed where nothing else speaks for it.
SMALLEST_CEILING = 10
ROUND_TOTAL = 100
ROUNDEST_TOTAL = 1000

#: A leg that is listed by its root's beginning began no later than this after it.
LEG_AFTER_ROOT = timedelta(hours=2)

#: Where this share of a stretch's calls has been seen, their times tell where to cut it.
ENOUGH_SEEN = 0.8

#: A part of this length or more ends at a whole minute: a vendor may compare no finer than that.
ENDS_AT_A_MINUTE = timedelta(minutes=2)

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
    parts: int
    verified: bool
    window_start: datetime
    window_end: datetime
    started_at: datetime
    finished_at: datetime
    api_host: str


class Lister:
    """Proves windows against the vendor's totals, and remembers what the vendor allows."""

    def __init__(
        self, client: Client, *, page_size: int, concurrency: int, honest: int = 0
    ) -> None:
        self._client = client
        self._concurrency = concurrency
        self._limits = Limits(page=page_size, honest=honest)
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="cdr-listing")

    @classmethod
    def from_settings(cls, client: Client, settings: Settings, honest: int = 0) -> Self:
        """A lister as the environment describes it; `honest`: a total known to be no ceiling."""
        return cls(
            client,
            page_size=settings.page_size,
            concurrency=settings.concurrency,
            honest=honest,
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

    def stop(self) -> None:
        """What another thread is proving ends with its next request: Unavailable."""
        self._client.stop()

    def prove(self, window: Window, keep: Callable[[Page], None]) -> Receipt:
        """List `window` until it is proved, handing every response to `keep` in a fixed order.

        A record counts if its page belongs to the last reading (`pass_`) that covers it.
        Raises NotProved with figures, or what `Client.get` raises.
        """
        started_at = datetime.now(UTC)

        limits = replace(self._limits)
        reader = Reader(
            self._client, limits, keep, concurrency=self._concurrency, threads=self._threads
        )
        parts = _Proof(reader, window, limits).run()
        self._limits = limits  # what a bad hour seemed to teach is no lesson for the next day
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
    """What is known of the stretch that lies ahead of a walk: where it ends, how much it holds."""

    def __init__(self, window: Window, calls: float) -> None:
        self.at = window.start
        # The shortest last: where it ends, and the calls until there.
        self._stretches = [(window.end, calls if math.isfinite(calls) else 1.0)]

    def part(self, aim: float, longest: timedelta, known: pl.Series) -> Window:
        """The next part, to hold about `aim` calls and be no longer than `longest`.

        `known`: the beginnings of the calls that were seen, in order.
        """
        end, calls = self._stretches[-1]
        share = min(1.0, aim / calls)
        seen = known.slice(known.search_sorted(self.at))
        seen = seen.head(seen.search_sorted(end))
        if len(seen) > aim and len(seen) >= ENOUGH_SEEN * calls:
            cut = seen[int(aim)]
        else:
            cut = self.at + (end - self.at) * share
        cut = min(cut, self.at + longest).replace(microsecond=0)
        if cut - self.at >= ENDS_AT_A_MINUTE:
            cut = cut.replace(second=0)
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
        self._reach = math.inf  # the most calls a part may hold in this proof
        self._calls = math.inf  # what the whole window may hold, where that was seen
        self._moving = False  # something changed between two responses
        self._why = ""  # of the last reading that did not settle it

    def run(self) -> list[Reading]:
        """The readings that prove the window, in order of time. Raises NotProved."""
        try:
            whole = self._as_a_whole()
            parts = [whole] if whole else self._in_parts()
            self._see_that_none_stand_elsewhere(Records.of(part.records for part in parts))
            return parts
        except NotProved as error:
            tally = self._reader.tally
            why = f"; {self._why}" if self._why else ""
            raise NotProved(
                f"{self._window} is not proved complete: {error}{why}. The vendor's total"
                f" was {self._largest_total():,} at most, and {len(self._known()):,} distinct"
                f" records came in {tally.passes} readings and {tally.requests} requests"
                f" ({tally.retries} retries)."
                " What is stored of this day is unchanged. Try again later; if it stays so, ask"
                " the vendor about this range."
            ) from None

    def _as_a_whole(self) -> Reading | None:
        """The window in one reading, if that settles it.

        Where only the total moved, a reading breaks off early and the next may find it at rest: no
        part can be sure of itself before that. So it is tried on while PATIENCE lasts.
        """
        if self._window.length > self._limits.span:
            return None
        unsettled = 0
        while unsettled < READINGS and not self._reader.tally.dearer_than(PATIENCE):
            try:
                return self._doubt_total(self._reader.read(self._window))
            except Moved as doubt:
                self._doubted(doubt)
            except Unsettled as doubt:
                unsettled += 1
                self._doubted(doubt)
            except TooMuch as doubt:
                self._why = str(doubt)
                self._calls = doubt.total or 2 * self._aim
                return None
        self._reach = self._limits.rows * (1 if unsettled else DRIFTING_PAGES)
        self._calls = max(self._largest_total(), 2 * self._aim)
        return None

    def _in_parts(self) -> list[Reading]:
        """The window in parts, each proved, none changed by the time the last one is.

        Where something moved meanwhile every part is read again, for a total alone would not show
        a call that went for another; else their totals are asked for. Raises NotProved.
        """
        parts = self._walk(self._window, self._calls)
        for _ in range(REREADS):
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
        raise NotProved(
            "calls kept changing in parts already proved, or were listed by another part than the"
            " one they began in"
        )

    def _read_again(self, part: Reading) -> list[Reading]:
        try:
            return [self._settle(part.window)]
        except TooMuch as doubt:
            self._why = str(doubt)
            return self._walk(part.window, doubt.total or 2 * self._aim)

    def _changed(self, parts: list[Reading]) -> list[Reading]:
        """Parts whose totals are no longer what was proved; the last has only just been read."""
        return [part for part in parts[:-1] if self._reader.probe(part.window).total != part.total]

    def _stand(self, before: list[Reading], parts: list[Reading]) -> bool:
        """Whether the parts agree and add up to the whole; where that cannot be asked, whether they
        agree and none moved.
        """
        listed = pl.concat(part.records.frame for part in parts).unique()
        own = inside(parts)
        if not self._agree(listed, own):
            return False
        records, unmoved = len(listed), inside(before).equals(own)
        if self._window.length > self._limits.span or records >= self._limits.ceiling:
            return unmoved
        total = self._reader.probe(self._window).total
        if SMALLEST_CEILING <= total < records and unmoved:
            self._limits.learn_ceiling(total)
        return total == records or (total < records and unmoved)

    def _agree(self, listed: pl.DataFrame, own: pl.Series) -> bool:
        """Whether every call of the window was listed by the part that it began in, and with one
        time wherever it was listed. `listed`: `key` and `began` of all records of all parts,
        without equal rows; `own`: the keys of those that began in their parts, as `inside`.

        A call that moved over a cut between two readings is listed by the wrong part, or in both at
        two times; a vendor whose bounds are coarser than a second leaves out what lies between two
        parts, and lists it in none.
        """
        whole = Records([listed]).within(self._window)
        return listed["key"].n_unique() == len(listed) and whole.keys().equals(own)

    def _doubt_total(self, reading: Reading) -> Reading:
        """See that a total is no ceiling: by halves, more calls would come to light.

        Both halves hold calls, so under a ceiling their totals add up to more. Asked only of
        round totals and of those larger than any seen to be honest. Returns the reading that
        stands: one that took a single response is made again, for that is as cheap as asking for
        its total, and shows what changed meanwhile. Raises TooMuch or Unsettled.
        """
        suspicious = reading.total % ROUND_TOTAL == 0 or reading.total > self._limits.honest
        if reading.total < SMALLEST_CEILING or not suspicious:
            return reading
        self._reader.expect(reading.total)
        window = reading.window
        blur = blur_of(reading.records.times(), window)
        cuts = reading.cuts(blur) if blur else []
        while blur and cuts:
            found = self._doubt_at(reading, cuts.pop(0), blur)
            if found and found > blur:  # a cut tells less than it was taken to
                self._reader.tally.forgive(4)
                cuts = reading.cuts(found)
            blur = found
        if blur is None:
            return self._doubt_by_days(reading)
        again = self._reader.read(window) if reading.pages == 1 else None
        now = again.total if again else self._reader.probe(window).total
        if now != reading.total:
            raise Moved(f"its total moved from {reading.total:,} to {now:,}")
        self._limits.honest = max(self._limits.honest, reading.total)
        return again or reading

    def _doubt_at(self, reading: Reading, cut: datetime, blur: timedelta) -> timedelta | None:
        """Hold the totals of both sides of a cut to what was received there. Returns to within what
        they compare times; None where they tell nothing. Raises TooMuch or Moved.
        """
        for half in (Window(reading.window.start, cut), Window(cut, reading.window.end)):
            seen = self._reader.probe(half)
            found = self._blur_of_half(reading, half, seen, blur)
            if found is None:
                return None
            blur, most = found, reading.most(half, found)
            if seen.total > most:
                self._suspect(reading, half, most)
            if not reading.allows(half, seen.total, blur):
                if blur > SECOND:  # as a date may look by a lone call near midnight
                    return None
                raise Moved(f"{half} holds {seen.total:,} calls now")
        return blur

    def _blur_of_half(
        self, reading: Reading, half: Window, seen: Seen, least: timedelta
    ) -> timedelta | None:
        """`blur_of` a half, whose first row was `seen`: where its total is odd, as far as its first
        page and last row tell, in one of which stand rows of the other half if the vendor filters
        by the date.
        """
        blur = blur_of(seen.began, half, least)
        if blur is None or reading.allows(half, seen.total, blur):
            return blur
        if self._limits.blur is None:
            self._reader.tally.forgive(2)
            rows = [self._reader.probe(half, limit=0)]
            with suppress(Refused, Unavailable):  # too deep
                rows.append(self._reader.probe(half, offset=seen.total - 1))
            self._limits.blur = blur_of(pl.concat(some.began for some in rows), half, blur)
        return self._limits.blur and max(blur, self._limits.blur)

    def _see_that_none_stand_elsewhere(self, records: Records) -> None:
        """See why calls were listed that began far outside the window: by a vendor who filters by
        the date alone, or by a leg's root.

        One who compares other times than it writes, in another zone or those of the end, lists the
        window's own outside of it, or does not list the others where they began: whole days would
        be short of calls that nobody lists for them. Raises NotProved.
        """
        window, times = self._window, records.times()
        if times.is_empty() or self._limits.strays:
            return
        late, early = times[-1] - window.end, window.start - times[0]
        if early <= MINUTE and late <= LEG_AFTER_ROOT:
            return
        far = min(max(late, early), window.length - 2 * SECOND)
        self._see_own_at_the_other_end(records, far, at_start=late < early)
        began, calls = pl.col("began"), records.frame
        for strays in (
            calls.filter(began < window.start - MINUTE),
            calls.filter(began >= window.end + LEG_AFTER_ROOT),
        ):
            if len(strays) > 1:  # one alone may have been given a wrong time
                self._see_that_they_are_listed_where_they_began(strays)

    def _see_own_at_the_other_end(
        self, records: Records, far: timedelta, *, at_start: bool
    ) -> None:
        """See that the window's own calls are not listed for the time `far` behind it, where calls
        came from before it (`at_start`); else for the time before. Raises NotProved.
        """
        window = self._window
        ends = (window.start - far, window.start), (window.end, window.end + far)
        seen = self._listed_for(Window(*ends[at_start]))
        if seen is None:
            return
        listed = Records()
        listed.add(seen.keys, seen.started)
        own = listed.within(Window(window.start + SECOND, window.end - SECOND)).frame
        known = records.keys().implode()
        missed = len(own.filter(~pl.col("key").is_in(known), pl.col("began").is_not_null()))
        if missed > len(seen) / 2:
            raise NotProved(
                f"calls came that began up to {far} outside of it, and {missed:,} of its own are"
                " listed there and not for it: ask the vendor in which zone start_date and"
                " end_date are compared"
            )

    def _see_that_they_are_listed_where_they_began(self, strays: pl.DataFrame) -> None:
        """See that calls from outside, of which the first and the last are asked for, are listed
        for the day that they are of. Raises NotProved.
        """
        listed = [self._is_listed_where_it_began(*strays.row(at)) for at in (0, -1)]
        self._limits.strays = self._limits.strays or True in listed
        if all(one is False for one in listed):
            raise NotProved(
                f"{len(strays):,} calls came that began from {strays['began'][0]} to"
                f" {strays['began'][-1]}, and they are not listed when asked for those seconds: ask"
                " the vendor which time, in which zone, start_date and end_date are compared with."
                " Of the days on which they began, calls may be missing, too"
            )

    def _is_listed_where_it_began(self, key: int, began: datetime) -> bool | None:
        """Whether the vendor lists a call when it is asked for the second in which it began; None
        where it does not say.
        """
        at = began.replace(microsecond=0)
        seen = self._listed_for(Window(at, at + SECOND))
        if seen is not None and key in seen.keys:
            return True
        if seen is None or len(seen) < seen.total:
            return None
        # One who leaves out the first or the last date lists nothing within a single one, or its
        # midnight.
        noon = datetime.combine(at.date(), time(12))
        within = Window(noon - timedelta(hours=11), noon + timedelta(hours=11))
        others = self._listed_for(within)
        if others is None or not others.began.is_between(within.start, within.end).any():
            return None
        return False

    def _listed_for(self, window: Window) -> Seen | None:
        """What one response lists for a window, to find out the vendor's ways; None where such a
        range is refused.
        """
        self._reader.tally.forgive()
        try:
            return self._reader.probe(window, limit=0)
        except Unauthorized:
            raise
        except Refused:
            return None

    def _doubt_by_days(self, reading: Reading) -> Reading:
        """As `_doubt_total`, where the vendor filters by the date alone: parts of a day tell
        nothing, but what is asked for are three dates, and each may be asked for by itself, or with
        the next.

        Where a round total is of one date, nobody can know. Raises TooMuch or Unsettled.
        """
        window = reading.window
        dates = days((window.start - SECOND).date(), window.end.date())
        most = {day: reading.on(day) for day in dates}
        noons = {day: datetime.combine(day, time(12)) for day in dates}
        parts = [(Window(noon, noon + SECOND), most[day]) for day, noon in noons.items()]
        # Two dates as well: one may be none for a vendor that leaves out the first or the last.
        parts += [(Window(noons[a], noons[b]), most[a] + most[b]) for a, b in pairwise(dates)]
        for part, known in parts:
            if self._reader.probe(part).total > known:
                self._suspect(reading, part, known)
        if reading.total % ROUNDEST_TOTAL == 0 and sum(count > 0 for count in most.values()) == 1:
            raise TooMuch(
                f"its total is {reading.total:,}, the vendor filters by the date alone, and so"
                " nothing tells whether totals stop there"
            )
        return reading

    def _suspect(self, reading: Reading, part: Window, most: int) -> None:
        """A part holds more than was received: a ceiling, unless something moved meanwhile."""
        now = self._reader.probe(reading.window).total
        if now != reading.total:
            raise Moved(f"its total moved from {reading.total:,} to {now:,}")
        if self._reader.probe(part).total <= most:
            raise Moved(f"{part} held more calls for a moment")
        self._limits.learn_ceiling(reading.total)
        raise TooMuch(f"its total stops at {reading.total:,}, its parts hold more")

    def _walk(self, window: Window, calls: float) -> list[Reading]:
        """Parts from start to end, each as long as it can be; `calls`: what the window may hold.

        Raises NotProved.
        """
        parts: list[Reading] = []
        ahead = _Ahead(window, calls)
        known = self._known()
        while ahead.at < window.end:
            ranges = math.ceil(self._window.length / self._limits.span)
            full = math.ceil(len(known) / min(self._limits.reach, self._limits.ceiling))
            self._reader.expect(len(known), besides=2 * max(ranges, full))
            part = ahead.part(self._aim, self._limits.span, known.times())
            try:
                reading = self._settle(part)
            except TooMuch as doubt:
                self._why = str(doubt)
                if part.length <= SECOND:
                    raise NotProved(f"not even the one second {part} can be proved") from None
                known = Records.of((known, self._reader.latest()))
                ahead.hold(part, doubt.total or 2 * self._aim)
            else:
                known = Records.of((known, self._reader.latest()))
                parts.append(reading)
                ahead.advance(part, reading.total)
        return parts

    def _settle(self, part: Window) -> Reading:
        """One part, proved. Raises TooMuch if a shorter one should be tried."""
        most = self._reach if part.length > SECOND else math.inf
        for _ in range(READINGS):
            try:
                reading = self._reader.read(part, most)
                if reading.total >= self._largest_total():
                    reading = self._doubt_total(reading)
                return reading
            except Unsettled as doubt:
                self._doubted(doubt)
        self._reach = min(self._reach, self._limits.rows)
        raise TooMuch(self._why)

    def _doubted(self, doubt: Unsettled) -> None:
        self._why = str(doubt)
        self._moving = self._moving or isinstance(doubt, Moved)

    def _largest_total(self) -> int:
        """A total below this is no ceiling."""
        return max((reading.total for reading in self._reader.readings), default=0)

    @property
    def _aim(self) -> float:
        """Calls that a part should hold."""
        return max(1.0, FILL * min(self._reach, self._limits.reach, self._limits.ceiling))

    def _known(self) -> Records:
        """Every record seen so far, whatever became of its reading."""
        return Records.of(reading.records for reading in self._reader.readings)


def inside(parts: list[Reading]) -> pl.Series:
    """The keys of the distinct records that belong to the parts which listed them, in order."""
    return Records.of(part.inside for part in parts).keys()
