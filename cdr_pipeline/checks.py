"""The checks of a day's data: blocking rules, and warnings about odd values.

A blocking check is evaluated before a partition is replaced: if it fails, the day fails and the
partition stays as it was. The other checks are warnings for people. The rules of rows are Polars
expressions over the columns of `cdrs`. `assets.layer` turns checks into Dagster's.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final, NamedTuple, Self, TypeAlias

import polars as pl

from cdr_pipeline.errors import Damaged, redacted, shortened
from cdr_pipeline.page import began_in
from cdr_pipeline.record import (
    DIRECTIONS,
    KNOWN_CAUSES,
    SIP_HANGUP_DISPOSITIONS,
    STATUSES,
    Disposition,
)
from cdr_pipeline.tables.contract import NO_MARK, Contract
from cdr_pipeline.tables.datasets import CDRS, RAW_PAGES, RECEIPTS, REJECTS, schema_faults
from cdr_pipeline.tables.flattening.additional import Misfits
from cdr_pipeline.tables.footer import MadeBy
from cdr_pipeline.tables.provenance import WAY_OUT, days_in_words, made_by
from cdr_pipeline.tables.store import Store
from cdr_pipeline.tables.values import tokens_of
from cdr_pipeline.upkeep import GRACE
from cdr_pipeline.window import Window, ranges

#: A day may have this many times more or fewer calls than the mean of the same weekdays before.
_UNUSUAL_FACTOR: Final = 2.0

#: How many weeks of the same weekday are compared, and below how many calls no volume is unusual.
_WEEKS_BACK: Final = 4
_FEW_CALLS: Final = 100

#: How many odd values a finding names, and how many columns that were left out.
_EXAMPLES: Final = 5
_COLUMNS_NAMED: Final = 50


@dataclass(frozen=True)
class Check:
    """One rule of one dataset.

    `urgent`: an error for a person to look at now, although it blocks nothing.
    """

    name: str
    description: str
    asset: str = CDRS.name
    blocking: bool = False
    urgent: bool = False


@dataclass(frozen=True, kw_only=True)
class RowCheck(Check):
    """A rule for each row.

    `odd` is true for rows that break the rule; the finding shows the odd values of column `shows`.
    """

    odd: pl.Expr
    shows: str = ""


class Told:
    """A message in English with named places, and the values for them, so that it can be
    translated.
    """

    def __init__(self, text: str, **values: "Telling") -> None:
        self.text = text
        self.values = values


class Days(NamedTuple):
    """Days, shown as ranges."""

    days: Sequence[date]


#: What a finding may say: messages, counts, days, values from the data (not translated), and lists.
Telling: TypeAlias = Told | int | str | Days | Sequence["Telling"]


def tell(
    telling: Telling,
    word: Callable[[str], str] = str,
    number: Callable[[int], str] = "{:,}".format,
    ranges: Callable[[Sequence[date], int], str] = ranges,
) -> str:
    """A telling as text, in English; in another language with its functions for `word`, `number`
    and `ranges` of days.
    """

    def told(one: Telling) -> str:
        match one:
            case str():
                return one
            case int():
                return number(one)
            case Days():
                return ranges(one.days, _EXAMPLES)
            case Told():
                values = {name: told(value) for name, value in one.values.items()}
                return word(one.text).format(**values)
        return ", ".join(map(told, one))

    return told(telling)


@dataclass(frozen=True)
class Finding:
    """What a check found on one day."""

    check: Check
    passed: bool
    told: Telling

    @property
    def summary(self) -> str:
        """The finding as English text."""
        return tell(self.told)


def _seconds(later: str, earlier: str) -> pl.Expr:
    return (pl.col(later) - pl.col(earlier)).dt.total_seconds()


def _strange(column: str, known: Iterable[str]) -> pl.Expr:
    return pl.col(column).is_not_null() & ~pl.col(column).is_in(sorted(known))


VERIFIED: Final = Check(
    "verified",
    "As many distinct records came as the vendor's own total says, and the total did not change.",
    asset=RAW_PAGES.name,
    blocking=True,
)
BALANCE: Final = Check(
    "balance",
    "Every record received for the day is a row of cdrs, or a whole record in cdr_rejects.",
    blocking=True,
)
ID_UNIQUE: Final = Check("id_unique", "No two rows have the same id.", blocking=True)
TYPES: Final = Check(
    "types_as_contracted", "All columns have the promised names and types.", blocking=True
)
IN_THE_DAY: Final = Check(
    "in_the_day", "Every call began on the partition's local day.", blocking=True
)
USUAL_VOLUME: Final = Check(
    "usual_volume",
    f"The number of calls is within a factor of {_UNUSUAL_FACTOR:g} of the same weekdays of the"
    f" {_WEEKS_BACK} weeks before.",
)
ROW_WARNINGS: Final = (
    RowCheck(
        "duration_agrees",
        "duration = time_ended - time_started.",
        odd=pl.col("duration") != _seconds("time_ended", "time_started"),
    ),
    RowCheck(
        "billsec_agrees",
        "billsec = time_ended - time_answered.",
        odd=pl.col("billsec") != _seconds("time_ended", "time_answered"),
    ),
    RowCheck(
        "answered_agrees",
        "Every call with status answered, or with billsec, has a time_answered.",
        odd=pl.col("time_answered").is_null()
        & ((pl.col("status") == "answered") | (pl.col("billsec") > 0)),
    ),
    RowCheck(
        "known_status",
        "Every status is documented.",
        odd=_strange("status", STATUSES),
        shows="status",
    ),
    RowCheck(
        "known_cause",
        "Every hangup cause has a class.",
        odd=_strange("cause", KNOWN_CAUSES),
        shows="cause",
    ),
    RowCheck(
        "known_disposition",
        "Every call has a known disposition, by its status or its cause.",
        odd=pl.col("disposition") == Disposition.UNKNOWN.label,
        shows="cause",
    ),
    RowCheck(
        "known_sip_hangup_disposition",
        "Every sip_hangup_disposition is documented.",
        odd=_strange("sip_hangup_disposition", SIP_HANGUP_DISPOSITIONS),
        shows="sip_hangup_disposition",
    ),
    RowCheck(
        "known_direction",
        "Every direction is documented.",
        odd=_strange("direction", DIRECTIONS),
        shows="direction",
    ),
)
FITS: Final = Check("everything_fits", "cdr_rejects is empty: every record and every field fits.")
DOCUMENTED: Final = Check(
    "documented_fields",
    "The vendor sent only documented top-level fields (others are in `extra`).",
)
FEW_COLUMNS: Final = Check(
    "additional_columns", "Every key of the lead lists has a column (CDR_MAX_ADDITIONAL_COLUMNS)."
)
DECLARED_TYPES: Final = Check(
    "declared_types",
    "Every value of a declared key (CDR_CONTRACT) fits its type (others are in `additional`).",
)
MADE_UNDER: Final = Check(
    "made_under_contract",
    "The day was made under the contract and zone that are set now (CDR_CONTRACT, CDR_TIMEZONE),"
    " and by the rules of this version.",
)
FRESH: Final = Check(
    "fresh",
    f"The day that ended is loaded within {GRACE.total_seconds() / 3600:g} hours after"
    " CDR_SCHEDULE_TIME.",
    urgent=True,
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
    DECLARED_TYPES,
    MADE_UNDER,
    FRESH,
    *ROW_WARNINGS,
)


@dataclass(frozen=True)
class Tables:
    """A day's calls and rejects, which are stored in `store` or about to be stored."""

    store: Store
    day: date
    calls: pl.LazyFrame
    rejects: pl.LazyFrame

    @classmethod
    def stored(cls, store: Store, day: date) -> Self:
        """The stored calls and rejects of a day."""
        return cls(store, day, store.lazy(CDRS, day), store.lazy(REJECTS, day))


@dataclass(frozen=True)
class LeadLists:
    """Facts about a day's lead lists that its rows do not show.

    `keys`: column -> the keys behind it; `left_out`: columns beyond the limit; `misfits`: values
    that do not fit their declared type.
    """

    keys: Mapping[str, Collection[str]] = field(default_factory=dict)
    left_out: Sequence[str] = ()
    misfits: Sequence[Misfits] = ()


def over_days(found: Mapping[date, Iterable[Finding]]) -> Iterator[Finding]:
    """Each check once over all days for which it was evaluated: passed if it passed on every day.

    For one day, its own finding; if several days failed, the text of the first of them.
    """
    for check in ALL:
        days = {day: one for day, many in found.items() for one in many if one.check is check}
        odd = [day for day, one in days.items() if not one.passed]
        if len(days) == 1:
            yield from days.values()
        elif days:
            yield Finding(check, not odd, _over_days(days, odd) if odd else f"{len(days)} days")


def _over_days(days: Mapping[date, Finding], odd: Sequence[date]) -> Told:
    first = min(odd)
    return Told(
        "{count} of {days} days: {named}. On {first}: {told}",
        count=len(odd),
        days=len(days),
        named=Days(odd),
        first=Days([first]),
        told=days[first].told,
    )


def verified(receipt: pl.DataFrame) -> Finding:
    """Whether a day is proved complete, by its row of `cdr_receipts`."""
    row = receipt.row(0, named=True)
    unique, total = row["unique_records"], row["reported_total"]
    told = Told(
        "{unique} distinct records, the vendor's total is {total}; {passes} readings, {requests}"
        " requests",
        unique=unique,
        total=total,
        passes=row["passes"],
        requests=row["requests"],
    )
    return Finding(VERIFIED, bool(row["verified"]) and unique == total, told)


def fresh(day: date, store: Store) -> Finding:
    """Whether a day that is due (see `upkeep.newest_due`) is stored."""
    if store.holds(CDRS, day):
        return Finding(FRESH, True, f"{day} is there")
    return Finding(
        FRESH,
        False,
        f"{day} ended and is not there. What is stored is safe. If a run of the night failed, it"
        " says why; if there was none, look at the ticks of the schedule `nightly`: is it on, is"
        " Dagster's daemon running? Then load it: materialize the day, or `cdr-pipeline run --from"
        f" {day} --to {day}`. Left alone, the next night asks for it again, if any of the"
        " CDR_PROBE_DAYS before it is stored.",
    )


def of_cdrs(tables: Tables, records: int, lists: LeadLists) -> Iterator[Finding]:
    """All findings on a day's calls and rejects, blocking checks first.

    `records`: how many records were received for the day.
    """
    calls = tables.calls
    began = pl.col("time_started").dt.replace_time_zone(None)
    inside = began_in(began, Window.of(tables.day)).fill_null(False)
    count = _counted(calls, stray=(~inside).sum())
    whole = tables.rejects.select(pl.col("field").null_count()).collect().item()
    summary = f"{records:,} records received = {count['calls']:,} calls + {whole:,} whole rejects"
    yield Finding(BALANCE, records == count["calls"] + whole, summary)
    yield _id_unique(calls)
    faults = schema_faults(CDRS, calls.collect_schema(), tables.store.zone, own=lists.keys)
    yield Finding(TYPES, not faults, "; ".join(faults) or "all as promised")
    yield Finding(IN_THE_DAY, not count["stray"], f"{count['stray']:,} calls of another day")
    yield _few_columns(lists.left_out)
    yield _declared_types(lists.misfits)
    yield from _warnings(tables, count)


def of_stored(store: Store, day: date) -> Iterator[Finding]:
    """The findings that need only the stored partitions of a day."""
    tables = Tables.stored(store, day)
    count = _counted(tables.calls)
    yield verified(store.read(RECEIPTS, day))
    yield from _warnings(tables, count)


def _counted(calls: pl.LazyFrame, **more: pl.Expr) -> dict[str, int]:
    """The number of `calls`, of calls with `extra`, of odd rows of each check, and the expressions
    of `more`; in one pass.
    """
    odd = {check.name: check.odd.sum() for check in ROW_WARNINGS}
    counts = calls.select(calls=pl.len(), extra=pl.col("extra").count(), **odd, **more)
    return counts.collect(engine="streaming").row(0, named=True)


def _warnings(tables: Tables, count: Mapping[str, int]) -> Iterator[Finding]:
    """The findings of the checks that only warn; `count`: as `_counted`."""
    calls, total = tables.calls, count["calls"]
    yield usual_volume(total, _same_weekdays(tables.day, tables.store))
    yield _fits(tables.rejects)
    yield _documented(calls, count["extra"], total)
    for check in ROW_WARNINGS:
        yield _odd_rows(check, calls, count[check.name], total)


def _odd_rows(check: RowCheck, calls: pl.LazyFrame, count: int, total: int) -> Finding:
    if not count:
        return Finding(check, True, f"none of {total:,} calls")
    if not check.shows:
        return Finding(check, False, Told("{count} of {total} calls", count=count, total=total))
    odd = _most_frequent(calls.filter(check.odd).group_by(check.shows).len())
    values = odd.head(_EXAMPLES + 1).collect().rows()
    named = [_times(shortened(redacted(one), 40) if one else Told("none"), n) for one, n in values]
    told = Told("{count} of {total} calls: {named}", count=count, total=total, named=_some(named))
    return Finding(check, False, told)


def _some(named: Sequence[Telling]) -> Sequence[Telling]:
    """The first names, and a sign if there are more."""
    return [*named[:_EXAMPLES], "…"] if len(named) > _EXAMPLES else named


def _times(what: Telling, count: int) -> Told:
    return Told("{what} ({count})", what=what, count=count)


def usual_volume(calls: int, before: list[int]) -> Finding:
    """Whether a day's calls are near the mean of the same weekdays before."""
    if not before:
        return Finding(USUAL_VOLUME, True, "no same weekday to compare with yet")
    usual = sum(before) / len(before)
    near = usual / _UNUSUAL_FACTOR <= calls <= usual * _UNUSUAL_FACTOR
    text = "{calls} calls; {usual} on the same weekday before"
    told = Told(text, calls=calls, usual=round(usual))
    return Finding(USUAL_VOLUME, near or max(calls, usual) < _FEW_CALLS, told)


def made_under(store: Store, day: date, contract: Contract, stale: Sequence[date] = ()) -> Finding:
    """Whether a stored day of `cdrs` is not stale.

    `stale`: all stale days, for their number: Dagster shows the finding of one day at a time.
    """
    made, now = made_by(store, day), MadeBy(contract.mark, store.zone.key)
    if made == now:
        return Finding(MADE_UNDER, True, f"made {contract.in_words}")
    others = f" In all, {days_in_words(stale)} are to be made again." if len(stale) > 1 else ""
    was, due = _in_words(made, now, contract), _in_words(now, made, contract)
    summary = f"{day} was made {was}, and today it would be made {due}. {WAY_OUT}.{others}"
    return Finding(MADE_UNDER, False, summary)


def _in_words(made: MadeBy, other: MadeBy, due: Contract) -> str:
    """How a day was `made`, or would be made: the contract, and the zone and version of the rules
    if they differ from `other`. A mark does not name the file of a contract: only the file of the
    `due` contract is known.
    """
    bare = made.contract == NO_MARK
    unknown = "without a contract" if bare else f"under another contract ({made.contract})"
    contract = due.in_words if made.contract == due.mark else unknown
    zone = f" in {made.zone}" if made.zone != other.zone else ""
    rules = f" by version {made.rules} of the rules" if made.rules != other.rules else ""
    return f"{contract}{zone}{rules}"


def _fits(rejects: pl.LazyFrame) -> Finding:
    counts = _most_frequent(rejects.group_by("field", "reason").len())
    named = counts.head(_EXAMPLES + 1).collect().rows()
    told = [
        _times(Told("{field} {reason}", field=name or Told("record"), reason=Told(reason)), n)
        for name, reason, n in named
    ]
    return Finding(FITS, not told, _some(told) or "all fits")


def _most_frequent(counts: pl.LazyFrame) -> pl.LazyFrame:
    """The highest counts first; equal counts by name, so that the same data gives the same text."""
    return counts.sort(-pl.col("len").cast(pl.Int64), pl.exclude("len"))


def _documented(calls: pl.LazyFrame, count: int, total: int) -> Finding:
    if not count:
        return Finding(DOCUMENTED, True, f"none of {total:,} calls")
    extras = pl.col("extra").drop_nulls().unique(maintain_order=True)
    texts = calls.select(extras.head(1000)).collect()["extra"]
    names = sorted({name for text in texts for name in tokens_of(text)})
    named = _some([shortened(redacted(name), 40) for name in names])
    return Finding(DOCUMENTED, False, Told("{count} calls with {named}", count=count, named=named))


def _few_columns(left_out: Sequence[str]) -> Finding:
    named = ", ".join(shortened(redacted(name), 60) for name in left_out[:_COLUMNS_NAMED])
    more = ", …" if len(left_out) > _COLUMNS_NAMED else ""
    summary = f"{len(left_out):,} columns are in `additional` alone: {named}{more}"
    return Finding(FEW_COLUMNS, not left_out, summary if left_out else "all have one")


def _declared_types(misfits: Sequence[Misfits]) -> Finding:
    named = "; ".join(map(str, misfits[:_EXAMPLES]))
    more = f"; and {len(misfits) - _EXAMPLES:,} more keys" if len(misfits) > _EXAMPLES else ""
    summary = f"null in their columns, and in `additional` as received: {named}{more}"
    return Finding(DECLARED_TYPES, not misfits, summary if misfits else "all fit")


def _id_unique(calls: pl.LazyFrame) -> Finding:
    """Whether no id is repeated. Compares hashes, and the ids only if two hashes are equal.

    Sorts the hashes instead of making a set of them: a day may be large.
    """
    hashes = calls.select(pl.col("id").hash()).collect(engine="streaming").to_series().sort()
    repeated = int((hashes == hashes.shift()).sum())
    if repeated:
        repeated = calls.select(pl.len() - pl.col("id").n_unique()).collect().item()
    return Finding(ID_UNIQUE, not repeated, f"{repeated:,} repeated ids")


def _same_weekdays(day: date, store: Store) -> list[int]:
    """The number of calls on each stored same weekday before; a damaged file is left out."""
    days = [day - timedelta(weeks=back) for back in range(1, _WEEKS_BACK + 1)]
    counts = []
    for one in days:
        if store.holds(CDRS, one):
            with suppress(Damaged):
                counts.append(store.rows(CDRS, one))
    return counts
