"""`campaign_hourly`: the day by the hour, and how many calls went on at once.

A call goes on from the second in which it began up to, not including, the second in which it ended;
a talk from the second of the answer. So a call that ends in the second in which another begins does
not overlap it, and one that ends in the second in which it began goes on in none. A call without an
end is in no peak.

Calls that began the day before are in the peaks of the day as far as they reach into it. (One that
reaches over two midnights is in those of its first two days.) Of a day whose own calls are not
stored, those are all there is to tell: a backfill in Dagster asks for the day after its last, too.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import polars as pl

from cdr_pipeline.record import Disposition, Window
from cdr_pipeline.tables import kpi
from cdr_pipeline.tables.aggregates import as_contracted, roots
from cdr_pipeline.tables.contract import CAMPAIGN_HOURLY, CDRS, DATE
from cdr_pipeline.tables.readers import contracted
from cdr_pipeline.tables.store import Store

#: Where a zone's clock stands at a full hour, UTC's stands at a quarter.
_QUARTER: Final = "15m"

_BY: Final = ["hour", "campaign_uuid"]
_COUNTS: Final = {
    "calls": kpi.calls(),
    "answered": kpi.calls_of(Disposition.ANSWERED),
    "seizures": kpi.seizures(),
    "billsec": pl.col("billsec").sum(),
}

#: Peak -> from when on a call is in it.
_PEAKS: Final = {"peak_calls": "time_started", "peak_talks": "time_answered"}


def remade(store: Store, changed: Iterable[date]) -> Iterator[tuple[date, pl.DataFrame]]:
    """The partitions of `campaign_hourly` to be written when `cdrs` of some days has changed: of
    these days, and of those after them whose stored one comes out different.
    """
    days = set(changed)
    for day in sorted(days | {day + timedelta(days=1) for day in days}):
        if day in days:
            yield day, _of(store, day)
        elif store.holds(CAMPAIGN_HOURLY, day):
            frame = _of(store, day)
            if not frame.equals(store.read(CAMPAIGN_HOURLY, day)):
                yield day, frame


def can_be_made(store: Store, day: date) -> bool:
    """Whether `cdrs` of the day or of the day before is there."""
    return bool(store.days(CDRS, day - timedelta(days=1), day))


def campaign_hourly(cdrs: pl.LazyFrame, day: date, zone: ZoneInfo) -> pl.LazyFrame:
    """`cdrs` of a day and of the day before, with their `date` -> `campaign_hourly` of the day."""
    calls = roots(cdrs)
    counts = calls.filter(pl.col(DATE) == day).group_by(_BY).agg(**_COUNTS)
    going_on = {name: _going_on(calls, since, day, zone) for name, since in _PEAKS.items()}
    peaks = [
        levels.group_by(_BY).agg(pl.col("of_campaign").max().alias(name))
        for name, levels in going_on.items()
    ]
    made = (
        pl.concat([counts, *peaks], how="diagonal")
        .group_by(_BY)
        .agg(pl.col(*_COUNTS).sum(), pl.col(*_PEAKS).max().fill_null(0))
        .filter(pl.any_horizontal(pl.col("calls", *_PEAKS) > 0))
    )
    for name, levels in going_on.items():
        of_all = levels.group_by("hour").agg(pl.col("of_all").max().alias(f"{name}_all"))
        made = made.join(of_all, on="hour", how="left")
    made = made.with_columns(pl.col(f"{name}_all").fill_null(0) for name in _PEAKS)
    return as_contracted(CAMPAIGN_HOURLY, made, _BY)


def _of(store: Store, day: date) -> pl.DataFrame:
    days = store.days(CDRS, day - timedelta(days=1), day)
    return campaign_hourly(contracted(store, CDRS, days), day, store.zone).collect()


def _going_on(calls: pl.LazyFrame, since: str, day: date, zone: ZoneInfo) -> pl.LazyFrame:
    """Hour, campaign -> how many of the campaign (`of_campaign`) and of all (`of_all`) go on, at
    every second in which one begins and at the beginning of every hour: nowhere else is a peak.

    A running sum of one up where a call begins and one down where it ends, the downs of a second
    before its ups, so that at the last of its ups it is what goes on in that second.
    """
    window = Window.of(day)
    first, last = (at.replace(tzinfo=zone).astimezone(UTC) for at in (window.start, window.end))
    began, ended = (pl.col(time).dt.convert_time_zone("UTC") for time in (since, "time_ended"))
    spans = (
        calls.filter(began.is_not_null() & ended.is_not_null())
        .select("campaign_uuid", start=began.clip(first), end=ended.clip(None, last))
        .filter(pl.col("start") < pl.col("end"))
    )
    quarters = pl.datetime_range(first, last, _QUARTER, closed="left", time_unit="us", eager=True)
    marks = spans.select("campaign_uuid").unique().join(pl.LazyFrame({"at": quarters}), how="cross")
    steps = (
        (spans.select("campaign_uuid", at="end"), -1),
        (marks, 0),
        (spans.select("campaign_uuid", at="start"), 1),
    )
    return (
        pl.concat(frame.with_columns(step=pl.lit(step, pl.Int64)) for frame, step in steps)
        .sort("at", "step")
        .with_columns(
            hour=pl.col("at").dt.convert_time_zone(zone.key).dt.hour().cast(pl.Int8),
            of_campaign=pl.col("step").cum_sum().over("campaign_uuid"),
            of_all=pl.col("step").cum_sum(),
        )
        .filter(pl.col("step") >= 0)
    )
