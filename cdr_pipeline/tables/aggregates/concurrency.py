"""`campaign_hourly`: the calls of a day by hour, and the most calls at once.

A call lasts from the second in which it began up to, not including, the second in which it ended; a
talk lasts from the second of the answer. So a call that ends in the second in which another begins
does not overlap it, and a call that ends in the second in which it began is in no peak. A call
without an end is in no peak.

Calls that began the day before are in the peaks of the day as far as they reach into it. (A call
that reaches over two midnights is in the peaks of its first two days.)
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, timedelta
from typing import Final, Self
from zoneinfo import ZoneInfo

import polars as pl

from cdr_pipeline.record import Disposition
from cdr_pipeline.tables import kpi
from cdr_pipeline.tables.aggregates.daily import in_order
from cdr_pipeline.tables.aggregates.tally import parts, roots, singly
from cdr_pipeline.tables.datasets import CAMPAIGN_HOURLY, CDRS, DATE
from cdr_pipeline.tables.provenance import is_readable
from cdr_pipeline.tables.readers import fixed
from cdr_pipeline.tables.store import Store
from cdr_pipeline.window import Window

#: Seconds. In every zone, a local hour begins at a quarter of an hour of UTC.
_QUARTER: Final = 900

_COUNTS: Final = {
    "calls": kpi.calls(),
    "answered": kpi.calls_of(Disposition.ANSWERED),
    "seizures": kpi.seizures(),
    "billsec": pl.col("billsec").sum(),
}

#: Peak -> the time from which a call is counted in it.
_PEAKS: Final = {"peak_calls": "time_started", "peak_talks": "time_answered"}


def remade(store: Store, changed: Iterable[date]) -> Iterator[tuple[date, pl.DataFrame]]:
    """The partitions of `campaign_hourly` to write after `cdrs` of some days changed: those of the
    changed days, and those of the next days whose values differ from the stored ones.

    The last day comes first, as in `attempts.remade`.
    """
    days = set(changed)
    for day in sorted(days | {day + timedelta(days=1) for day in days}, reverse=True):
        if day in days:
            yield day, _of(store, day)
        elif store.holds(CDRS, day) and store.holds(CAMPAIGN_HOURLY, day):
            frame = _of(store, day)
            whole = is_readable(store, CAMPAIGN_HOURLY, day)
            if not (whole and frame.equals(store.read(CAMPAIGN_HOURLY, day))):
                yield day, frame


@dataclass(frozen=True)
class Hours:
    """The calls of a day, as `campaign_hourly` needs them.

    tally: the calls that began on the day.
    calls: root legs that may reach into the day: `campaign_uuid`, and `time_started`,
        `time_answered` and `time_ended` in seconds since the day began.
    local: the local hour of each quarter of an hour of the day.
    """

    tally: pl.LazyFrame
    calls: pl.LazyFrame
    local: pl.Series

    @classmethod
    def of(cls, cdrs: pl.LazyFrame, day: date, zone: ZoneInfo) -> Self:
        """A lazy query over `cdrs` of the day and of the day before, with `date`."""
        window = Window.of(day)
        first, last = (at.replace(tzinfo=zone).astimezone(UTC) for at in (window.start, window.end))
        step = timedelta(seconds=_QUARTER)
        quarters = pl.datetime_range(first, last, step, closed="left", eager=True)
        local = quarters.dt.convert_time_zone(zone.key).dt.hour().cast(pl.Int8)
        times = pl.col(*_PEAKS.values(), "time_ended").dt.convert_time_zone("UTC") - first
        # Times outside the day are clipped: only that they are outside matters.
        beyond = len(local) * _QUARTER + 1
        seconds = times.dt.total_seconds().clip(-1, beyond).cast(pl.Int32)
        calls = roots(cdrs).select("campaign_uuid", seconds).filter(pl.col("time_ended") > 0)
        return cls(singly(cdrs.filter(pl.col(DATE) == day)), calls, local)

    @classmethod
    def read(cls, cdrs: pl.LazyFrame, day: date, zone: ZoneInfo) -> Self:
        """As `of`, with the calls in memory, since they are used several times."""
        calls = pl.concat(cls.of(part, day, zone).calls.collect() for part in parts(cdrs))
        return replace(cls.of(cdrs, day, zone), calls=calls.lazy())


def campaign_hourly(hours: Hours) -> pl.LazyFrame:
    """`campaign_hourly` of the day."""
    by = CAMPAIGN_HOURLY.key
    counts = hours.tally.group_by(*by).agg(**_COUNTS)
    peaks = {name: _peaks(hours, since) for name, since in _PEAKS.items()}
    of_each = [each.rename({"at_once": name}) for name, (each, _) in peaks.items()]
    made = (
        pl.concat([counts, *of_each], how="diagonal")
        .group_by(*by)
        .agg(pl.col(*_COUNTS).sum(), pl.col(*_PEAKS).max().fill_null(0))
        .filter(pl.any_horizontal(pl.col("calls", *_PEAKS) > 0))
    )
    for name, (_, of_all) in peaks.items():
        all_ = f"{name}_all"
        made = made.join(of_all.rename({"at_once": all_}), on="hour", how="left")
        made = made.with_columns(pl.col(all_).fill_null(0))
    return in_order(CAMPAIGN_HOURLY, made)


def _of(store: Store, day: date) -> pl.DataFrame:
    days = store.days(CDRS, day - timedelta(days=1), day)
    hours = Hours.read(fixed(store, CDRS, days), day, store.zone)
    return campaign_hourly(hours).collect(engine="in-memory")


def _peaks(hours: Hours, since: str) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """The most calls (or talks) `at_once` in each hour: of each campaign, and of all campaigns.

    Only the seconds in which a call (or a talk) begins are looked at: a peak is always in one. The
    number of calls in a second is those that have begun by then, less those that have ended.
    """
    begun = pl.col("start").sort().rle().struct
    at = begun.field("value")
    ended = pl.col("end").sort().search_sorted(at, side="right")
    at_once = begun.field("len").cum_sum().cast(pl.Int64) - ended.cast(pl.Int64)
    seconds = {"at": at, "at_once": at_once}
    spans = _spans(hours, since)
    of_each = spans.group_by("campaign_uuid").agg(**seconds).explode(*seconds)
    of_all = spans.select(**seconds)
    hour = pl.lit(hours.local).gather(pl.col("at") // _QUARTER).alias("hour")
    most = pl.col("at_once").max()
    return of_each.group_by(hour, "campaign_uuid").agg(most), of_all.group_by(hour).agg(most)


def _spans(hours: Hours, since: str) -> pl.LazyFrame:
    """Campaign, start and end (seconds) of each call (or talk) within the day. For each campaign
    also a span of no length where an hour begins during a call, since the peak may be there.
    """
    seconds = len(hours.local) * _QUARTER
    spans = hours.calls.select(
        "campaign_uuid", start=pl.col(since).clip(0), end=pl.col("time_ended").clip(None, seconds)
    ).filter(pl.col("start") < pl.col("end"))
    begins = hours.local.ne_missing(hours.local.shift()).arg_true().cast(pl.Int32) * _QUARTER
    first = pl.lit(begins).search_sorted(pl.col("start"), side="right")
    behind = pl.lit(begins).search_sorted(pl.col("end"), side="left")
    reached = spans.filter(first < behind).with_columns(hours=pl.int_ranges(first, behind))
    hours_of_each = reached.select("campaign_uuid", "hours").explode("hours").unique()
    at = pl.lit(begins).gather("hours")
    of_no_length = hours_of_each.select("campaign_uuid", start=at, end=at)
    return pl.concat([spans, of_no_length])
