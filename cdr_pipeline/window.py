"""Stretches of days and of the vendor's wall clock."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, date, datetime, time, timedelta
from typing import Final, Self
from zoneinfo import ZoneInfo

#: Hours that are looked through for one at which clocks are moved.
_MOST_HOURS: Final = 7 * 24


def steady_offset(first: datetime, last: datetime, zone: ZoneInfo) -> timedelta | None:
    """The zone's offset from UTC, if it is the same from a day before `first` to a day after `last`
    (both by its wall clock). None where it is not, where that is too long to look through, and at
    the end of all time.
    """
    hours = (last - first) // timedelta(hours=1) + 48
    if hours > _MOST_HOURS or last.year == MAXYEAR:
        return None
    before = (first - timedelta(days=1)).replace(tzinfo=zone)
    offsets = {(before + timedelta(hours=hour)).utcoffset() for hour in range(hours + 1)}
    return offsets.pop() if len(offsets) == 1 else None


@dataclass(frozen=True)
class Window:
    """Calls begun from `start` up to, not including, `end`, by the vendor's wall clock.

    Wall clock, not instants: the vendor's times are naive, and so days of 23 and 25 hours are
    windows like any other.
    """

    start: datetime
    end: datetime

    @classmethod
    def of(cls, day: date) -> Self:
        """The calls of one local day."""
        midnight = datetime.combine(day, time())
        return cls(midnight, midnight + timedelta(days=1))

    @property
    def length(self) -> timedelta:
        """From start to end by the wall clock."""
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
    """Days in words, stretches of them as such: 2023-03-01, 2023-03-06 to 2023-03-09. Of more than
    `most` (0: any) the rest are counted.
    """
    found = spans(days)
    shown = found[: most or None]
    told = ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in shown)
    left = len(found) - len(shown)
    return f"{told} and {left:,} more {'range' if left == 1 else 'ranges'}" if left else told


def spans(days: Iterable[date], most: int = 0) -> list[tuple[date, date]]:
    """First and last of each stretch of days without a gap, of `most` days at most (0: any)."""
    found: list[tuple[date, date]] = []
    for day in sorted(days):
        first, last = found[-1] if found else (day, day)
        if day == last + timedelta(days=1) and (not most or (day - first).days < most):
            found[-1] = first, day
        else:
            found.append((day, day))
    return found
