"""Whether a total that adds up can be believed: it may stop at a ceiling, count too few, or be that
of a bad moment.

Under a ceiling a vendor says 10,000, however many calls match, and lists no more. A reading then
receives as many records as the total says, and calls are missing. So the window is cut in two and
each half is asked for its total: under a ceiling, the halves together hold more than the whole.

Vendors compare times in different ways: to the second, to the minute or by the date alone, and with
or without the ends of a range. So it is found out how finely this one compares
(`resolution_of`), and the total of a half may be whatever that allows (`ByTime`).

All of this costs a few requests for a total or a page, which are part of no reading.
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

#: A multiple of this may be a ceiling, however large the totals were that were none.
_ROUND_TOTAL: Final = 100

#: A multiple of this is not believed where nothing else speaks for it.
_ROUNDEST_TOTAL: Final = 1000

#: Where all calls began within so many seconds (or minutes, if the vendor compares minutes), the
#: window is cut just before and just behind them.
_FEW: Final = 60

#: A cut is good where at least this share of the calls is on either side of it.
_BALANCED: Final = 0.25

#: So many legs of one root may have begun on the other side of a cut.
_LEGS_OF_A_ROOT: Final = 3


class Ceilings:
    """Checks the totals of one proof's readings."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._limits = reader.limits

    def see_no_ceiling(self, reading: Reading) -> Reading:
        """See that a total is no ceiling: that both halves of the window hold no more than came.

        Asked only of round totals, and of those larger than any that was seen to be honest.
        Returns the reading that counts. One that took a single response is made again: that costs
        as much as asking for its total, and shows what changed. Raises TooMuch or Unsettled.
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
            if found and found > resolution:  # the cut was made for a finer one: cut anew
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
        """See that no record is listed behind a last page that was full.

        A total may count less than is listed: root legs alone, say. Where the last page is not
        full, too many records came and the reading has failed; where it is full, they are behind
        it. Returns the reading. Raises Moved or Torn.
        """
        if not reading.behind:
            return reading
        try:
            seen = self._reader.probe(reading.window, offset=reading.behind)
        except (Refused, Unavailable):  # as an offset may be at which nothing stands
            return reading
        behind = Reading.of(reading.window, seen, reading.behind)
        if behind.records.keys().is_in(reading.records.keys().implode()).all():
            return reading
        reading.see_unmoved(seen.total)
        raise Torn(f"more records are listed than its total says, {reading.total:,}")

    def see_none_lost(self, reading: Reading) -> Reading:
        """See that one response which lists nothing, or fewer calls than came before, is no bad
        moment of the vendor's: within a single one, no total stands still. Returns the reading.
        Raises Moved.
        """
        if reading.pages > 1:
            return reading
        before = self._reader.readings
        if not reading.total or any(len(one.records) > len(reading.records) for one in before):
            reading.see_unmoved(self._reader.probe(reading.window).total)
        return reading

    def _see_both_sides(
        self, calls: "ByTime", cut: datetime, resolution: timedelta
    ) -> timedelta | None:
        """Compare the totals on both sides of a cut with what was received there.

        Returns how finely times are compared, as `resolution_of`; None where the totals tell
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
            resolution = found or resolution  # of legs with their root it says nothing
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
            if resolution > SECOND:  # dates may look like minutes, by a lone call near midnight
                return None
            if not seen.total and self._reader.probe(reading.window).total == reading.total:
                return None  # as where a date is compared, and the first or the last left out
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
        """Whether legs are listed where their root began. Then the half `before` the cut lists
        legs that began behind it, and the half `after` lacks them (`totals`: of both). Under a
        ceiling no half lists fewer than were received from it.

        Together the halves then list every call once, and some near the cut twice: those that
        either half may list, with a few legs each.
        """
        all_ = calls.reading.total
        twice = calls.most(before, resolution) + calls.most(after, resolution) - all_
        over = sum(totals) - all_
        return totals[1] < calls.least(after, resolution) and 0 <= over <= _LEGS_OF_A_ROOT * twice

    def _resolution_of_half(
        self, calls: "ByTime", half: Window, seen: Seen, finest: timedelta
    ) -> timedelta | None:
        """`resolution_of` for a half, whose first row was `seen`. Where its total is odd, its first
        page and its last row are asked for as well: if the vendor filters by the date, one of them
        holds rows of the other half.
        """
        resolution = resolution_of(seen.began, half, finest)
        if resolution is None or calls.allows(half, seen.total, resolution):
            return resolution
        if self._limits.resolution is None:
            self._reader.tally.forgive(2)
            rows = [self._reader.probe(half, limit=0)]
            with suppress(Refused, Unavailable):  # too deep
                rows.append(self._reader.probe(half, offset=seen.total - 1))
            began = pl.concat(some.began for some in rows)
            self._limits.resolution = resolution_of(began, half, resolution)
        return self._limits.resolution and max(resolution, self._limits.resolution)

    def _goes_by_dates(self, half: Window, total: int, *, at_start: bool) -> bool:
        """Whether the vendor looks at the dates of a range alone: then the outermost second of a
        half, which has the same dates, holds the same `total`.
        """
        start, end = half.start, half.end
        outermost = Window(start, start + SECOND) if at_start else Window(end - SECOND, end)
        return self._reader.probe(outermost).total == total

    def _see_by_dates(self, reading: Reading) -> Reading:
        """As `see_no_ceiling`, where the vendor filters by the date alone: it lists the same for
        every part of a day. But a day is asked for with a second more on either side, so the
        vendor lists three dates, and each can be asked for by itself, or with the next.

        Where a round total is of one date, nobody can know. Raises TooMuch or Unsettled.
        """
        window, calls = reading.window, ByTime(reading)
        dates = every_day((window.start - SECOND).date(), window.end.date())
        most = {day: calls.on(day) for day in dates}
        noons = {day: datetime.combine(day, time(12)) for day in dates}
        parts = [(Window(noon, noon + SECOND), most[day]) for day, noon in noons.items()]
        # Two dates as well: one may be none for a vendor that leaves out the first or the last.
        # By the seconds around midnight: long ranges may be refused.
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
        """A part holds more than was received: a ceiling, unless something moved meanwhile."""
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
        #: How many calls have no time that can be read.
        self._unknown = len(reading.records) - len(self.times)
        #: Whether legs were seen to be listed where their root began: then no other cut tells more.
        self.by_root = False

    def cuts(self, resolution: timedelta) -> list[datetime]:
        """Where to halve the window: calls that were received lie on either side, farther from the
        cut than `resolution`, so that those that were not listed come to light.

        Best is a gap near the middle call; where there is none, the middle call; where all calls
        began within a short time, just before and just behind them. A full minute is taken where
        one will do, since a vendor may compare no finer. Calls right beside a cut may be counted in
        either half, and would hide as many that were not listed: then the window is also cut on
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

        At the window's own end it counts as it did in the reading. At the cut, the calls of the
        second before or after it may be in or out, but all of them alike; where times are compared
        less finely than that, any of them may.
        """
        if resolution > SECOND:
            return self.least(half, resolution) <= total <= self.most(half, resolution)
        counts = (self.least(half, resolution), self._in_half(half, resolution))
        return any(count <= total <= count + self._unknown for count in counts)

    def most(self, half: Window, resolution: timedelta) -> int:
        """The most calls that the vendor may count in a half."""
        return self._in_half(half, resolution) + self._unknown

    def least(self, half: Window, resolution: timedelta) -> int:
        """The fewest calls that it may count there."""
        return self._in_half(half, -resolution if resolution > SECOND else 0 * SECOND)

    def _in_half(self, half: Window, over: timedelta) -> int:
        """How many of the calls are in a half of the window, or so little over the cut."""
        if half.start == self.reading.window.start:
            return int(self.times.search_sorted(half.end + over))
        return len(self.times) - int(self.times.search_sorted(half.start - over))


def resolution_of(began: pl.Series, window: Window, finest: timedelta = SECOND) -> timedelta | None:
    """How finely a vendor compares times, by the calls that it listed for a window: to the second,
    to the minute, or None: by the date at best. `finest`: it is known to compare no finer.
    """
    for resolution in (finest, MINUTE):
        near = began.is_between(window.start - resolution, window.end + resolution - SECOND)
        if near.fill_null(True).all():
            return resolution
    return None


def _around_an_empty_second(seconds: pl.Series, middle: datetime) -> list[datetime]:
    """The two sides of a second near the middle call in which no call began: whichever ends of a
    range count, it is certain how many calls are before the first and how many behind the second.
    Where every second has calls, one cut clear before all of them and one clear behind.
    """
    empty = seconds.filter(seconds.diff(-1) < -SECOND) + SECOND
    if empty.is_empty():
        return [seconds[0] - SECOND, seconds[-1] + 2 * SECOND]
    at = _nearest(empty, middle)
    return [at, at + SECOND]


def _nearest(times: pl.Series, to: datetime) -> datetime:
    """The one of some times that is nearest to another."""
    found: datetime = times[(times - to).abs().arg_min()]  # type: ignore[assignment]  # no empty one
    return found


def _at_a_minute(cut: datetime, times: pl.Series) -> datetime:
    """The full minute before a cut, if it has enough of the calls on either side (`_BALANCED`)."""
    minute = cut.replace(second=0)
    share = times.search_sorted(minute) / len(times)
    return minute if _BALANCED <= share <= 1 - _BALANCED else cut
