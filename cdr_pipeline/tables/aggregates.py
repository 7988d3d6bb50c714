"""The tables that one day's calls alone make, of the measures in `kpi`.

What needs other days as well stands in `concurrency` and `attempts`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import time
from typing import Final

import polars as pl

from cdr_pipeline.record import DIRECTIONS, KEYS, Disposition
from cdr_pipeline.tables import kpi
from cdr_pipeline.tables.contract import (
    AGENT_DAILY,
    CAMPAIGN_DAILY,
    COMPLIANCE_DAILY,
    DISPOSITION_DAILY,
    HOTLINE_DAILY,
    Dataset,
)

_BY_ENDING: Final = ["campaign_uuid", "disposition", "status", "cause", "sip_hangup_disposition"]

#: What every count of calls by someone or something has.
_OUTCOME: Final = {
    "calls": kpi.calls(),
    **{one.label: kpi.calls_of(one) for one in Disposition},
    "seizures": kpi.seizures(),
    "effective": kpi.effective(),
    "duration_seconds": pl.col("duration").sum(),
    "billsec": pl.col("billsec").sum(),
    "ring_seconds": pl.col("ring_seconds").sum(),
    "short_calls": kpi.short_calls(),
}
_RATIOS: Final = {"asr": kpi.asr(), "ner": kpi.ner(), "acd_seconds": kpi.acd_seconds()}
_NUMBERS_AND_TIMES: Final = {
    "unique_numbers": kpi.unique("to_number"),
    "first_call_at": pl.col("time_started").min(),
    "last_call_at": pl.col("time_started").max(),
}
_SHAPE: Final = {
    "key_presses": kpi.key_presses(),
    **kpi.talks(),
    **{f"key_{key}": kpi.presses_of(key) for key in KEYS},
    "rings": pl.col("ring_seconds").count().cast(pl.Int64),
    **kpi.spread("ring", pl.col("ring_seconds")),
    **kpi.spread("talk", kpi.talk_seconds()),
    "key_delay_seconds": kpi.key_delay().sum(),
    **kpi.spread("key_delay", kpi.key_delay()),
    "ended_by_system": kpi.ended_by("send"),
    "ended_by_far_end": kpi.ended_by("recv"),
}


def campaign_daily(cdrs: pl.LazyFrame) -> pl.LazyFrame:
    """`cdrs` -> `campaign_daily`: one row a campaign, roots only."""
    measures = _OUTCOME | _SHAPE | _NUMBERS_AND_TIMES | {"unique_leads": kpi.unique("lead_uuid")}
    made = roots(cdrs).group_by("campaign_uuid").agg(**measures).with_columns(**_RATIOS)
    return as_contracted(CAMPAIGN_DAILY, made, ["campaign_uuid"])


def of_all_campaigns(campaigns: pl.DataFrame) -> dict[str, float]:
    """ASR, NER and ACD over the rows of a `campaign_daily`; those over nothing are left out."""
    sums = campaigns.select(pl.col("answered", "seizures", "effective", "billsec").sum())
    ratios = sums.select(**_RATIOS).row(0, named=True)
    return {name: ratio for name, ratio in ratios.items() if ratio is not None}


def disposition_daily(cdrs: pl.LazyFrame) -> pl.LazyFrame:
    """`cdrs` -> `disposition_daily`: how each campaign's calls ended, roots only."""
    of_the_campaign = pl.col("calls").sum().over("campaign_uuid")
    made = (
        roots(cdrs)
        .group_by(_BY_ENDING)
        .agg(**_OUTCOME | _SHAPE)
        .with_columns(share=pl.col("calls") / of_the_campaign)
    )
    return as_contracted(DISPOSITION_DAILY, made, _BY_ENDING)


def hotline_daily(cdrs: pl.LazyFrame) -> pl.LazyFrame:
    """`cdrs` -> `hotline_daily`: one row a from_number of outbound calls, roots only."""
    made = (
        roots(cdrs)
        .filter(pl.col("direction") == "outbound")
        .group_by("from_number")
        .agg(**_OUTCOME | _NUMBERS_AND_TIMES, congestion=kpi.congestion())
        .with_columns(**_RATIOS, congestion_share=kpi.congestion_share())
    )
    return as_contracted(HOTLINE_DAILY, made, ["from_number"])


def agent_daily(cdrs: pl.LazyFrame) -> pl.LazyFrame:
    """`cdrs` -> `agent_daily`: one row an extension, roots only."""
    directions = {one: kpi.count(pl.col("direction") == one) for one in DIRECTIONS}
    made = (
        roots(cdrs)
        .filter(pl.col("extension").is_not_null())
        .group_by("extension")
        .agg(**_OUTCOME | _NUMBERS_AND_TIMES | kpi.talks() | directions)
        .with_columns(**_RATIOS)
    )
    return as_contracted(AGENT_DAILY, made, ["extension"])


@dataclass(frozen=True)
class Rules:
    """When, and how often on one day, customers may be called (`Settings.allowed_from`, ...).

    Both ends of the window are in it; one that ends before it begins reaches over midnight.
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


def compliance_daily(cdrs: pl.LazyFrame, rules: Rules) -> pl.LazyFrame:
    """`cdrs` -> `compliance_daily`: one row a campaign; roots, outbound, really attempted.

    A number's calls of the day are numbered over all campaigns, in the order of time_started, so
    that what is too much is counted once and adds up.
    """
    nth = pl.when(pl.col("to_number").is_not_null()).then(kpi.number_within("to_number"))
    made = (
        roots(cdrs)
        .filter((pl.col("direction") == "outbound") & ~kpi.is_of(Disposition.NOT_ATTEMPT))
        .sort("to_number", "time_started", "id")
        .with_columns(nth=nth)
        .group_by("campaign_uuid")
        .agg(
            calls=kpi.calls(),
            outside_window=kpi.count(rules.outside()),
            over_limit=kpi.count(pl.col("nth") > rules.calls_per_number),
            numbers_over_limit=kpi.count(pl.col("nth") == rules.calls_per_number + 1),
        )
        .with_columns(
            allowed_from=pl.lit(f"{rules.allowed_from:%H:%M:%S}"),
            allowed_until=pl.lit(f"{rules.allowed_until:%H:%M:%S}"),
            calls_per_number=pl.lit(rules.calls_per_number, pl.Int64),
        )
    )
    return as_contracted(COMPLIANCE_DAILY, made, ["campaign_uuid"])


def roots(cdrs: pl.LazyFrame) -> pl.LazyFrame:
    """The calls that are counted: a transfer's or a ring group's other legs are no calls."""
    return cdrs.filter("is_root")


def as_contracted(dataset: Dataset, made: pl.LazyFrame, by: Sequence[str]) -> pl.LazyFrame:
    """A dataset's columns in the promised order, rows ordered by its key."""
    return made.sort(by).select(column.name for column in dataset.columns)
