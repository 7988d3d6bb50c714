"""Finds calls that the vendor lists for another time than the one they began at, or nowhere.

A vendor may compare other times than those it writes: the times of another zone, or the times at
which calls ended. It then lists for a day calls that began on other days, and those days lack them,
although every total adds up. Other calls from outside a window are harmless, since none is left
out: a vendor that filters by the date lists all of the dates next to the day, and some vendors list
a leg with its root.

So if calls came from far outside the window, the vendor is asked for the time at which they began.
If it does not list them there, the day is not proved.

These checks cost a few requests, which are part of no reading.
"""

from datetime import datetime, time, timedelta
from typing import Final

import polars as pl

from cdr_pipeline.api.reading import MINUTE, SECOND, Reader, Reading
from cdr_pipeline.api.records import Records
from cdr_pipeline.errors import NotProved
from cdr_pipeline.window import Window

#: A leg that is listed with its root began at most this long after the root.
_LEG_AFTER_ROOT: Final = timedelta(hours=2)


class Strays:
    """Looks for calls of one proof that are listed for another time, or that the window lacks."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._limits = reader.limits

    def see_none_left_out(self, records: Records, listed: pl.Series) -> None:
        """Check that the vendor no longer has those `records` of the window that none of its parts
        lists (`listed`: the keys that the parts list). If this is not certain, the records count as
        left out: a vendor that compares whole minutes, and excludes both ends of a range, lists
        nothing for a part of less than a minute. Raises NotProved.
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

    def see_not_listed(self, gone: pl.DataFrame) -> None:
        """Check that the vendor does not list calls that are `gone` for the second in which they
        began; asks for the first and the last of them. Raises NotProved.
        """
        for key, began in gone[[0, -1]].unique().iter_rows() if len(gone) else ():
            at = began.replace(microsecond=0)
            listed = self._listed_for(Window(at, at + SECOND))
            if listed and key in listed.records.frame["key"]:
                raise NotProved(
                    f"{len(gone):,} calls came that were no longer listed in the end, and one of"
                    f" them, which began at {began}, is listed again: one of the vendor's machines"
                    " may lag behind another"
                )

    def see_none_elsewhere(self, records: Records, window: Window) -> None:
        """Check that calls from far outside the window were listed for a harmless reason, and that
        the window does not lack calls of its own. Raises NotProved.
        """
        times = records.times()
        if times.is_empty() or self._limits.strays:
            return
        late, early = times[-1] - window.end, window.start - times[0]
        if SECOND < early <= MINUTE:
            self._see_minute_before(records, window)
        if MINUTE < late <= _LEG_AFTER_ROOT:
            self._see_others_behind(window, late)
        if early <= MINUTE and late <= _LEG_AFTER_ROOT:
            return
        far = min(max(late, early), window.length - 2 * SECOND)
        self._see_own_at_the_other_end(records, window, far, at_start=late < early)
        began, calls = pl.col("began"), records.frame
        for strays in (
            calls.filter(began < window.start - MINUTE),
            calls.filter(began >= window.end + _LEG_AFTER_ROOT),
        ):
            if len(strays) > 1:  # a single call may have a wrong time
                self._see_listed_where_they_began(strays)

    def _see_minute_before(self, records: Records, window: Window) -> None:
        """Check that calls from the minute before the window are listed for that minute as well. A
        vendor that compares whole minutes lists them there; a vendor that finds calls by their end
        does not. Raises NotProved.
        """
        minute = Window(window.start - MINUTE, window.start)
        listed = self._listed_for(minute)
        if listed is None or len(listed.records) < listed.total:
            return
        strays = records.within(Window(minute.start, minute.end - SECOND))
        missed = strays.without(listed.records.keys())
        if len(missed) > 1:
            raise _found_by_another_time(missed)

    def _see_others_behind(self, window: Window, late: timedelta) -> None:
        """Check that the time from the window's end to the latest call (`late`) has calls of its
        own. If the vendor lists late legs with their root, this time has its own roots; if it
        compares dates, it lists the whole day. A vendor that compares the times of another zone
        lists only calls that began later. Raises NotProved.
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
        """Check that the window's own calls are not listed for the time next to it. If calls came
        from before the window (`at_start`), its own calls would be listed for the time of length
        `far` after it; else for the time before it. Raises NotProved.
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

    def _see_listed_where_they_began(self, strays: pl.DataFrame) -> None:
        """Check that calls from outside the window are listed for their own time as well; asks for
        the first and the last of them. Raises NotProved.
        """
        listed = [self._is_listed_where_it_began(*strays.row(at)) for at in (0, -1)]
        self._limits.strays = self._limits.strays or True in listed
        if all(one is False for one in listed):
            raise _found_by_another_time(strays)

    def _is_listed_where_it_began(self, key: int, began: datetime) -> bool | None:
        """Whether the vendor lists a call for the second in which it began; None if its answer
        shows neither.
        """
        at = began.replace(microsecond=0)
        listed = self._listed_for(Window(at, at + SECOND))
        if listed and key in listed.records.frame["key"]:
            return True
        if listed is None or len(listed.records) < listed.total:
            return None
        # A vendor that excludes the first or the last date lists nothing for a range within one
        # date, or at its midnight: so see whether it lists anything within this date.
        noon = datetime.combine(at.date(), time(12))
        within = Window(noon - timedelta(hours=11), noon + timedelta(hours=11))
        others = self._listed_for(within)
        if others is None or not others.records.times().is_between(within.start, within.end).any():
            return None
        return False

    def _listed_for(self, window: Window) -> Reading | None:
        """The records of one response for a window; None if the vendor refuses the range."""
        seen = self._reader.find_out(window, limit=0)
        return None if seen is None else Reading.of(window, seen)


def _found_by_another_time(strays: pl.DataFrame) -> NotProved:
    return NotProved(
        f"{len(strays):,} calls came that began from {strays['began'][0]} to"
        f" {strays['began'][-1]}, and they are not listed when asked for then: ask the vendor which"
        " time, in which zone, start_date and end_date are compared with. Of the days on which they"
        " began, calls may be missing, too"
    )
