"""Which days to look at again, and when: rules over dates and what is stored. Knows no Dagster.

Nothing is remembered here that the data does not say. A machine that slept, a vendor that was down
and a history that was lost all end in the same days being asked for.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Self

from cdr_pipeline.errors import Damaged
from cdr_pipeline.settings import Settings
from cdr_pipeline.tables.datasets import RAW_PAGES, RECEIPTS
from cdr_pipeline.tables.provenance import is_made, of_the_fetch
from cdr_pipeline.tables.receipts import last_fetch
from cdr_pipeline.tables.store import Store
from cdr_pipeline.window import every_day

DAY: Final = timedelta(days=1)

#: How long after CDR_SCHEDULE_TIME the day that ended must be there.
GRACE: Final = timedelta(hours=4)

#: How often some of the older days are probed.
PROBE_EVERY: Final = timedelta(hours=1)


def watched(newest: date, settings: Settings) -> tuple[date, date]:
    """The first and the last of the days that are looked after: those of CDR_PROBE_DAYS, or of
    CDR_LOOKBACK_DAYS where that is more.
    """
    back = max(settings.probe_days, settings.lookback_days)
    return max(settings.start_date, newest - DAY * back), newest


# ---- each night


@dataclass(frozen=True)
class Kept:
    """A day that is stored: the date of the night it was proved in, and if all was made of it
    since.
    """

    night: date
    whole: bool = True


@dataclass(frozen=True)
class Wanted:
    """Days to fetch, and days of which only what follows from their pages is to be made."""

    fetch: list[date]
    make: list[date]


def kept(store: Store, newest: date, settings: Settings) -> dict[date, Kept]:
    """Of the days that are looked after, those whose pages are stored. (Where somebody deleted the
    pages of the oldest for want of room, these do not come back each night.)
    """
    days = store.days(RAW_PAGES, *watched(newest, settings))
    return {day: _kept(store, day, settings) for day in days}


def _kept(store: Store, day: date, settings: Settings) -> Kept:
    """A day that is torn, damaged or without a receipt was proved in no night: so it is asked for
    again, and its run says which file is damaged.
    """
    with suppress(Damaged):
        if of_the_fetch(store, day, [RAW_PAGES]):
            night = _night_of(last_fetch(store, day).proved_at, settings)
            return Kept(night, is_made(store, day))
    return Kept(date.min)


def _night_of(moment: datetime, settings: Settings) -> date:
    """The date on which the last night before a local time began. (CDR_SCHEDULE_TIME may be late in
    the evening, and a night's run end on the next date.)
    """
    at = settings.schedule_time
    return (moment - timedelta(hours=at.hour, minutes=at.minute)).date()


def wanted(newest: date, days: Mapping[date, Kept], settings: Settings) -> Wanted:
    """What to ask for on the night after `newest`, given the days of its window that are kept.

    A day is looked at on the night after it and on CDR_LOOKBACK_DAYS more. It is asked for unless
    it was proved in the last of them so far, or later: nights that were missed are made up for.
    Before the first day that is kept nothing is: which past to load is for people to say.
    """
    first = min(days, default=newest)
    since = every_day(first, newest)
    fetch = [
        day
        for day in since
        if day not in days or days[day].night < _last_look(day, newest, settings)
    ]
    return Wanted(fetch, [day for day in since if day not in fetch and not days[day].whole])


def _last_look(day: date, newest: date, settings: Settings) -> date:
    """The last date so far on which `day` should have been looked at."""
    return min(newest, day + DAY * settings.lookback_days) + DAY


# ---- by day


def to_probe(store: Store, newest: date, settings: Settings) -> list[date]:
    """Stored days that are no longer loaded again each night, back to CDR_PROBE_DAYS.

    What was proved of a day stands in `raw_pages`: where that is gone, nothing can be compared.
    """
    first, last = watched(newest, settings)
    return store.days(RAW_PAGES, first, last - DAY * (settings.lookback_days + 1))


@dataclass(frozen=True)
class Round:
    """A day's round of probes: the local date, the last day whose turn came on it, and those that
    are asked for again, since the vendor gave no answer.
    """

    on: date
    done: date = date.min
    again: tuple[date, ...] = ()

    @classmethod
    def read(cls, cursor: str | None, today: date) -> Self:
        """Today's round, as far as it has come."""
        on, *days = (cursor or "").split(" ")
        if on != f"{today}":
            return cls(today)
        done, *again = map(date.fromisoformat, days)
        return cls(today, done, tuple(again))

    def __str__(self) -> str:
        return " ".join(map(str, (self.on, self.done, *self.again)))

    def due(self, days: Sequence[date], now: datetime) -> list[date]:
        """Those of `days`, in order, whose turn has come by `now`, which is in the local zone; then
        those that are asked for again: one that is never answered is to keep no other waiting.

        They are spread evenly from midnight until one interval before the next.
        """
        begins, ends = (
            datetime.combine(at, time(), now.tzinfo).timestamp() for at in (self.on, self.on + DAY)
        )
        share = (now.timestamp() - begins) / (ends - begins - PROBE_EVERY.total_seconds())
        come = [day for day in days[: int(share * len(days)) + 1] if day > self.done]
        return [*come, *(day for day in self.again if day in days)]

    def after(self, day: date, *, answered: bool) -> Self:
        """The round once `day` was asked for."""
        again = [one for one in self.again if one != day]
        later = again if answered else [*again, day]
        return replace(self, done=max(self.done, day), again=tuple(later))


@dataclass(frozen=True)
class Moved:
    """A day whose total is no longer the one that was proved."""

    day: date
    proved: int
    now: int
    proved_at: datetime

    def run_key(self, today: date) -> str:
        """Of all runs asked for under one key, Dagster launches one.

        A total that grew is tried once a day until it is loaded. One that fell fails (Shrunk) until
        somebody accepts it, so it is tried once.
        """
        retried = f" on {today}" if self.now >= self.proved else ""
        proved = f"{self.proved} at {self.proved_at:%Y-%m-%d %H:%M:%S}"
        return f"{self.day}: {proved}, now {self.now}{retried}"

    def __str__(self) -> str:
        return f"{self.day}: {self.proved:,} calls were proved, the vendor counts {self.now:,} now"


# ---- freshness


def newest_due(store: Store, now: datetime, settings: Settings) -> date | None:
    """The newest day that must be there by `now`; None where no day of its window is stored."""
    newest = newest_by(now, settings)
    return newest if store.days(RECEIPTS, *watched(newest, settings)) else None


def newest_by(now: datetime, settings: Settings) -> date:
    """The newest day whose night was GRACE ago by `now`, whether any was ever loaded or not."""
    on_time = now.astimezone(UTC) - GRACE
    tonight = on_time.astimezone(settings.zone)
    begun = tonight.replace(tzinfo=None) >= datetime.combine(tonight, settings.schedule_time)
    return tonight.date() - DAY * (1 if begun else 2)
