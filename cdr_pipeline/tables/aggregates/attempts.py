"""`lead_attempts`: at which attempt leads answer.

The calls of a lead within one campaign are numbered by the time they began (then by id), over all
stored days. So a figure depends on the stored days and not on the order in which they were loaded:
when a day changes, later days on which the same campaigns called are numbered again.

A lead within a campaign is identified by a hash of 64 bits, a tenth of the size of its texts. For a
million leads a day and a hundred million calls before, two leads share a hash by chance on one day
in two hundred thousand.
"""

from collections.abc import Iterable, Iterator
from datetime import date
from math import ceil
from typing import Final

import polars as pl

from cdr_pipeline.record import Disposition
from cdr_pipeline.tables import kpi
from cdr_pipeline.tables.aggregates.tally import roots
from cdr_pipeline.tables.datasets import CAMPAIGN_DAILY, CDRS, DATE, LEAD_ATTEMPTS, RECEIPTS
from cdr_pipeline.tables.provenance import is_readable, outdated_days
from cdr_pipeline.tables.readers import fixed
from cdr_pipeline.tables.receipts import last_fetch
from cdr_pipeline.tables.store import Store

#: About how many calls are numbered at a time: some 200 bytes of memory per call.
_AT_ONCE: Final = 3_000_000


def remade(store: Store, changed: Iterable[date]) -> Iterator[tuple[date, pl.DataFrame]]:
    """The partitions of `lead_attempts` to write after `cdrs` of some days changed: those of the
    changed days, and those of later days whose values differ from the stored ones.

    The last day comes first. If the run stops in between, the changed days are not written yet:
    their partitions are still from an older fetch than `cdrs` (`provenance`), so the next run makes
    them again.
    """
    days = sorted(changed)
    if not days:
        return
    theirs = _bear_on(store, days)
    others = [day for day in _called_on(store, theirs) if day not in days]
    made = lead_attempts(_counts(store, days, others, theirs).lazy())
    frames = made.collect(engine="in-memory")
    for day in reversed(store.days(CDRS, first=days[0])):
        new = frames.filter(pl.col(DATE) == day).drop(DATE)
        if day in days:
            yield day, new
        elif day in others and store.holds(LEAD_ATTEMPTS, day):
            stored = store.read(LEAD_ATTEMPTS, day)
            frame = pl.concat([stored.filter(~theirs), new]).sort(*LEAD_ATTEMPTS.key)
            if not frame.equals(stored):
                yield day, frame


def lead_attempts(counts: pl.LazyFrame) -> pl.LazyFrame:
    """`counted` of all leads, in any number of groups -> `lead_attempts`, with `date`."""
    made = (
        counts.group_by(DATE, *LEAD_ATTEMPTS.key)
        .agg(pl.all().sum())
        .with_columns(hours_since_previous=hours_since_previous())
    )
    return made.sort(DATE, *LEAD_ATTEMPTS.key).select(DATE, *LEAD_ATTEMPTS.names)


def counted(calls: pl.LazyFrame, first: date) -> pl.LazyFrame:
    """All `calls_to_leads` of some leads, in order -> the additive columns of their
    `lead_attempts`, with `date`, from the day `first` on.
    """
    return (
        calls.sort("lead", maintain_order=True)
        .with_columns(attempt=attempt())
        .with_columns(seconds_since_previous=seconds_since_previous())
        .filter(pl.col(DATE) >= first)
        .group_by(DATE, *LEAD_ATTEMPTS.key)
        .agg(
            calls=pl.len().cast(pl.Int64),
            answered=kpi.count(pl.col("answered")),
            key_presses=kpi.count(pl.col("key_pressed")),
            seconds_since_previous=pl.col("seconds_since_previous").sum(),
        )
    )


def calls_to_leads(cdrs: pl.LazyFrame) -> pl.LazyFrame:
    """`cdrs` with `date` -> its root legs as `date`, `campaign_uuid`, `time_started`, `lead` (64
    bits of the lead and its campaign; null for none), `answered`, `key_pressed` (Booleans) and
    `calls`: how many calls the row stands for, here 1 (see `so_far`).

    The calls of a campaign are in the order of `cdrs`: by time, then id.
    """
    return roots(cdrs).select(
        DATE,
        "campaign_uuid",
        "time_started",
        lead=kpi.in_64_bits("lead_uuid", "campaign_uuid"),
        answered=kpi.is_of(Disposition.ANSWERED),
        key_pressed=pl.col("key_pressed").is_not_null(),
        calls=pl.lit(1, pl.Int32),
    )


def so_far(calls: pl.LazyFrame) -> pl.LazyFrame:
    """`calls_to_leads`, in order -> one row per lead, enough to number its next calls: `lead`,
    `date` and `time_started` of its last call, and `calls`, the number of its calls.
    """
    return calls.group_by("lead").agg(pl.col(DATE, "time_started").last(), pl.col("calls").sum())


def attempt() -> pl.Expr:
    """The number of a call among the calls of its lead in its campaign, from 1; null without a
    lead. Rows are sorted by lead, then in the order of the calls; the first row of a lead may stand
    for several calls (`so_far`).
    """
    row = kpi.number_within("lead")
    of_the_first = pl.when(row == 1).then(pl.col("calls")).forward_fill()
    return pl.when(pl.col("lead").is_not_null()).then(row + of_the_first - 1)


def seconds_since_previous() -> pl.Expr:
    """Seconds since the lead's previous call in the campaign began; null for the first. Rows are
    sorted as for `attempt`.
    """
    seconds = pl.col("time_started").diff().dt.total_seconds()
    return pl.when(pl.col("attempt") > 1).then(seconds)


def hours_since_previous() -> pl.Expr:
    """Mean hours since the previous call, over the calls of a row; null for first attempts."""
    hours = pl.col("seconds_since_previous") / pl.col("calls") / 3600
    return pl.when(pl.col("attempt") > 1).then(hours)


def _counts(store: Store, days: list[date], others: list[date], theirs: pl.Expr) -> pl.DataFrame:
    """`counted` of the changed days, and of all later calls of their campaigns.

    This may be a year of calls: each turn numbers the calls of some leads, and keeps one row per
    lead of the calls before. Each turn reads the files again: 0.06 CPU s per million calls.
    """
    first = days[0]
    before = [day for day in others if day < first]
    since = sorted({*days, *others} - {*before})
    rows = fixed(store, CDRS, since).select(pl.len()).collect().item()
    turns = max(1, ceil(rows / _AT_ONCE))
    bear = pl.col(DATE).is_in(days) | theirs

    def of_turn(turn: int) -> pl.DataFrame:
        # Calls without a lead are only counted: the turns share them by the hash of their time.
        mine = pl.coalesce("lead", pl.col("time_started").hash()) % turns == turn

        def calls(dates: list[date]) -> pl.LazyFrame:
            return calls_to_leads(fixed(store, CDRS, dates).filter(bear)).filter(mine)

        now = calls(since).collect(engine="streaming").lazy()
        again = now.select("lead").drop_nulls().unique()
        known = calls(before).join(again, on="lead", how="semi", maintain_order="left")
        earlier = so_far(known).collect(engine="streaming").lazy()
        return counted(pl.concat([earlier, now], how="diagonal"), first).collect(engine="in-memory")

    return pl.concat(map(of_turn, range(turns)))


def _bear_on(store: Store, days: list[date]) -> pl.Expr:
    """Whether a call is of a campaign that called leads on these days, according to the calls that
    are stored now, or to those that were stored when the days were last numbered.

    True for all calls if a day was fetched before and has no readable `lead_attempts` (its run was
    killed): then it is unknown which of its calls later days counted.
    """
    held = [day for day in days if is_readable(store, LEAD_ATTEMPTS, day)]
    if any(_fetched_before(store, day) for day in days if day not in held):
        return pl.lit(True)
    now = roots(fixed(store, CDRS, days)).filter(pl.col("lead_uuid").is_not_null())
    then = fixed(store, LEAD_ATTEMPTS, held).filter(pl.col("attempt").is_not_null())
    called = pl.concat([one.select("campaign_uuid") for one in (now, then)]).unique()
    campaigns = called.collect(engine="streaming").to_series()
    return pl.col("campaign_uuid").is_in(campaigns.implode(), nulls_equal=True)


def _fetched_before(store: Store, day: date) -> bool:
    return store.holds(RECEIPTS, day) and not last_fetch(store, day).first


def _called_on(store: Store, campaigns: pl.Expr) -> list[date]:
    """The days on which some campaigns called leads, by `campaign_daily`; and the days whose
    `campaign_daily` is missing or outdated.
    """
    told = set(store.days(CAMPAIGN_DAILY)) - set(outdated_days(store, CAMPAIGN_DAILY))
    daily = fixed(store, CAMPAIGN_DAILY, sorted(told))
    leads = daily.filter(campaigns, pl.col("unique_leads") > 0)
    called = set(leads.select(DATE).unique().collect()[DATE])
    return [day for day in store.days(CDRS) if day in called or day not in told]
