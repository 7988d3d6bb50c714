"""Computes the figures of the page: sums over the aggregates, as plain values and small frames."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

import polars as pl

from cdr_pipeline import checks
from cdr_pipeline.checks import Finding
from cdr_pipeline.errors import CdrError, Damaged
from cdr_pipeline.record import Disposition
from cdr_pipeline.tables import kpi
from cdr_pipeline.tables.datasets import (
    CAMPAIGN_DAILY,
    CAMPAIGN_HOURLY,
    CDRS,
    COMPLIANCE_DAILY,
    DATE,
    HOTLINE_DAILY,
    RECEIPTS,
    REJECTS,
    Dataset,
)
from cdr_pipeline.tables.provenance import counted_otherwise, of_the_fetch
from cdr_pipeline.tables.readers import fixed
from cdr_pipeline.tables.store import Store
from cdr_pipeline.window import every_day

#: A day is in the figures if it has all these datasets, made from one fetch: a killed run may have
#: left some datasets of another fetch.
NEEDED: Final = (
    RECEIPTS,
    CDRS,
    REJECTS,
    CAMPAIGN_DAILY,
    CAMPAIGN_HOURLY,
    HOTLINE_DAILY,
    COMPLIANCE_DAILY,
)

#: At most so many lines of campaigns; the last line then sums all other campaigns.
_MOST_CAMPAIGNS: Final = 12

#: At most so many days have a row each in the picture of hours; of a longer range, each month has.
_MOST_DAYS: Final = 31

#: Counts of the answered calls whose talk is known to have lasted 5 s or more.
_TALKED: Final = ("talks_5_to_15s", "talks_15_to_30s", "talks_over_30s")

_SUMMED: Final = (
    *("calls", "seizures", "effective", "billsec", "short_calls", "key_presses"),
    *_TALKED,
    *(one.label for one in Disposition),
)

#: Stands for the UUID in the line of all other campaigns.
OTHERS: Final = "\0others"


@dataclass(frozen=True)
class Span:
    """The days from `first` to `last`, both included."""

    first: date
    last: date

    @property
    def every(self) -> list[date]:
        """All days of the span, stored or not."""
        return every_day(self.first, self.last)

    @property
    def one_day(self) -> bool:
        """Whether the span is a single day."""
        return self.first == self.last

    @property
    def by_month(self) -> bool:
        """Whether there are too many days for a row each."""
        return len(self.every) > _MOST_DAYS

    @property
    def weeks(self) -> timedelta:
        """How far back the `earlier` span is: whole weeks, so that weekdays are the same."""
        return timedelta(weeks=-(-len(self.every) // 7))

    @property
    def earlier(self) -> "Span":
        """The days that this span is compared with."""
        return Span(self.first - self.weeks, self.last - self.weeks)


@dataclass(frozen=True)
class Figures(Span):
    """The figures of the days from `first` to `last`.

    days: the stored days. records: how many records they have, with all legs of the calls. now,
    before: sums, ratios and peaks over all calls of these days, and of the `earlier` days; before
    is None unless every earlier day is stored. curve: `at` (an hour, or a day), `calls`, and
    `before` if there are earlier days; null for a day that is not stored. heat: `row` (campaign,
    day or month), `hour`, `calls`. campaigns: one row each, most calls first. hotlines: one row
    each, most congestion first. rules: one row for each set of rules that the days were counted by.
    otherwise: days, also earlier ones, that do not compare with the last day (`provenance`).
    """

    days: list[date]
    fetched: datetime
    proved: bool
    records: int
    now: dict[str, Any]
    before: dict[str, Any] | None
    curve: pl.DataFrame
    heat: pl.DataFrame
    campaigns: pl.DataFrame
    hotlines: pl.DataFrame
    rules: pl.DataFrame
    otherwise: list[date]
    findings: dict[date, list[Finding]]

    @property
    def missing(self) -> list[date]:
        """The days that are not stored, or only in part; no figure includes them."""
        stored = set(self.days)
        return [day for day in self.every if day not in stored]

    @property
    def funnel(self) -> dict[str, int]:
        """Step -> calls, from all calls to key presses. Each step is a part of the step before, but
        the last two are both parts of the answered calls.
        """
        return {
            "calls": self.now["calls"],
            "attempted": self.now["seizures"],
            "effective": self.now["effective"],
            "answered": self.now["answered"],
            "talked": sum(self.now[bucket] for bucket in _TALKED),
            "key_presses": self.now["key_presses"],
        }


def figures(store: Store, first: date, last: date) -> Figures:
    """The figures of the days from `first` to `last`, both included. Raises CdrError if no day is
    stored whole, and Damaged if a file cannot be read.
    """
    span = Span(first, last)
    days = _stored(store, span)
    if not days:
        named = f"{first}" if span.one_day else f"{first} to {last}"
        raise CdrError(
            f"There is nothing to report of {named}, or nothing whole. If a run is at work on these"
            " days, try again when it has ended; else load them with `cdr-pipeline run`, or"
            f" materialize {', '.join(one.name for one in NEEDED)} of them."
        )
    earlier = _earlier(store, span, days)
    with store.naming_damage(NEEDED, [*days, *earlier]):
        receipts = fixed(store, RECEIPTS, days).collect()
        daily = _lines(store, CAMPAIGN_DAILY, days, "campaign_uuid")
        return Figures(
            first=first,
            last=last,
            days=days,
            fetched=receipts["finished_at"].max(),  # type: ignore[arg-type]
            proved=bool(receipts["verified"].all()),
            records=sum(store.rows(CDRS, day) for day in days),
            now=_over_all(store, days),
            before=_over_all(store, earlier) if earlier else None,
            curve=_curve(store, span, days, earlier),
            heat=_heat(store, span, days),
            campaigns=_fewer(daily).with_columns(**kpi.ratios()),
            hotlines=_hotlines(store, days),
            rules=_rules(store, days),
            otherwise=counted_otherwise(store, [*earlier, *days]),
            findings={day: list(checks.of_stored(store, day)) for day in days},
        )


def _stored(store: Store, span: Span) -> list[date]:
    days = store.days(CAMPAIGN_DAILY, span.first, span.last)
    return [day for day in days if of_the_fetch(store, day, NEEDED)]


def _earlier(store: Store, span: Span, days: list[date]) -> list[date]:
    """The days to compare `days` with; none unless all are stored and can be read."""
    earlier = [day - span.weeks for day in days]
    with suppress(Damaged):
        if set(earlier) <= set(_stored(store, span.earlier)):
            return earlier
    return []


def _lines(store: Store, dataset: Dataset, days: list[date], by: str) -> pl.DataFrame:
    """Sums of an aggregate's integer columns over the days, one row for each value of key `by`."""
    counts = [name for name, dtype in dataset.types.items() if dtype == pl.Int64()]
    return fixed(store, dataset, days).group_by(by).agg(pl.col(counts).sum()).collect()


def _over_all(store: Store, days: list[date]) -> dict[str, Any]:
    """Sums and ratios over all campaigns and days, and the highest peaks."""
    sums = fixed(store, CAMPAIGN_DAILY, days).select(pl.col(_SUMMED).sum())
    peaks = fixed(store, CAMPAIGN_HOURLY, days).select(
        peak_calls=pl.col("peak_calls_all").max().fill_null(0),
        peak_talks=pl.col("peak_talks_all").max().fill_null(0),
    )
    return sums.with_columns(**kpi.ratios()).collect().hstack(peaks.collect()).row(0, named=True)


def _curve(store: Store, span: Span, days: list[date], before: list[date]) -> pl.DataFrame:
    """`at` (hour of one day, or day), `calls`, and `before` if there are earlier days: 0 if no call
    began, null if the day is not stored.
    """
    at = pl.col("hour").cast(pl.Int64) if span.one_day else pl.col(DATE)
    at_before = at if span.one_day else at.dt.offset_by(f"{span.weeks.days}d")
    earlier = _calls_at(store, before, at_before).rename({"calls": "before"})
    slots = _calls_at(store, days, at).join(earlier, on="at", how="full", coalesce=True).collect()
    if span.one_day:
        hours = slots.select(at=pl.int_ranges(pl.col("at").min(), pl.col("at").max() + 1))
        axis, stored = hours.explode("at").drop_nulls(), pl.lit(True)
    else:
        axis, stored = pl.DataFrame({"at": span.every}), pl.col("at").is_in(days)
    counted = pl.col("calls", "before") if before else pl.col("calls")
    return axis.join(slots, on="at", how="left", maintain_order="left").with_columns(
        pl.when(stored).then(counted.fill_null(0))
    )


def _calls_at(store: Store, days: list[date], at: pl.Expr) -> pl.LazyFrame:
    """`at` (hour or day), `calls`: how many calls began on these days."""
    return _hours(store, days).group_by(at=at).agg(pl.col("calls").sum())


def _hours(store: Store, days: list[date]) -> pl.LazyFrame:
    """The rows of hours in which calls began, without hours in which calls only went on."""
    return fixed(store, CAMPAIGN_HOURLY, days).filter(pl.col("calls") > 0)


def _heat(store: Store, span: Span, days: list[date]) -> pl.DataFrame:
    hours = _hours(store, days)
    if span.one_day:
        row = _or_others(_largest(hours.collect()))
    else:
        row = pl.col(DATE).dt.to_string("%Y-%m" if span.by_month else "%Y-%m-%d")
    made = hours.group_by(row.alias("row"), "hour").agg(pl.col("calls").sum())
    return made.sort("row", "hour").collect()


def _fewer(lines: pl.DataFrame) -> pl.DataFrame:
    """One row for each of the largest campaigns, and a last row with the sums of all others."""
    largest = _largest(lines)
    return (
        lines.group_by(campaign_uuid=_or_others(largest))
        .agg(pl.exclude("campaign_uuid").sum())
        .sort(pl.col("campaign_uuid").eq_missing(OTHERS), -pl.col("calls"), "campaign_uuid")
    )


def _largest(lines: pl.DataFrame) -> pl.Series:
    by_calls = lines.group_by("campaign_uuid").agg(pl.col("calls").sum())
    ordered = by_calls.sort("calls", "campaign_uuid", descending=[True, False])
    few = len(ordered) <= _MOST_CAMPAIGNS
    return ordered["campaign_uuid"] if few else ordered["campaign_uuid"].head(_MOST_CAMPAIGNS - 1)


def _or_others(largest: pl.Series) -> pl.Expr:
    among = pl.col("campaign_uuid").is_in(largest.implode(), nulls_equal=True)
    return pl.when(among).then("campaign_uuid").otherwise(pl.lit(OTHERS))


def _hotlines(store: Store, days: list[date]) -> pl.DataFrame:
    """One row for each hotline, most congestion first."""
    lines = _lines(store, HOTLINE_DAILY, days, "from_number").with_columns(
        **kpi.ratios(["asr", "congestion_share"]),
        short_share=kpi.ratio("short_calls", "answered"),
    )
    return lines.sort("congestion_share", "calls", "from_number", descending=True, nulls_last=True)


def _rules(store: Store, days: list[date]) -> pl.DataFrame:
    """One row for each set of rules that the days were counted by."""
    by = ["allowed_from", "allowed_until", "calls_per_number"]
    counts = pl.col("calls", "outside_window", "over_limit", "numbers_over_limit").sum()
    return fixed(store, COMPLIANCE_DAILY, days).group_by(by).agg(counts).sort(by).collect()
