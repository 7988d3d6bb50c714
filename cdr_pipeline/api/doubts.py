"""What makes a vendor's answer doubtful although it adds up, and how that is settled: a total that
may be a ceiling, and calls that may be listed elsewhere than where they began.

Each doubt costs a few requests for a total or a page, which are part of no reading.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import Final

import polars as pl

from cdr_pipeline.api.reading import (
    MINUTE,
    SECOND,
    Moved,
    Reader,
    Reading,
    Records,
    TooMuch,
    Torn,
)
from cdr_pipeline.errors import NotProved, Refused, Unavailable
from cdr_pipeline.page import Seen
from cdr_pipeline.window import Window, every_day

#: A total below this is no ceiling; a multiple of the second may be one however often it was not,
#: and one of the third is not believed where nothing else speaks for it.
SMALLEST_CEILING: Final = 10
_ROUND_TOTAL: Final = 100
_ROUNDEST_TOTAL: Final = 1000

#: Calls that all began within so many seconds (or minutes, where no less is told apart) are looked
#: for before and behind them.
_FEW: Final = 60

#: A cut tells where at least this share of the calls is on either side of it.
_BALANCED: Final = 0.25

#: A leg that is listed by its root's beginning began no later than this after it.
_LEG_AFTER_ROOT: Final = timedelta(hours=2)

#: As many legs of one root may have begun on the other side of a cut.
_LEGS_OF_A_ROOT: Final = 3


class Doubts:
    """Settles what is doubtful in the readings of one proof."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._limits = reader.limits

    def see_no_ceiling(self, reading: Reading) -> Reading:
        """See that a total is no ceiling: by halves, more calls would come to light.

        Both halves hold calls, so under a ceiling their totals add up to more. Asked only of
        round totals and of those larger than any seen to be honest. Returns the reading that
        stands: one that took a single response is made again, for that is as cheap as asking for
        its total, and shows what changed meanwhile. Raises TooMuch or Unsettled.
        """
        suspicious = reading.total % _ROUND_TOTAL == 0 or reading.total > self._limits.honest
        if reading.total < SMALLEST_CEILING or not suspicious:
            return reading
        self._reader.expect(reading.total)
        window, calls = reading.window, ByTime(reading)
        blur = blur_of(calls.times, window)
        cuts = calls.cuts(blur) if blur else []
        while blur and cuts and not calls.by_root:
            found = self._see_both_sides(calls, cuts.pop(0), blur)
            if found and found > blur:  # a cut tells less than it was taken to
                self._reader.tally.forgive(4)
                cuts = calls.cuts(found)
            blur = found
        if blur is None:
            return self._see_by_dates(reading)
        again = self._reader.read(window) if reading.pages == 1 else None
        now = again.total if again else self._reader.probe(window).total
        if now != reading.total:
            raise Moved(f"its total moved from {reading.total:,} to {now:,}")
        self._limits.honest = max(self._limits.honest, reading.total)
        return again or reading

    def see_none_behind(self, reading: Reading) -> Reading:
        """See that no other record stands behind a full page that was the last by its total. Of a
        total that counts less than is listed (root legs alone, or what was there a moment ago) any
        other last page brings too many. Returns the reading. Raises Moved or Torn.
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
        if seen.total != reading.total:
            raise Moved(f"its total moved from {reading.total:,} to {seen.total:,}")
        raise Torn(f"more records are listed than its total says, {reading.total:,}")

    def _see_both_sides(self, calls: "ByTime", cut: datetime, blur: timedelta) -> timedelta | None:
        """Hold the totals of both sides of a cut to what was received there. Returns how finely
        times are compared, as `blur_of`; None where the totals tell nothing. Raises TooMuch or
        Moved.
        """
        reading = calls.reading
        before, after = Window(reading.window.start, cut), Window(cut, reading.window.end)
        totals: list[int] = []
        for half in (before, after):
            seen = self._reader.probe(half)
            totals.append(seen.total)
            found = self._blur_of_half(calls, half, seen, blur)
            if found is None:
                return None
            blur, most = found, calls.most(half, found)
            if calls.allows(half, seen.total, blur):
                continue
            if half is before:
                totals.append(self._reader.probe(after).total)
            calls.by_root = self._stand_by_their_root(calls, totals, before, after, blur)
            if calls.by_root:
                return blur
            if seen.total > most:
                self._suspect(reading, half, most)
            if blur > SECOND:  # as a date may look by a lone call near midnight
                return None
            if not seen.total and self._reader.probe(reading.window).total == reading.total:
                return None  # as where a date is compared, and the first or the last left out
            raise Moved(f"{half} holds {seen.total:,} calls now")
        return blur

    def _stand_by_their_root(
        self,
        calls: "ByTime",
        totals: Sequence[int],
        before: Window,
        after: Window,
        blur: timedelta,
    ) -> bool:
        """Whether the calls that the half `before` a cut lists too many are missing from the half
        `after` it (`totals`: of both): legs, listed where their root began. Under a ceiling no half
        lists fewer than were received from it.

        Together the halves list all that were received, and at most those twice that either may
        list: calls at the cut, with a few legs each.
        """
        all_ = calls.reading.total
        twice = calls.most(before, blur) + calls.most(after, blur) - all_
        over = sum(totals) - all_
        return totals[1] < calls.least(after, blur) and 0 <= over <= _LEGS_OF_A_ROOT * twice

    def _blur_of_half(
        self, calls: "ByTime", half: Window, seen: Seen, least: timedelta
    ) -> timedelta | None:
        """`blur_of` for a half, whose first row was `seen`. Where its total is odd, its first page
        and its last row are asked for as well: if the vendor filters by the date, one of them holds
        rows of the other half.
        """
        blur = blur_of(seen.began, half, least)
        if blur is None or calls.allows(half, seen.total, blur):
            return blur
        if self._limits.blur is None:
            self._reader.tally.forgive(2)
            rows = [self._reader.probe(half, limit=0)]
            with suppress(Refused, Unavailable):  # too deep
                rows.append(self._reader.probe(half, offset=seen.total - 1))
            self._limits.blur = blur_of(pl.concat(some.began for some in rows), half, blur)
        return self._limits.blur and max(blur, self._limits.blur)

    def _see_by_dates(self, reading: Reading) -> Reading:
        """As `see_no_ceiling`, where the vendor filters by the date alone: parts of a day tell
        nothing, but what is asked for are three dates, and each may be asked for by itself, or with
        the next.

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
        now = self._reader.probe(reading.window).total
        if now != reading.total:
            raise Moved(f"its total moved from {reading.total:,} to {now:,}")
        if self._reader.probe(part).total <= most:
            raise Moved(f"{part} held more calls for a moment")
        self._limits.learn_ceiling(reading.total)
        raise TooMuch(f"its total stops at {reading.total:,}, its parts hold more")

    def see_none_left_out(self, records: Records, listed: pl.Series) -> None:
        """See that `records` of the window which are in none of its parts (`listed`: the keys that
        are) are gone; where that is not plain, they count as left out. One who compares whole
        minutes, and leaves out both ends of a range, lists no call in a part of less. Raises
        NotProved.
        """
        missed = records.without(listed)
        for key, began in missed[[0, -1]].iter_rows() if len(missed) else ():
            minute = began.replace(second=0, microsecond=0)
            around = self._listed_for(Window(minute - MINUTE, minute + 2 * MINUTE))
            if around is None:
                continue
            if key in around.records.frame["key"] or len(around.records) < around.total:
                raise NotProved(
                    f"{len(missed):,} calls came that none of the parts lists in which the rest is:"
                    f" one of them began at {began}. Ask the vendor how finely start_date and"
                    " end_date are compared, and whether they are included"
                )

    def see_none_elsewhere(self, records: Records, window: Window) -> None:
        """See why calls were listed that began far outside the window. A vendor who filters by the
        date alone, or lists a leg where its root began, leaves out none.

        One who compares other times than it writes (another zone's, or those of the end) lists the
        window's own calls outside of it, or does not list the others where they began: days would
        lack calls, and nothing else would tell. Raises NotProved.
        """
        times = records.times()
        if times.is_empty() or self._limits.strays:
            return
        late, early = times[-1] - window.end, window.start - times[0]
        if SECOND < early <= MINUTE:
            self._see_that_they_are_listed_for_the_minute_before(records, window)
        if MINUTE < late <= _LEG_AFTER_ROOT:
            self._see_that_others_are_listed_behind_it(window, late)
        if early <= MINUTE and late <= _LEG_AFTER_ROOT:
            return
        far = min(max(late, early), window.length - 2 * SECOND)
        self._see_own_at_the_other_end(records, window, far, at_start=late < early)
        began, calls = pl.col("began"), records.frame
        for strays in (
            calls.filter(began < window.start - MINUTE),
            calls.filter(began >= window.end + _LEG_AFTER_ROOT),
        ):
            if len(strays) > 1:  # one alone may have been given a wrong time
                self._see_that_they_are_listed_where_they_began(strays)

    def _see_that_they_are_listed_for_the_minute_before(
        self, records: Records, window: Window
    ) -> None:
        """See that calls from the minute before the window are listed for that minute, too: by one
        who compares whole minutes, not by one who finds a call by its end. Raises NotProved.
        """
        minute = Window(window.start - MINUTE, window.start)
        listed = self._listed_for(minute)
        if listed is None or len(listed.records) < listed.total:
            return
        strays = records.within(Window(minute.start, minute.end - SECOND))
        missed = strays.without(listed.records.keys())
        if len(missed) > 1:
            raise _found_by_another_time(missed)

    def _see_that_others_are_listed_behind_it(self, window: Window, late: timedelta) -> None:
        """See that calls are listed for the time behind the window (as far as `late` calls came
        from) that began within it. Where late legs are listed by their root, roots of that time are
        there, too; where dates are compared, the whole day is. One who compares another zone's
        times lists only what began later. Raises NotProved.
        """
        behind = Window(window.end, window.end + late)
        listed = self._listed_for(behind)
        times = (listed.records if listed else Records()).times()
        if len(times) > 1 and times[0] >= behind.end - SECOND:
            raise NotProved(
                f"calls came that began up to {late} after it, and all of the {len(times):,} that"
                " are listed for that time began later: ask the vendor in which zone start_date and"
                " end_date are compared"
            )

    def _see_own_at_the_other_end(
        self, records: Records, window: Window, far: timedelta, *, at_start: bool
    ) -> None:
        """See that the window's own calls are not listed for the time `far` behind it, where calls
        came from before it (`at_start`); else for the time before. Raises NotProved.
        """
        ends = (window.start - far, window.start), (window.end, window.end + far)
        listed = self._listed_for(Window(*ends[at_start]))
        if listed is None:
            return
        own = listed.records.within(Window(window.start + SECOND, window.end - SECOND))
        missed = len(own.without(records.keys()))
        if missed > len(listed.records) / 2:
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
            raise _found_by_another_time(strays)

    def _is_listed_where_it_began(self, key: int, began: datetime) -> bool | None:
        """Whether the vendor lists a call when it is asked for the second in which it began; None
        where it does not say.
        """
        at = began.replace(microsecond=0)
        listed = self._listed_for(Window(at, at + SECOND))
        if listed and key in listed.records.frame["key"]:
            return True
        if listed is None or len(listed.records) < listed.total:
            return None
        # One who leaves out the first or the last date lists nothing within a single one, or its
        # midnight.
        noon = datetime.combine(at.date(), time(12))
        within = Window(noon - timedelta(hours=11), noon + timedelta(hours=11))
        others = self._listed_for(within)
        if others is None or not others.records.times().is_between(within.start, within.end).any():
            return None
        return False

    def _listed_for(self, window: Window) -> Reading | None:
        """What one response lists for a window; None where such a range is refused."""
        seen = self._reader.find_out(window, limit=0)
        return None if seen is None else Reading.of(window, seen)


class ByTime:
    """The calls of a reading by their times: where to cut it, and what a part may hold."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.times = reading.records.times()
        #: How many there are of which nobody knows when they began.
        self._unknown = len(reading.records) - len(self.times)
        #: Whether legs were seen to be listed where their root began: no other cut tells more then.
        self.by_root = False

    def cuts(self, blur: timedelta) -> list[datetime]:
        """Where to halve the window so that calls which were not listed come to light: so that some
        of those received lie on either side, farther from the cut than `blur`.

        Best in a gap near the middle call; where there is no gap, at the middle call; where all
        calls began within a short time, just before and just behind them. At a full minute where
        that will do: a vendor may compare no finer. Where calls began right beside such a cut, as
        many that were not listed would pass for them; so then on both sides of a second in which
        none began, too.
        """
        times = self.times
        if times.is_empty():
            return []
        middle = times[len(times) // 2].replace(microsecond=0)
        seconds = times.dt.truncate("1s").unique(maintain_order=True)
        quiet = seconds.filter(seconds.diff(-1) < -2 * blur) + blur + SECOND
        if len(quiet):
            cuts = [_nearest(quiet, middle)]
        elif seconds[-1] - seconds[0] > _FEW * blur:
            cuts = [middle]
        else:
            cuts = [seconds[0] - blur + SECOND, seconds[-1] + blur]
        cuts = [_at_a_minute(cut, times) for cut in cuts]
        beside = [at for cut in cuts for at in (cut - SECOND, cut)]
        if blur == SECOND and seconds.is_in(beside).any():
            cuts += _around_an_empty_second(seconds, middle)
        inside = [at for at in cuts if self.reading.window.start < at < self.reading.window.end]
        half = (self.reading.window.start + self.reading.window.length / 2).replace(microsecond=0)
        return inside or [half] * (self.reading.window.start < half)

    def on(self, day: date) -> int:
        """The most calls that the vendor may count on one date."""
        return int((self.times.dt.date() == day).sum()) + self._unknown

    def allows(self, half: Window, total: int, blur: timedelta) -> bool:
        """Whether a half's total can be right, whatever bounds include at this vendor.

        At the window's own end it counts as it did in the reading. At the cut, the calls of the
        second before or after it may be in or out, but all of them alike; where bounds are more
        blurred than that, any of them.
        """
        if blur > SECOND:
            return self.least(half, blur) <= total <= self.most(half, blur)
        counts = (self.least(half, blur), self._in_half(half, blur))
        return any(count <= total <= count + self._unknown for count in counts)

    def most(self, half: Window, blur: timedelta) -> int:
        """The most calls that the vendor may count in a half."""
        return self._in_half(half, blur) + self._unknown

    def least(self, half: Window, blur: timedelta) -> int:
        """The fewest calls that it may count there."""
        return self._in_half(half, -blur if blur > SECOND else 0 * SECOND)

    def _in_half(self, half: Window, over: timedelta) -> int:
        """How many of the calls are in a half of the window, or so little over the cut."""
        if half.start == self.reading.window.start:
            return int(self.times.search_sorted(half.end + over))
        return len(self.times) - int(self.times.search_sorted(half.start - over))


def _found_by_another_time(strays: pl.DataFrame) -> NotProved:
    return NotProved(
        f"{len(strays):,} calls came that began from {strays['began'][0]} to"
        f" {strays['began'][-1]}, and they are not listed when asked for then: ask the vendor which"
        " time, in which zone, start_date and end_date are compared with. Of the days on which they"
        " began, calls may be missing, too"
    )


def blur_of(began: pl.Series, window: Window, least: timedelta = SECOND) -> timedelta | None:
    """How finely a vendor who listed these calls for a window compares times: to the second, to the
    minute, or None: by the date at best. `least`: it is known to compare no finer than this.
    """
    for blur in (least, MINUTE):
        near = began.is_between(window.start - blur, window.end + blur - SECOND)
        if near.fill_null(True).all():
            return blur
    return None


def _around_an_empty_second(seconds: pl.Series, middle: datetime) -> list[datetime]:
    """The two sides of a second in which no call began, near the middle one: whatever bounds
    include, the calls before the first are told exactly, and those behind the second. Where every
    second has calls, one cut clear before all of them and one behind.
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
