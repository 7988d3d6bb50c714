"""Windows of the vendor's wall clock, and ranges of days."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, date, datetime, time, timedelta
from typing import Final, Self
from zoneinfo import ZoneInfo

#: The most hours that are searched for a change of the zone's offset.
_MOST_HOURS: Final = 7 * 24


def steady_offset(first: datetime, last: datetime, zone: ZoneInfo) -> timedelta | None:
    """The zone's offset from UTC, if it is the same from a day before `first` to a day after `last`
    (both in its wall clock). None if it changes, if all this time is longer than a week, or if it
    ends in the year 9999.
    """
    hours = (last - first) // timedelta(hours=1) + 48
    if hours > _MOST_HOURS or last.year == MAXYEAR:
        return None
    before = (first - timedelta(days=1)).replace(tzinfo=zone)
    offsets = {(before + timedelta(hours=hour)).utcoffset() for hour in range(hours + 1)}
    return offsets.pop() if len(offsets) == 1 else None


@dataclass(frozen=True)
class Window:
    """The time from `start` up to, not including, `end`, in the vendor's wall clock.

    Wall clock, not instants: the vendor's times are naive, so days of 23 and 25 hours need no
    special treatment.
    """

    start: datetime
    end: datetime

    @classmethod
    def of(cls, day: date) -> Self:
        """The window of one local day."""
        midnight = datetime.combine(day, time())
        return cls(midnight, midnight + timedelta(days=1))

    @property
    def length(self) -> timedelta:
        """The time from start to end in the wall clock."""
        return self.end - self.start

    def hours_after(self, moment: datetime, zone: ZoneInfo) -> float:
        """Hours from the window's end, by the clocks of `zone`, to an instant."""
        end = self.end.replace(tzinfo=zone)
        return (moment.astimezone(UTC) - end.astimezone(UTC)) / timedelta(hours=1)

    def __contains__(self, began: datetime) -> bool:
        return self.start <= began < self.end

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d %H:%M:%S} to {self.end:%Y-%m-%d %H:%M:%S}"


def every_day(first: date, last: date) -> list[date]:
    """Every day from `first` to `last`, both included."""
    return [first + timedelta(days=ahead) for ahead in range((last - first).days + 1)]


def ranges(days: Iterable[date], most: int = 0) -> str:
    """Days as text, consecutive days as ranges: 2023-03-01, 2023-03-06 to 2023-03-09. Only `most`
    ranges (0: all), and the number of the others.
    """
    found = spans(days)
    shown = found[: most or None]
    told = ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in shown)
    left = len(found) - len(shown)
    return f"{told} and {left:,} more {'range' if left == 1 else 'ranges'}" if left else told


def spans(days: Iterable[date], most: int = 0) -> list[tuple[date, date]]:
    """First and last day of each range of consecutive days, at most `most` days long (0: any)."""
    found: list[tuple[date, date]] = []
    for day in sorted(days):
        first, last = found[-1] if found else (day, day)
        if day == last + timedelta(days=1) and (not most or (day - first).days < most):
            found[-1] = first, day
        else:
            found.append((day, day))
    return found
