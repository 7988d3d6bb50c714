"""`lead_attempts`: which attempt reaches people.

A lead's calls within one campaign are numbered by the time they began (then by id), over all the
days that are stored. So a figure depends on what is stored and not on the order in which it came:
when a day changes, those after it that the same campaigns called on are numbered anew.

A lead within a campaign is told by 64 bits, a tenth of what its texts take. Of a million leads and
the hundred million calls before, two share them by chance on one day in two hundred thousand.
"""

from collections.abc import Iterable, Iterator
from datetime import date

import polars as pl

from cdr_pipeline.record import Disposition
from cdr_pipeline.tables import kpi
from cdr_pipeline.tables.aggregates.tally import gathered, roots
from cdr_pipeline.tables.datasets import CAMPAIGN_DAILY, CDRS, DATE, LEAD_ATTEMPTS, RECEIPTS
from cdr_pipeline.tables.provenance import outdated_days
from cdr_pipeline.tables.readers import fixed
from cdr_pipeline.tables.receipts import last_fetch
from cdr_pipeline.tables.store import Store


def remade(store: Store, changed: Iterable[date]) -> Iterator[tuple[date, pl.DataFrame]]:
    """The partitions of `lead_attempts` to be written when `cdrs` of some days has changed: of
    these days, and of those after them whose stored one comes out different.

    The last comes first: whoever stops in between leaves the changed days as they were, of an older
    fetch than their `cdrs` (`provenance`), and so to be done again.
    """
    days = sorted(changed)
    if not days:
        return
    asked = gathered(calls_to_leads, fixed(store, CDRS, days))
    theirs = _bear_on(store, days, asked)
    others = [day for day in _called_on(store, theirs) if day not in days]
    made = lead_attempts(_with_others(store, asked, others, theirs, days[0]).lazy(), days[0])
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


def lead_attempts(calls: pl.LazyFrame, first: date) -> pl.LazyFrame:
    """`calls_to_leads` of all days, in order -> `lead_attempts`, with `date`, from `first` on."""
    made = (
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
        .with_columns(hours_since_previous=hours_since_previous())
    )
    return made.sort(DATE, *LEAD_ATTEMPTS.key).select(
        DATE, *(column.name for column in LEAD_ATTEMPTS.columns)
    )


def calls_to_leads(cdrs: pl.LazyFrame) -> pl.LazyFrame:
    """`cdrs` with `date` -> its root legs as `date`, `campaign_uuid`, `time_started`, `lead` (64
    bits of the lead and its campaign; null for none), `answered` and `key_pressed` (Booleans).

    A campaign's calls stand as in `cdrs`: by time, then id.
    """
    return roots(cdrs).select(
        DATE,
        "campaign_uuid",
        "time_started",
        lead=kpi.in_64_bits("lead_uuid", "campaign_uuid"),
        answered=kpi.is_of(Disposition.ANSWERED),
        key_pressed=pl.col("key_pressed").is_not_null(),
    )


def attempt() -> pl.Expr:
    """The number of a call among its lead's in its campaign, from 1; null without a lead. Rows are
    sorted by lead, then in the order of the calls.
    """
    return pl.when(pl.col("lead").is_not_null()).then(kpi.number_within("lead"))


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


def _with_others(
    store: Store, asked: pl.DataFrame, others: list[date], theirs: pl.Expr, first: date
) -> pl.DataFrame:
    """The calls asked for and, in order, those of other days that bear on them: all that their
    campaigns made later, and those before to leads that are called again.
    """
    if not others:
        return asked
    before, later = [d for d in others if d < first], [d for d in others if d > first]

    def of_theirs(cdrs: pl.LazyFrame) -> pl.LazyFrame:
        return calls_to_leads(cdrs.filter(theirs))

    since = pl.concat([asked, gathered(of_theirs, fixed(store, CDRS, later))])
    again = since.lazy().select("lead").drop_nulls().unique()

    def to_the_same(cdrs: pl.LazyFrame) -> pl.LazyFrame:
        return of_theirs(cdrs).join(again, on="lead", how="semi", maintain_order="left")

    known = gathered(to_the_same, fixed(store, CDRS, before))
    return pl.concat([known, since.sort(DATE, maintain_order=True)])


def _bear_on(store: Store, days: list[date], calls: pl.DataFrame) -> pl.Expr:
    """Whether a call is one of a campaign that called leads on these days: by their calls as they
    are, and as they were numbered last.

    Any call may be where a day was fetched before and never numbered (its run was killed): what
    later days counted of it then is not known.
    """
    held = [day for day in days if store.holds(LEAD_ATTEMPTS, day)]
    if any(_fetched_before(store, day) for day in days if day not in held):
        return pl.lit(True)
    numbered = fixed(store, LEAD_ATTEMPTS, held).filter(pl.col("attempt").is_not_null())
    now = calls.filter(pl.col("lead").is_not_null())["campaign_uuid"]
    campaigns = pl.concat([now, numbered.collect()["campaign_uuid"]]).unique()
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
