"""Measures of calls as Polars expressions, each defined once, with its source.

They take the columns of `cdrs`. Ratios lie between 0 and 1 and are null over nothing; numerators
and denominators are stored beside them, so that days add up to weeks and months.
"""

from typing import Final

import polars as pl

from cdr_pipeline.record import (
    CAUSE_DISPOSITIONS,
    SHORT_CALL_SECONDS,
    STATUS_DISPOSITIONS,
    Disposition,
)
from cdr_pipeline.tables.contract import CAMPAIGN_DAILY, DISPOSITION_DAILY

_BY_CAMPAIGN: Final = ["campaign_uuid"]
_BY_ENDING: Final = ["campaign_uuid", "disposition", "status", "cause", "sip_hangup_disposition"]


def disposition() -> pl.Expr:
    """Our class of a call, by answer, status and hangup cause (`record`'s tables; API.md).

    Answered is decided by time_answered or billsec; then the vendor's status where it says more
    than the cause; then the cause. Columns in: time_answered, billsec, status, cause.
    """
    answered = pl.col("time_answered").is_not_null() | (pl.col("billsec") > 0)
    return pl.coalesce(
        pl.when(answered).then(pl.lit(Disposition.ANSWERED.label)),
        _class_of("status", STATUS_DISPOSITIONS),
        _class_of("cause", CAUSE_DISPOSITIONS),
        pl.lit(Disposition.UNKNOWN.label),
    )


def calls_of(which: Disposition) -> pl.Expr:
    """Calls of one disposition."""
    return (pl.col("disposition") == which.label).sum().cast(pl.Int64)


def seizures() -> pl.Expr:
    """Calls that were really attempted (ITU-T E.425), given the columns of all dispositions."""
    return pl.col("calls") - pl.col(Disposition.NOT_ATTEMPT.label)


def effective() -> pl.Expr:
    """NER's numerator (ITU-T E.425): answered, or the far end's doing and not the network's."""
    return pl.sum_horizontal(one.label for one in Disposition if one.effective)


def asr() -> pl.Expr:
    """Answer-seizure ratio (ITU-T E.411, E.425): answered / seizures."""
    return _ratio("answered", "seizures")


def ner() -> pl.Expr:
    """Network effectiveness ratio (ITU-T E.425): effective / seizures."""
    return _ratio("effective", "seizures")


def acd_seconds() -> pl.Expr:
    """Average call duration: billsec / answered."""
    return _ratio("billsec", "answered")


def campaign_daily(cdrs: pl.LazyFrame) -> pl.LazyFrame:
    """`cdrs` -> `campaign_daily`: one row a campaign, roots only."""
    answered = pl.col("disposition") == Disposition.ANSWERED.label
    return (
        cdrs.filter("is_root")
        .group_by(_BY_CAMPAIGN)
        .agg(
            pl.len().cast(pl.Int64).alias("calls"),
            *(calls_of(one).alias(one.label) for one in Disposition),
            pl.col("duration").sum().alias("duration_seconds"),
            pl.col("billsec", "ring_seconds").sum(),
            (answered & (pl.col("billsec") < SHORT_CALL_SECONDS))
            .sum()
            .cast(pl.Int64)
            .alias("short_calls"),
            pl.col("key_pressed").count().cast(pl.Int64).alias("key_presses"),
            pl.col("lead_uuid").drop_nulls().n_unique().cast(pl.Int64).alias("unique_leads"),
            pl.col("to_number").drop_nulls().n_unique().cast(pl.Int64).alias("unique_numbers"),
            pl.col("time_started").min().alias("first_call_at"),
            pl.col("time_started").max().alias("last_call_at"),
        )
        .with_columns(seizures=seizures(), effective=effective())
        .with_columns(asr=asr(), ner=ner(), acd_seconds=acd_seconds())
        .sort(_BY_CAMPAIGN)
        .select(column.name for column in CAMPAIGN_DAILY.columns)
    )


def of_all_campaigns(campaigns: pl.DataFrame) -> dict[str, float]:
    """ASR, NER and ACD over the rows of a `campaign_daily`; those over nothing are left out."""
    sums = campaigns.select(pl.col("answered", "seizures", "effective", "billsec").sum())
    ratios = sums.select(asr=asr(), ner=ner(), acd_seconds=acd_seconds()).row(0, named=True)
    return {name: ratio for name, ratio in ratios.items() if ratio is not None}


def disposition_daily(cdrs: pl.LazyFrame) -> pl.LazyFrame:
    """`cdrs` -> `disposition_daily`: how each campaign's calls ended, roots only."""
    return (
        cdrs.filter("is_root")
        .group_by(_BY_ENDING)
        .agg(
            pl.len().cast(pl.Int64).alias("calls"),
            pl.col("duration").sum().alias("duration_seconds"),
            pl.col("billsec").sum(),
        )
        .with_columns(share=pl.col("calls") / pl.col("calls").sum().over(_BY_CAMPAIGN))
        .sort(_BY_ENDING)
        .select(column.name for column in DISPOSITION_DAILY.columns)
    )


def _class_of(column: str, classes: dict[str, Disposition]) -> pl.Expr:
    labels = [one.label for one in classes.values()]
    return pl.col(column).replace_strict(
        list(classes), labels, default=None, return_dtype=pl.String
    )


def _ratio(numerator: str, denominator: str) -> pl.Expr:
    """Null over nothing."""
    return pl.when(pl.col(denominator) > 0).then(pl.col(numerator) / pl.col(denominator))
