"""What must hold for a day's data, and what is merely odd.

A blocking check keeps wrong data from flowing on: it is evaluated before a partition is replaced,
and the day fails. The others are warnings for people. The rules are Polars expressions over the
columns of `cdrs`; Dagster's check specs and results are made from this one table.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import dagster as dg
import polars as pl

from cdr_pipeline.record import (
    CAUSE_DISPOSITIONS,
    DIRECTIONS,
    SIP_HANGUP_DISPOSITIONS,
    STATUSES,
    Disposition,
    Window,
)
from cdr_pipeline.tables.contract import CDRS, RAW_PAGES, misfits
from cdr_pipeline.tables.flatten import Flat
from cdr_pipeline.tables.pages import began_in
from cdr_pipeline.tables.store import Store

#: A day's calls may be this many times more or fewer than on the same weekdays before.
UNUSUAL_FACTOR: Final = 2.0

#: How many weeks back the same weekday is looked at, and below how many calls nothing is unusual.
WEEKS_BACK: Final = 4
FEW_CALLS: Final = 100

#: How many of the odd values a result names.
_EXAMPLES: Final = 5


@dataclass(frozen=True)
class Check:
    """One rule of one dataset.

    `odd` is true for rows that break it; `shows` names a column whose values tell what was odd.
    """

    name: str
    asset: str
    description: str
    blocking: bool = False
    odd: pl.Expr | None = None
    shows: str = ""

    @property
    def spec(self) -> dg.AssetCheckSpec:
        """Dagster's view of the rule."""
        return dg.AssetCheckSpec(
            self.name, asset=self.asset, description=self.description, blocking=self.blocking
        )


@dataclass(frozen=True)
class Finding:
    """What a check found on one day."""

    check: Check
    passed: bool
    summary: str

    def event(self, day: str) -> dg.AssetCheckEvaluation:
        """Dagster's record of it, for the day's partition."""
        return dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(self.check.asset),
            check_name=self.check.name,
            passed=self.passed,
            partition=day,
            description=self.summary,
            metadata={"found": self.summary},
            blocking=self.check.blocking,
            severity=(
                dg.AssetCheckSeverity.ERROR if self.check.blocking else dg.AssetCheckSeverity.WARN
            ),
        )


def _seconds(later: str, earlier: str) -> pl.Expr:
    return (pl.col(later) - pl.col(earlier)).dt.total_seconds()


def _strange(column: str, known: Iterable[str]) -> pl.Expr:
    return pl.col(column).is_not_null() & ~pl.col(column).is_in(sorted(known))


VERIFIED: Final = Check(
    "verified",
    RAW_PAGES.name,
    "The distinct records received equal the vendor's own total, which stood still meanwhile.",
    blocking=True,
)
BALANCE: Final = Check(
    "balance",
    CDRS.name,
    "Every record received for the day is a row of cdrs or, whole, of cdr_rejects.",
    blocking=True,
)
ID_UNIQUE: Final = Check("id_unique", CDRS.name, "No two rows have the same id.", blocking=True)
TYPES: Final = Check(
    "types_as_contracted", CDRS.name, "Columns have the names and types promised.", blocking=True
)
IN_THE_DAY: Final = Check(
    "in_the_day", CDRS.name, "Every call began on the partition's local day.", blocking=True
)
USUAL_VOLUME: Final = Check(
    "usual_volume",
    CDRS.name,
    f"As many calls, within a factor of {UNUSUAL_FACTOR:g}, as on the same weekday of the"
    f" {WEEKS_BACK} weeks before.",
)
ROW_WARNINGS: Final = (
    Check(
        "duration_agrees",
        CDRS.name,
        "duration = time_ended - time_started.",
        odd=pl.col("duration") != _seconds("time_ended", "time_started"),
    ),
    Check(
        "billsec_agrees",
        CDRS.name,
        "billsec = time_ended - time_answered.",
        odd=pl.col("billsec") != _seconds("time_ended", "time_answered"),
    ),
    Check(
        "answered_agrees",
        CDRS.name,
        "A call was answered exactly if it has time_answered; only then it has billsec.",
        odd=(
            ((pl.col("status") == "answered") & pl.col("time_answered").is_null())
            | ((pl.col("billsec") > 0) & pl.col("time_answered").is_null())
        ),
    ),
    Check(
        "known_status",
        CDRS.name,
        "Every status is documented.",
        odd=_strange("status", STATUSES),
        shows="status",
    ),
    Check(
        "known_cause",
        CDRS.name,
        "Every hangup cause has a class.",
        odd=_strange("cause", {*CAUSE_DISPOSITIONS, "NORMAL_CLEARING"}),
        shows="cause",
    ),
    Check(
        "known_disposition",
        CDRS.name,
        "Every call's disposition is known, by status or by cause.",
        odd=pl.col("disposition") == Disposition.UNKNOWN.label,
        shows="cause",
    ),
    Check(
        "known_sip_hangup_disposition",
        CDRS.name,
        "Every sip_hangup_disposition is documented.",
        odd=_strange("sip_hangup_disposition", SIP_HANGUP_DISPOSITIONS),
        shows="sip_hangup_disposition",
    ),
    Check(
        "known_direction",
        CDRS.name,
        "Every direction is documented.",
        odd=_strange("direction", DIRECTIONS),
        shows="direction",
    ),
)
FITS: Final = Check(
    "everything_fits",
    CDRS.name,
    "No record and no field had to be put into cdr_rejects.",
)
DOCUMENTED: Final = Check(
    "documented_fields",
    CDRS.name,
    "The vendor sent no top-level field that is not documented (else it is in `extra`).",
)
FEW_COLUMNS: Final = Check(
    "additional_columns",
    CDRS.name,
    "Every key of the lead lists has its column (CDR_MAX_ADDITIONAL_COLUMNS).",
)
ALL: Final = (
    VERIFIED,
    BALANCE,
    ID_UNIQUE,
    TYPES,
    IN_THE_DAY,
    USUAL_VOLUME,
    FITS,
    DOCUMENTED,
    FEW_COLUMNS,
    *ROW_WARNINGS,
)


def verified(receipt: pl.DataFrame) -> Finding:
    """Whether a day is proved complete, by its row of `cdr_receipts`."""
    row = receipt.row(0, named=True)
    equal = row["unique_records"] == row["reported_total"]
    summary = (
        f"{row['unique_records']:,} distinct records, the vendor's total is"
        f" {row['reported_total']:,}; {row['passes']} readings, {row['requests']} requests"
    )
    return Finding(VERIFIED, bool(row["verified"]) and equal, summary)


def of_cdrs(flat: Flat, day: date, records: int, store: Store) -> Iterator[Finding]:
    """All findings on one day's calls, blocking ones first. `records`: received for the day."""
    yield _balance(flat, records)
    yield _id_unique(flat.cdrs)
    faults = misfits(CDRS, flat.cdrs.schema, store.zone)
    yield Finding(TYPES, not faults, "; ".join(faults) or "all as promised")
    yield _in_the_day(flat.cdrs, day)
    yield usual_volume(len(flat.cdrs), _same_weekdays(day, store))
    yield _fits(flat.rejects)
    yield _documented(flat.cdrs)
    yield _few_columns(flat.left_out)
    yield from odd_rows(flat.cdrs)


def odd_rows(cdrs: pl.DataFrame) -> Iterator[Finding]:
    """The warnings about single calls, counted in one pass over `cdrs`."""
    counts = cdrs.select(
        check.odd.sum().alias(check.name) for check in ROW_WARNINGS if check.odd is not None
    )
    for check in ROW_WARNINGS:
        count = counts[check.name].item()
        summary = f"{count:,} of {len(cdrs):,} calls" if count else "none"
        if count and check.shows and check.odd is not None:
            values = cdrs.filter(check.odd)[check.shows].value_counts(sort=True).head(_EXAMPLES)
            summary += ": " + ", ".join(f"{str(v)[:40]} ({n:,})" for v, n in values.rows())
        yield Finding(check, not count, summary)


def usual_volume(calls: int, before: list[int]) -> Finding:
    """Whether a day's calls are near the mean of the same weekdays before."""
    if not before:
        return Finding(USUAL_VOLUME, True, "no same weekday to compare with yet")
    usual = sum(before) / len(before)
    near = usual / UNUSUAL_FACTOR <= calls <= usual * UNUSUAL_FACTOR
    summary = f"{calls:,} calls; {usual:,.0f} on the same weekday before"
    return Finding(USUAL_VOLUME, near or max(calls, usual) < FEW_CALLS, summary)


def _balance(flat: Flat, records: int) -> Finding:
    calls, rejects = len(flat.cdrs), flat.whole_rejects
    summary = f"{records:,} records received = {calls:,} calls + {rejects:,} whole rejects"
    return Finding(BALANCE, records == calls + rejects, summary)


def _fits(rejects: pl.DataFrame) -> Finding:
    counts = rejects.group_by("field", "reason").len().sort("len", descending=True)
    named = [f"{f or 'record'} {reason} ({n:,})" for f, reason, n in counts.head(_EXAMPLES).rows()]
    return Finding(FITS, rejects.is_empty(), ", ".join(named) or "all fits")


def _documented(cdrs: pl.DataFrame) -> Finding:
    extras = cdrs["extra"].drop_nulls()
    names = sorted({name for text in extras.unique().head(1000) for name in json.loads(text)})
    summary = f"{len(extras):,} calls with {', '.join(name[:40] for name in names[:_EXAMPLES])}"
    return Finding(DOCUMENTED, extras.is_empty(), summary if names else "none")


def _few_columns(left_out: list[str]) -> Finding:
    named = ", ".join(name[:60] for name in left_out[:_EXAMPLES])
    summary = f"{len(left_out):,} columns are in `additional` alone: {named}"
    return Finding(FEW_COLUMNS, not left_out, summary if left_out else "all have one")


def _id_unique(cdrs: pl.DataFrame) -> Finding:
    repeated = len(cdrs) - cdrs["id"].n_unique()
    return Finding(ID_UNIQUE, not repeated, f"{repeated:,} repeated ids")


def _in_the_day(cdrs: pl.DataFrame, day: date) -> Finding:
    inside = began_in(pl.col("time_started").dt.replace_time_zone(None), Window.of(day))
    stray = cdrs.filter(~inside.fill_null(False)).height
    return Finding(IN_THE_DAY, not stray, f"{stray:,} calls of another day")


def _same_weekdays(day: date, store: Store) -> list[int]:
    days = [day - timedelta(weeks=back) for back in range(1, WEEKS_BACK + 1)]
    return [store.rows(CDRS, one) for one in days if store.holds(CDRS, one)]
