"""`lead_attempts`: which attempt reaches people.

A lead's calls within one campaign are numbered by the time they began (then by id), over all the
days that are stored. So a figure depends on what is stored and not on the order in which it came:
when a day changes, those after it that the same campaigns called on are numbered anew.

A lead within a campaign is told by 64 bits, a tenth of what its texts take. Of a million leads and
the hundred million calls before, two share them by chance on one day in two hundred thousand.
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

#: Calls that are numbered at a time, more or less: some 200 bytes of each.
_AT_ONCE: Final = 3_000_000


def remade(store: Store, changed: Iterable[date]) -> Iterator[tuple[date, pl.DataFrame]]:
    """The partitions of `lead_attempts` to be written when `cdrs` of some days has changed: of
    these days, and of those after them whose stored one comes out different.

    The last comes first. If a run stops in between, the changed days themselves are not written:
    they are still of an older fetch than their `cdrs` (`provenance`), and so are done again.
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
    """`counted` of all leads, whichever of them together -> `lead_attempts`, with `date`."""
    made = (
        counts.group_by(DATE, *LEAD_ATTEMPTS.key)
        .agg(pl.all().sum())
        .with_columns(hours_since_previous=hours_since_previous())
    )
    return made.sort(DATE, *LEAD_ATTEMPTS.key).select(DATE, *LEAD_ATTEMPTS.names)


def counted(calls: pl.LazyFrame, first: date) -> pl.LazyFrame:
    """All the `calls_to_leads` of some leads, in order -> what adds up of their `lead_attempts`,
    with `date`, from `first` on.
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
    `calls`, 1: those that a row stands for (`so_far`).

    A campaign's calls stand as in `cdrs`: by time, then id.
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
    """`calls_to_leads`, in order -> in one row a lead what numbers its next calls: `date` and
    `time_started` of the last one, `lead`, and `calls`, how many there were.
    """
    return calls.group_by("lead").agg(pl.col(DATE, "time_started").last(), pl.col("calls").sum())


def attempt() -> pl.Expr:
    """The number of a call among its lead's in its campaign, from 1; null without a lead. Rows are
    sorted by lead, then in the order of the calls; a lead's first may stand for more (`so_far`).
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
    """Mean over an aggregate's calls, which all have a previous one unless they are first."""
    hours = pl.col("seconds_since_previous") / pl.col("calls") / 3600
    return pl.when(pl.col("attempt") > 1).then(hours)


def _counts(store: Store, days: list[date], others: list[date], theirs: pl.Expr) -> pl.DataFrame:
    """`counted` of the days asked for and of all that their campaigns made later.

    That may be a year of calls: they are numbered some leads in each turn, and of those before them
    one row a lead is kept. Each turn reads the files anew: 0.06 CPU s a million calls.
    """
    first = days[0]
    before = [day for day in others if day < first]
    since = sorted({*days, *others} - {*before})
    rows = fixed(store, CDRS, since).select(pl.len()).collect().item()
    turns = max(1, ceil(rows / _AT_ONCE))
    bear = pl.col(DATE).is_in(days) | theirs

    def of_turn(turn: int) -> pl.DataFrame:
        # Calls without a lead are but counted: in whichever turn, so long as none has them all.
        mine = pl.coalesce("lead", pl.col("time_started").hash()) % turns == turn

        def calls(some: list[date]) -> pl.LazyFrame:
            return calls_to_leads(fixed(store, CDRS, some).filter(bear)).filter(mine)

        now = calls(since).collect(engine="streaming").lazy()
        again = now.select("lead").drop_nulls().unique()
        known = calls(before).join(again, on="lead", how="semi", maintain_order="left")
        earlier = so_far(known).collect(engine="streaming").lazy()
        return counted(pl.concat([earlier, now], how="diagonal"), first).collect(engine="in-memory")

    return pl.concat(map(of_turn, range(turns)))


def _bear_on(store: Store, days: list[date]) -> pl.Expr:
    """Whether a call is of a campaign that called leads on these days: by their calls as they are
    now, and as they were when they were numbered last.

    All calls are, where a day was fetched before and never numbered (its run was killed): nobody
    knows what later days counted of it then.
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
    """The days on which some campaigns called leads, by `campaign_daily`; and those of which it
    does not tell what is in `cdrs` now.
    """
    told = set(store.days(CAMPAIGN_DAILY)) - set(outdated_days(store, CAMPAIGN_DAILY))
    daily = fixed(store, CAMPAIGN_DAILY, sorted(told))
    leads = daily.filter(campaigns, pl.col("unique_leads") > 0)
    called = set(leads.select(DATE).unique().collect()[DATE])
    return [day for day in store.days(CDRS) if day in called or day not in told]
