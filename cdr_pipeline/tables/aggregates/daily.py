"""The aggregates that are made from the calls of one day, by the measures of `kpi`.

Aggregates that need other days as well are in `concurrency` and `attempts`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import time
from functools import partial
from typing import Final, Self

import polars as pl

from cdr_pipeline.record import DIRECTIONS, KEYS, Disposition
from cdr_pipeline.tables import kpi
from cdr_pipeline.tables.aggregates import tally
from cdr_pipeline.tables.datasets import (
    AGENT_DAILY,
    CAMPAIGN_DAILY,
    COMPLIANCE_DAILY,
    DISPOSITION_DAILY,
    HOTLINE_DAILY,
    Dataset,
)

#: The additive columns of a campaign, a hotline or an agent, from which `kpi.OF_CALLS` are made.
_OUTCOME: Final = {
    "calls": kpi.calls(),
    **{one.label: kpi.calls_of(one) for one in Disposition},
    "seizures": kpi.seizures(),
    "effective": kpi.effective(),
    "duration_seconds": pl.col("duration").sum(),
    "billsec": pl.col("billsec").sum(),
    "ring_seconds": kpi.seconds("ring_seconds"),
    "short_calls": kpi.short_calls(),
    "first_call_at": pl.col("first_call_at").min(),
    "last_call_at": pl.col("last_call_at").max(),
}
_DISTINCT: Final = {"unique_numbers": kpi.unique("number"), "unique_leads": kpi.unique("lead")}
_SHAPE: Final = {
    "key_presses": kpi.key_presses(),
    **kpi.talks(),
    **{f"key_{key}": kpi.presses_of(key) for key in KEYS},
    "rings": kpi.rings(),
    **kpi.spread("ring", "ring_seconds"),
    **kpi.spread("talk", "talk_seconds"),
    "key_delay_seconds": kpi.seconds("key_delay", "key_presses"),
    **kpi.spread("key_delay", "key_delay"),
    "ended_by_system": kpi.ended_by("send"),
    "ended_by_far_end": kpi.ended_by("recv"),
}


#: Boolean columns by which `Day.only` selects calls.
_MARKS: Final = {"outbound": kpi.is_direction("outbound"), "attempted": kpi.attempted()}


@dataclass(frozen=True)
class Day:
    """The calls of a day, as the aggregates need them.

    tally: for measures that add up (`tally`).
    calls: root legs, one per row, for measures that do not: `campaign_uuid`, `from_number`,
        `extension`, `hour`, `time_started`, and `lead` and `number`: hashes of 64 bits of
        `lead_uuid` and `to_number`, null for null.

    Of a million numbers, two share a hash and count as one on one day in thirty million; the texts
    would take five times the memory.
    """

    tally: pl.LazyFrame
    calls: pl.LazyFrame

    @classmethod
    def of(cls, cdrs: pl.LazyFrame) -> Self:
        """A lazy query over `cdrs` of the day."""
        return cls(tally.singly(cdrs).with_columns(**_MARKS), _calls(cdrs))

    @classmethod
    def read(cls, cdrs: pl.LazyFrame) -> Self:
        """The day in memory, read once and some row groups at a time."""
        asked = [(tally.alike(day.tally), day.calls) for day in map(cls.of, tally.parts(cdrs))]
        tallies, calls = zip(*map(pl.collect_all, asked), strict=True)
        return cls(pl.concat(tallies).lazy().with_columns(**_MARKS), pl.concat(calls).lazy())

    def only(self, holds: str | pl.Expr) -> "Day":
        """The calls for which `holds` is true."""
        return Day(self.tally.filter(holds), self.calls.filter(holds))

    def ranked(self, by: tuple[str, ...]) -> "Day":
        """The day with the columns that medians by group need (`kpi.ranked`)."""
        ranks = {
            **kpi.ranked("ring_seconds", by),
            **kpi.ranked("talk_seconds", by, "talks"),
            **kpi.ranked("key_delay", by, "key_presses"),
        }
        return replace(self, tally=self.tally.with_columns(**ranks))


def _calls(cdrs: pl.LazyFrame) -> pl.LazyFrame:
    return tally.roots(cdrs).select(
        *("campaign_uuid", "from_number", "extension", "hour", "time_started"),
        lead=kpi.in_64_bits("lead_uuid"),
        number=kpi.in_64_bits("to_number"),
        **_MARKS,
    )


def campaign_daily(day: Day) -> pl.LazyFrame:
    """`campaign_daily`: one row per campaign."""
    return _counted(CAMPAIGN_DAILY, day.ranked(CAMPAIGN_DAILY.key), _SHAPE)


def of_all_campaigns(campaigns: pl.DataFrame) -> dict[str, float]:
    """ASR, NER and ACD over the rows of a `campaign_daily`; without ratios over nothing."""
    sums = campaigns.select(pl.col("answered", "seizures", "effective", "billsec").sum())
    ratios = sums.select(**kpi.ratios()).row(0, named=True)
    return {name: ratio for name, ratio in ratios.items() if ratio is not None}


def disposition_daily(day: Day) -> pl.LazyFrame:
    """`disposition_daily`: how each campaign's calls ended."""
    of_the_campaign = pl.col("calls").sum().over("campaign_uuid")
    made = (
        day.ranked(DISPOSITION_DAILY.key)
        .tally.group_by(*DISPOSITION_DAILY.key)
        .agg(**_OUTCOME | _SHAPE)
        .with_columns(share=pl.col("calls") / of_the_campaign)
    )
    return in_order(DISPOSITION_DAILY, made)


def hotline_daily(day: Day) -> pl.LazyFrame:
    """`hotline_daily`: one row per from_number of outbound calls."""
    return _counted(HOTLINE_DAILY, day.only("outbound"), {"congestion": kpi.congestion()})


def agent_daily(day: Day) -> pl.LazyFrame:
    """`agent_daily`: one row per extension."""
    directions = {one: kpi.calls_if(kpi.is_direction(one)) for one in DIRECTIONS}
    agents = day.only(pl.col("extension").is_not_null())
    return _counted(AGENT_DAILY, agents, kpi.talks() | directions)


def _counted(dataset: Dataset, day: Day, more: dict[str, pl.Expr]) -> pl.LazyFrame:
    """A dataset of sums, ratios and distinct counts; columns that it does not have are dropped."""
    by = dataset.key
    ratios = kpi.ratios(name for name in dataset.names if name in kpi.RATIOS)
    distinct = day.calls.group_by(*by).agg(**_DISTINCT)
    summed = day.tally.group_by(*by).agg(**_OUTCOME | more).with_columns(**ratios)
    return in_order(dataset, summed.join(distinct, on=by, how="left", nulls_equal=True))


@dataclass(frozen=True)
class CallingRules:
    """When, and how often on one day, customers may be called (`Settings.allowed_from`, ...).

    Both ends of the window are included; a window that ends before it begins reaches over midnight.
    """

    allowed_from: time
    allowed_until: time
    calls_per_number: int

    def outside(self) -> pl.Expr:
        """Whether a call began outside the window, by local time."""
        at, first, last = pl.col("time_started").dt.time(), self.allowed_from, self.allowed_until
        if first <= last:
            return ~at.is_between(first, last)
        return (at > last) & (at < first)

    def perhaps_outside(self) -> pl.Expr:
        """Whether a call may have begun outside, by its hour: most calls need no exact check."""
        first, last = self.allowed_from, self.allowed_until
        return ~pl.col("hour").is_in(range(first.hour + 1, last.hour))


def compliance_daily(day: Day, rules: CallingRules) -> pl.LazyFrame:
    """`compliance_daily`: one row per campaign; outbound calls that were really attempted.

    The day's calls to a number are numbered over all campaigns, in the order of time_started (then
    of `cdrs`), so that each call over the limit is counted once and campaigns add up.
    """
    (by,), limit = COMPLIANCE_DAILY.key, rules.calls_per_number
    attempted = day.only("outbound").only("attempted")
    edges = attempted.calls.filter(rules.perhaps_outside())
    too_many = (
        attempted.calls.filter(kpi.more_often("number", limit))
        .sort("number", "time_started", maintain_order=True)
        .with_columns(nth=kpi.number_within("number"))
    )
    counts = (
        attempted.tally.group_by(by).agg(calls=kpi.calls()),
        edges.group_by(by).agg(outside_window=kpi.count(rules.outside())),
        too_many.group_by(by).agg(
            over_limit=kpi.count(pl.col("nth") > limit),
            numbers_over_limit=kpi.count(pl.col("nth") == limit + 1),
        ),
    )
    made = (
        pl.concat(counts, how="diagonal")
        .group_by(by)
        .agg(pl.all().sum())
        .with_columns(
            allowed_from=pl.lit(f"{rules.allowed_from:%H:%M:%S}"),
            allowed_until=pl.lit(f"{rules.allowed_until:%H:%M:%S}"),
            calls_per_number=pl.lit(limit, pl.Int64),
        )
    )
    return in_order(COMPLIANCE_DAILY, made)


def measures(rules: CallingRules) -> dict[str, Callable[[Day], pl.LazyFrame]]:
    """Dataset -> the function that makes it from its day."""
    return {
        CAMPAIGN_DAILY.name: campaign_daily,
        DISPOSITION_DAILY.name: disposition_daily,
        HOTLINE_DAILY.name: hotline_daily,
        AGENT_DAILY.name: agent_daily,
        COMPLIANCE_DAILY.name: partial(compliance_daily, rules=rules),
    }


def in_order(dataset: Dataset, made: pl.LazyFrame) -> pl.LazyFrame:
    """The columns in the order of the dataset, the rows sorted by its key."""
    return made.sort(*dataset.key).select(dataset.names)
