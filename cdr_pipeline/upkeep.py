"""Which days to load or probe again, and when: rules over dates and stored data. Knows no Dagster.

The rules depend only on the stored data, and on no history of runs. So the same days are asked for
again after a machine slept, the vendor was down, or Dagster's history was lost.
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

#: How long after CDR_SCHEDULE_TIME the day that ended must be stored.
GRACE: Final = timedelta(hours=4)

#: How often some of the older days are probed.
PROBE_EVERY: Final = timedelta(hours=1)


def watched(newest: date, settings: Settings) -> tuple[date, date]:
    """The first and the last of the watched days: CDR_PROBE_DAYS or CDR_LOOKBACK_DAYS before
    `newest`, whichever is more, but not before CDR_START_DATE.
    """
    back = max(settings.probe_days, settings.lookback_days)
    return max(settings.start_date, newest - DAY * back), newest


# ---- each night


@dataclass(frozen=True)
class Kept:
    """A stored day: the date of the night in which it was proved, and whether all its datasets were
    made since.
    """

    night: date
    whole: bool = True


@dataclass(frozen=True)
class Wanted:
    """Days to fetch, and days of which only the datasets made from raw_pages are to be made."""

    fetch: list[date]
    make: list[date]


def kept(store: Store, newest: date, settings: Settings) -> dict[date, Kept]:
    """The watched days whose raw_pages are stored. (If somebody deleted the oldest pages to make
    room, these days are not loaded again each night.)
    """
    days = store.days(RAW_PAGES, *watched(newest, settings))
    return {day: _kept(store, day, settings) for day in days}


def _kept(store: Store, day: date, settings: Settings) -> Kept:
    """A day whose pages are stored. If it is torn, damaged or without a receipt, its night is the
    earliest date: so it is fetched again, and its run names the damaged file.
    """
    with suppress(Damaged):
        if of_the_fetch(store, day, [RAW_PAGES]):
            night = _night_of(last_fetch(store, day).proved_at, settings)
            return Kept(night, is_made(store, day))
    return Kept(date.min)


def _night_of(moment: datetime, settings: Settings) -> date:
    """The date on which the last night before a local time began. (CDR_SCHEDULE_TIME may be late in
    the evening, and the run of a night may end on the next date.)
    """
    at = settings.schedule_time
    return (moment - timedelta(hours=at.hour, minutes=at.minute)).date()


def wanted(newest: date, days: Mapping[date, Kept], settings: Settings) -> Wanted:
    """The days to fetch and to make on the night after `newest`; `days`: the result of `kept`.

    A day is due on the night after it and on CDR_LOOKBACK_DAYS more nights. It is fetched unless it
    was proved in the last of these nights so far, or later: so missed nights are made up for. No
    day before the first kept day is fetched: a person decides which past to load.
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
    """The last date so far on whose night `day` was due."""
    return min(newest, day + DAY * settings.lookback_days) + DAY


# ---- by day


def to_probe(store: Store, newest: date, settings: Settings) -> list[date]:
    """Stored days that are no longer loaded again each night, back to CDR_PROBE_DAYS.

    Only days with `raw_pages`, which hold the proved totals to compare with.
    """
    first, last = watched(newest, settings)
    return store.days(RAW_PAGES, first, last - DAY * (settings.lookback_days + 1))


@dataclass(frozen=True)
class Round:
    """The probes of one local date: `on` this date, the last stored day whose turn has come
    (`done`), and the days to probe `again`, since the vendor gave no answer.
    """

    on: date
    done: date = date.min
    again: tuple[date, ...] = ()

    @classmethod
    def read(cls, cursor: str | None, today: date) -> Self:
        """Today's round, from a sensor's cursor; a new round if the cursor is of another date."""
        on, *days = (cursor or "").split(" ")
        if on != f"{today}":
            return cls(today)
        done, *again = map(date.fromisoformat, days)
        return cls(today, done, tuple(again))

    def __str__(self) -> str:
        return " ".join(map(str, (self.on, self.done, *self.again)))

    def due(self, days: Sequence[date], now: datetime) -> list[date]:
        """The `days`, in order, whose turn has come by `now` (in the local zone); then the days to
        probe again: last, so that a day without an answer blocks no other day.

        The turns are spread evenly from midnight until PROBE_EVERY before the next midnight.
        """
        begins, ends = (
            datetime.combine(at, time(), now.tzinfo).timestamp() for at in (self.on, self.on + DAY)
        )
        share = (now.timestamp() - begins) / (ends - begins - PROBE_EVERY.total_seconds())
        come = [day for day in days[: int(share * len(days)) + 1] if day > self.done]
        return [*come, *(day for day in self.again if day in days)]

    def after(self, day: date, *, answered: bool) -> Self:
        """The round after the probe of `day`."""
        again = [one for one in self.again if one != day]
        later = again if answered else [*again, day]
        return replace(self, done=max(self.done, day), again=tuple(later))


@dataclass(frozen=True)
class Moved:
    """A day whose total now differs from the proved one."""

    day: date
    proved: int
    now: int
    proved_at: datetime

    def run_key(self, today: date) -> str:
        """The run key: Dagster launches only one run per key.

        A day whose total grew is tried once a day until it is loaded. A day whose total fell fails
        (Shrunk) until somebody accepts it, so it is tried once.
        """
        retried = f" on {today}" if self.now >= self.proved else ""
        proved = f"{self.proved} at {self.proved_at:%Y-%m-%d %H:%M:%S}"
        return f"{self.day}: {proved}, now {self.now}{retried}"

    def __str__(self) -> str:
        return f"{self.day}: {self.proved:,} calls were proved, the vendor counts {self.now:,} now"


# ---- freshness


def newest_due(store: Store, now: datetime, settings: Settings) -> date | None:
    """The newest day that must be stored by `now`; None if no watched day is stored."""
    newest = newest_by(now, settings)
    return newest if store.days(RECEIPTS, *watched(newest, settings)) else None


def newest_by(now: datetime, settings: Settings) -> date:
    """The newest day whose night was at least GRACE before `now`, stored or not."""
    on_time = now.astimezone(UTC) - GRACE
    tonight = on_time.astimezone(settings.zone)
    begun = tonight.replace(tzinfo=None) >= datetime.combine(tonight, settings.schedule_time)
    return tonight.date() - DAY * (1 if begun else 2)
