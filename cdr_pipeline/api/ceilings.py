"""Checks whether a total that adds up is right: it may stop at a ceiling, count too few calls, or
come from a bad moment of the vendor.

A vendor with a ceiling reports 10,000, however many calls match, and lists no more. A reading then
receives as many records as the total says, although calls are missing. So the window is cut in two
and the vendor is asked for the total of each half: under a ceiling, the two halves together hold
more calls than the whole.

Vendors compare times to the second, to the minute or by the date alone, and include or exclude the
ends of a range. So `resolution_of` finds out how finely this vendor compares, and `ByTime` accepts
every total of a half that this allows.

These checks cost a few requests for a total or a page. They are part of no reading.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import Final

import polars as pl

from cdr_pipeline.api.reading import MINUTE, SECOND, Moved, Reader, Reading, TooMuch, Torn
from cdr_pipeline.errors import Refused, Unavailable
from cdr_pipeline.page import Seen
from cdr_pipeline.window import Window, every_day

#: No total below this is a ceiling.
SMALLEST_CEILING: Final = 10

#: A multiple of this may be a ceiling, even if larger totals were seen that were no ceiling.
_ROUND_TOTAL: Final = 100

#: A multiple of this is not believed without other evidence.
_ROUNDEST_TOTAL: Final = 1000

#: If all calls began within so many seconds (or minutes, if the vendor compares minutes), the
#: window is cut just before and just after them.
_FEW: Final = 60

#: A cut is good if at least this share of the calls is on each side of it.
_BALANCED: Final = 0.25

#: The most legs of one root that may have begun on the other side of a cut.
_LEGS_OF_A_ROOT: Final = 3


class Ceilings:
    """Checks the totals of one proof's readings."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._limits = reader.limits

    def see_no_ceiling(self, reading: Reading) -> Reading:
        """Check that a total is no ceiling: both halves of the window hold no more than was read.

        Checks only round totals, and totals larger than the largest that was seen to be no ceiling.
        Returns the reading that counts. A reading of a single response is repeated: this costs as
        much as to ask for its total, and shows what changed. Raises TooMuch or Unsettled.
        """
        suspicious = reading.total % _ROUND_TOTAL == 0 or reading.total > self._limits.honest
        if reading.total < SMALLEST_CEILING or not suspicious:
            return reading
        self._reader.expect(reading.total, besides=2)  # eight halves, and itself once more
        window, calls = reading.window, ByTime(reading)
        resolution = resolution_of(calls.times, window)
        cuts = calls.cuts(resolution) if resolution else []
        while resolution and cuts and not calls.by_root:
            found = self._see_both_sides(calls, cuts.pop(0), resolution)
            if found and found > resolution:  # the cut was made for a finer resolution: cut again
                self._reader.tally.forgive(4)
                cuts = calls.cuts(found)
            resolution = found
        if resolution is None:
            return self._see_by_dates(reading)
        again = self._reader.read(window) if reading.pages == 1 else None
        reading.see_unmoved((again or self._reader.probe(window)).total)
        self._limits.honest = max(self._limits.honest, reading.total)
        return again or reading

    def see_none_behind(self, reading: Reading) -> Reading:
        """Check that no record is listed behind a last page that was full.

        A total may count fewer records than are listed, for example only root legs. If the last
        page is not full, too many records came and the reading has already failed. If it is full,
        the other records are behind it. Returns the reading. Raises Moved or Torn.
        """
        if not reading.behind:
            return reading
        try:
            seen = self._reader.probe(reading.window, offset=reading.behind)
        except (Refused, Unavailable):  # a vendor may refuse an offset that has no rows
            return reading
        behind = Reading.of(reading.window, seen, reading.behind)
        if behind.records.keys().is_in(reading.records.keys().implode()).all():
            return reading
        reading.see_unmoved(seen.total)
        raise Torn(f"more records are listed than its total says, {reading.total:,}")

    def see_none_lost(self, reading: Reading) -> Reading:
        """Check a reading of a single response that lists nothing, or fewer calls than an earlier
        reading: a single response cannot show that the total stood still, so the total is asked for
        again. Returns the reading. Raises Moved or TooMuch.
        """
        if reading.pages > 1:
            return reading
        before = self._reader.readings
        if not reading.total:
            self._see_empty(reading)
        elif any(len(one.records) > len(reading.records) for one in before):
            reading.see_unmoved(self._reader.probe(reading.window).total)
        return reading

    def _see_empty(self, reading: Reading) -> None:
        """Check that a window without calls has none in a range that is a second shorter: for a
        day, this is a request for 24 hours and no more. A vendor may answer a longer range without
        calls, as it does a request without `limit` (API.md). Raises Moved or, the second time,
        TooMuch.
        """
        window = reading.window
        total = self._reader.probe(Window(window.start + SECOND, window.end)).total
        if total and len(self._reader.readings) > 1:
            self._limits.learn_span(window.length)
            raise TooMuch(f"a range of {window.length} lists nothing", total)
        reading.see_unmoved(total)

    def _see_both_sides(
        self, calls: "ByTime", cut: datetime, resolution: timedelta
    ) -> timedelta | None:
        """Compare the totals on both sides of a cut with the calls that were received there.

        Returns how finely the vendor compares times, as `resolution_of`; None if the totals prove
        nothing. Raises TooMuch or Moved.
        """
        reading = calls.reading
        before, after = Window(reading.window.start, cut), Window(cut, reading.window.end)
        totals: list[int] = []
        for half in (before, after):
            seen = self._reader.probe(half)
            totals.append(seen.total)
            found = self._resolution_of_half(calls, half, seen, resolution)
            if found is None and self._goes_by_dates(half, seen.total, at_start=half is before):
                return None
            resolution = found or resolution  # None also if legs are listed with their root
            most = calls.most(half, resolution)
            if calls.allows(half, seen.total, resolution):
                continue
            if half is before:
                totals.append(self._reader.probe(after).total)
            calls.by_root = self._stand_by_their_root(calls, totals, before, after, resolution)
            if calls.by_root:
                return resolution
            if seen.total > most:
                self._suspect(reading, half, most)
            if resolution > SECOND:  # a single call near midnight makes dates look like minutes
                return None
            if not seen.total and self._reader.probe(reading.window).total == reading.total:
                return None  # the vendor may compare dates, and exclude the first or the last
            raise Moved(f"{half} holds {seen.total:,} calls now")
        return resolution

    def _stand_by_their_root(
        self,
        calls: "ByTime",
        totals: Sequence[int],
        before: Window,
        after: Window,
        resolution: timedelta,
    ) -> bool:
        """Whether the vendor lists legs where their root began. Then the half `before` the cut
        lists legs that began behind the cut, and the half `after` lacks them (`totals`: of both
        halves). Under a ceiling, no half lists fewer calls than were received from it.

        The two halves together then list every call once, and some calls near the cut twice: the
        calls that either half may list, with a few legs each.
        """
        all_ = calls.reading.total
        twice = calls.most(before, resolution) + calls.most(after, resolution) - all_
        over = sum(totals) - all_
        return totals[1] < calls.least(after, resolution) and 0 <= over <= _LEGS_OF_A_ROOT * twice

    def _resolution_of_half(
        self, calls: "ByTime", half: Window, seen: Seen, finest: timedelta
    ) -> timedelta | None:
        """`resolution_of` for a half, whose first row was `seen`. If the total of the half does not
        fit, its first page and its last row are asked for as well: if the vendor filters by the
        date, one of these holds rows of the other half.
        """
        resolution = resolution_of(seen.began, half, finest)
        if resolution is None or calls.allows(half, seen.total, resolution):
            return resolution
        if self._limits.resolution is None:
            self._reader.tally.forgive(2)
            rows = [self._reader.probe(half, limit=0)]
            with suppress(Refused, Unavailable):  # the offset may be too deep
                rows.append(self._reader.probe(half, offset=seen.total - 1))
            began = pl.concat(row.began for row in rows)
            self._limits.resolution = resolution_of(began, half, resolution)
        return self._limits.resolution and max(resolution, self._limits.resolution)

    def _goes_by_dates(self, half: Window, total: int, *, at_start: bool) -> bool:
        """Whether the vendor compares only the dates of a range: then the outermost second of a
        half, which has the same dates, has the same `total`.
        """
        start, end = half.start, half.end
        outermost = Window(start, start + SECOND) if at_start else Window(end - SECOND, end)
        return self._reader.probe(outermost).total == total

    def _see_by_dates(self, reading: Reading) -> Reading:
        """As `see_no_ceiling`, for a vendor that filters by the date alone: it lists the same calls
        for every part of a day. But the query of a day has one more second on each side, so the
        vendor lists three dates. Each date can be asked for by itself, or with the next date.

        If all calls of a round total are of one date, nothing can prove it. Raises TooMuch or
        Unsettled.
        """
        window, calls = reading.window, ByTime(reading)
        dates = every_day((window.start - SECOND).date(), window.end.date())
        most = {day: calls.on(day) for day in dates}
        noons = {day: datetime.combine(day, time(12)) for day in dates}
        parts = [(Window(noon, noon + SECOND), most[day]) for day, noon in noons.items()]
        # Pairs of dates as well: a vendor that excludes the first or the last date lists nothing
        # for one date. The range is two seconds around midnight, since long ranges may be refused.
        for a, b in pairwise(dates):
            midnight = Window.of(b).start
            parts.append((Window(midnight - SECOND, midnight + SECOND), most[a] + most[b]))
        for part, known in parts:
            if self._reader.probe(part).total > known:
                self._suspect(reading, part, known)
        if reading.total % _ROUNDEST_TOTAL == 0 and sum(count > 0 for count in most.values()) == 1:
            raise TooMuch(
                f"its total is {reading.total:,}, the vendor filters by the date alone, and so"
                " nothing tells whether totals stop there"
            )
        return reading

    def _suspect(self, reading: Reading, part: Window, most: int) -> None:
        """A part holds more calls than were received: a ceiling, unless calls changed in between.

        Always raises: TooMuch or Moved.
        """
        reading.see_unmoved(self._reader.probe(reading.window).total)
        if self._reader.probe(part).total <= most:
            raise Moved(f"{part} held more calls for a moment")
        self._limits.learn_ceiling(reading.total)
        raise TooMuch(f"its total stops at {reading.total:,}, its parts hold more")


class ByTime:
    """The calls of a reading by their times: where to cut it, and what a half may hold."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.times = reading.records.times()
        #: How many calls have no readable time.
        self._unknown = len(reading.records) - len(self.times)
        #: Whether the vendor lists legs where their root began: then no other cut shows more.
        self.by_root = False

    def cuts(self, resolution: timedelta) -> list[datetime]:
        """Where to cut the window in two: received calls lie on both sides, farther from the cut
        than `resolution`, so that calls which were not listed show in the totals.

        The best cut is a gap near the middle call; without a gap, the middle call; if all calls
        began within a short time, just before and just after them. A full minute is preferred,
        since a vendor may compare no finer. The vendor may count calls next to a cut in either
        half, and they would hide as many calls that were not listed: then the window is also cut on
        both sides of a second in which no call began.
        """
        times = self.times
        if times.is_empty():
            return []
        middle = times[len(times) // 2].replace(microsecond=0)
        seconds = times.dt.truncate("1s").unique(maintain_order=True)
        quiet = seconds.filter(seconds.diff(-1) < -2 * resolution) + resolution + SECOND
        if len(quiet):
            cuts = [_nearest(quiet, middle)]
        elif seconds[-1] - seconds[0] > _FEW * resolution:
            cuts = [middle]
        else:
            cuts = [seconds[0] - resolution + SECOND, seconds[-1] + resolution]
        cuts = [_at_a_minute(cut, times) for cut in cuts]
        beside = [at for cut in cuts for at in (cut - SECOND, cut)]
        if resolution == SECOND and seconds.is_in(beside).any():
            cuts += _around_an_empty_second(seconds, middle)
        inside = [at for at in cuts if self.reading.window.start < at < self.reading.window.end]
        half = (self.reading.window.start + self.reading.window.length / 2).replace(microsecond=0)
        return inside or [half] * (self.reading.window.start < half)

    def on(self, day: date) -> int:
        """The most calls that the vendor may count on one date."""
        return int((self.times.dt.date() == day).sum()) + self._unknown

    def allows(self, half: Window, total: int, resolution: timedelta) -> bool:
        """Whether a half's total can be right, whichever ends of a range this vendor includes.

        At the window's own end the vendor counts as it did in the reading. At the cut, it counts
        all or none of the calls in the second next to the cut; if it compares times less finely
        than seconds, it may count any of them.
        """
        if resolution > SECOND:
            return self.least(half, resolution) <= total <= self.most(half, resolution)
        counts = (self.least(half, resolution), self._in_half(half, resolution))
        return any(count <= total <= count + self._unknown for count in counts)

    def most(self, half: Window, resolution: timedelta) -> int:
        """The most calls that the vendor may count in a half."""
        return self._in_half(half, resolution) + self._unknown

    def least(self, half: Window, resolution: timedelta) -> int:
        """The fewest calls that the vendor may count in a half."""
        return self._in_half(half, -resolution if resolution > SECOND else 0 * SECOND)

    def _in_half(self, half: Window, over: timedelta) -> int:
        """How many calls are in a half of the window, if the half reaches `over` across the cut."""
        if half.start == self.reading.window.start:
            return int(self.times.search_sorted(half.end + over))
        return len(self.times) - int(self.times.search_sorted(half.start - over))


def resolution_of(began: pl.Series, window: Window, finest: timedelta = SECOND) -> timedelta | None:
    """How finely a vendor compares times, judged by the calls that it listed for a window: to the
    second, to the minute, or None: at best by the date. `finest`: the finest that is possible.
    """
    for resolution in (finest, MINUTE):
        near = began.is_between(window.start - resolution, window.end + resolution - SECOND)
        if near.fill_null(True).all():
            return resolution
    return None


def _around_an_empty_second(seconds: pl.Series, middle: datetime) -> list[datetime]:
    """The start and the end of a second near the middle call in which no call began. It is certain
    how many calls are before the start and how many after the end, whichever ends of a range the
    vendor includes. If every second has calls: one cut before all of them and one after.
    """
    empty = seconds.filter(seconds.diff(-1) < -SECOND) + SECOND
    if empty.is_empty():
        return [seconds[0] - SECOND, seconds[-1] + 2 * SECOND]
    at = _nearest(empty, middle)
    return [at, at + SECOND]


def _nearest(times: pl.Series, to: datetime) -> datetime:
    """The time that is nearest to another."""
    found: datetime = times[(times - to).abs().arg_min()]  # type: ignore[assignment]  # no empty one
    return found


def _at_a_minute(cut: datetime, times: pl.Series) -> datetime:
    """The full minute before a cut, if enough calls are on each side (`_BALANCED`), or the cut."""
    minute = cut.replace(second=0)
    share = times.search_sorted(minute) / len(times)
    return minute if _BALANCED <= share <= 1 - _BALANCED else cut
