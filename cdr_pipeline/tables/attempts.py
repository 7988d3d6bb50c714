"""`lead_attempts`: which attempt reaches people.

A lead's calls within one campaign are numbered by the time they began (then by id), over all the
days that are stored. So a figure depends on what is stored and not on the order in which it came:
when a day changes, those after it that the same campaigns called on are numbered anew.
"""

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Final

import polars as pl

from cdr_pipeline.record import Disposition
from cdr_pipeline.tables import kpi
from cdr_pipeline.tables.aggregates import roots
from cdr_pipeline.tables.contract import CAMPAIGN_DAILY, CDRS, DATE, LEAD_ATTEMPTS
from cdr_pipeline.tables.readers import contracted
from cdr_pipeline.tables.store import Store

_LEAD: Final = ["lead_uuid", "campaign_uuid"]
_BY: Final = ["campaign_uuid", "attempt"]


def remade(store: Store, changed: Iterable[date]) -> Iterator[tuple[date, pl.DataFrame]]:
    """The partitions of `lead_attempts` to be written when `cdrs` of some days has changed: of
    these days, and of those after them whose stored one comes out different.

    The last comes first: whoever stops in between leaves the changed days older than their `cdrs`,
    and so to be done again.
    """
    days = sorted(changed)
    if not days:
        return
    theirs = pl.col("campaign_uuid").is_in(_campaigns(store, days).implode(), nulls_equal=True)
    cdrs = contracted(store, CDRS, _called_on(store, theirs)).filter(theirs)
    made = lead_attempts(cdrs, days[0]).collect()
    for day in reversed(store.days(CDRS, first=days[0])):
        new = made.filter(pl.col(DATE) == day).drop(DATE)
        if day in days:
            yield day, new
        elif store.holds(LEAD_ATTEMPTS, day):
            stored = store.read(LEAD_ATTEMPTS, day)
            frame = pl.concat([stored.filter(~theirs), new]).sort(_BY)
            if not frame.equals(stored):
                yield day, frame


def lead_attempts(cdrs: pl.LazyFrame, first: date) -> pl.LazyFrame:
    """`cdrs` of all days, with their `date` -> `date` and `lead_attempts` of those from `first`."""
    calls = roots(cdrs).select(DATE, "id", *_LEAD, "time_started", "disposition", "key_pressed")
    asked = calls.filter(pl.col(DATE) >= first)
    leads = asked.select(_LEAD).drop_nulls("lead_uuid").unique()
    before = calls.filter(pl.col(DATE) < first).join(leads, on=_LEAD, how="semi", nulls_equal=True)
    made = (
        pl.concat([before, asked])
        .sort(*_LEAD, "time_started", "id")
        .with_columns(attempt=attempt())
        .with_columns(seconds_since_previous=seconds_since_previous())
        .filter(pl.col(DATE) >= first)
        .group_by(DATE, *_BY)
        .agg(
            calls=kpi.calls(),
            answered=kpi.calls_of(Disposition.ANSWERED),
            key_presses=kpi.key_presses(),
            seconds_since_previous=pl.col("seconds_since_previous").sum(),
        )
        .with_columns(hours_since_previous=hours_since_previous())
    )
    return made.sort(DATE, *_BY).select(DATE, *(column.name for column in LEAD_ATTEMPTS.columns))


def attempt() -> pl.Expr:
    """The number of a call among its lead's in its campaign, from 1; null without a lead. Rows are
    sorted by lead and campaign, then in the order of the calls.
    """
    return pl.when(pl.col("lead_uuid").is_not_null()).then(kpi.number_within(*_LEAD))


def seconds_since_previous() -> pl.Expr:
    """Seconds since the lead's previous call in the campaign began; null for the first. Rows are
    sorted as for `attempt`.
    """
    seconds = pl.col("time_started").diff().dt.total_seconds()
    return pl.when(pl.col("attempt") > 1).then(seconds)


def hours_since_previous() -> pl.Expr:
    """Mean over an aggregate's calls, which all have a previous one unless they are first."""
    hours = pl.col("seconds_since_previous") / pl.col("calls") / 3600
    return pl.when(pl.col("attempt") > 1).then(hours)


def _campaigns(store: Store, days: list[date]) -> pl.Series:
    """The campaigns that called on these days, as they are and as they were numbered last."""
    now = contracted(store, CDRS, days).select("campaign_uuid").unique().collect()
    held = [day for day in days if store.holds(LEAD_ATTEMPTS, day)]
    before = contracted(store, LEAD_ATTEMPTS, held).select("campaign_uuid").unique().collect()
    return pl.concat([now, before])["campaign_uuid"].unique()


def _called_on(store: Store, campaigns: pl.Expr) -> list[date]:
    """The days on which some campaigns called, by `campaign_daily`; and those of which it does not
    tell what is in `cdrs` now.
    """
    told = set(store.days(CAMPAIGN_DAILY)) - set(store.outdated(CAMPAIGN_DAILY, CDRS))
    daily = contracted(store, CAMPAIGN_DAILY, sorted(told)).filter(campaigns)
    called = set(daily.select(DATE).unique().collect()[DATE])
    return [day for day in store.days(CDRS) if day in called or day not in told]
