"""`status`: one line per stored day, and what to do about days that are not up to date."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import click
from rich.table import Table

from cdr_pipeline.cli.shared import DAY, for_tables, nothing_stored, out, span
from cdr_pipeline.errors import Damaged
from cdr_pipeline.settings import Settings

if TYPE_CHECKING:
    import polars as pl

    from cdr_pipeline.tables.store import Store

_NUMBERS: Final = {"calls", "vendor's total", "changed", "rejects"}

#: Kind of days that are not up to date -> the paragraph that says what to do about them.
_TO_MEND: Final = {
    "unmade": "Fetched, but not every dataset made since: {days}. {way_out}.",
    "torn": (
        "Fetched again by a run that was killed before it wrote the receipt: {days}. Their calls"
        " are those of the previous fetch. Load these days again with `cdr-pipeline run`."
    ),
    "without pages": (
        "Without raw_pages: {days}. Their other datasets are kept, but cannot be made again, for"
        " example under another contract or zone, until `cdr-pipeline run` has loaded these days"
        " again."
    ),
    "without a receipt": (
        "Without cdr_receipts: {days}. Their other datasets are kept, but nothing shows that they"
        " are complete, and they cannot be made again, until `cdr-pipeline run` has loaded these"
        " days again."
    ),
    "missing": (
        "Not stored, between days that are: {days}. The schedule `nightly` loads those of the last"
        " CDR_PROBE_DAYS that are after a stored day of that time; load others with `cdr-pipeline"
        " run`."
    ),
    "ahead": (
        "Fetched at a time that is still to come: {days}. The clock of this machine was wrong then,"
        " or is wrong now. Load these days again with `cdr-pipeline run`. If Dagster's schedule and"
        " sensors ran by the wrong clock, they rest until that time; with another DAGSTER_HOME they"
        " start at once."
    ),
}


@click.command()
@click.option("--from", "first", type=DAY, help="First local day, included. Default: first stored.")
@click.option("--to", "last", type=DAY, help="Last local day, included. Default: last stored.")
def status(first: datetime | None, last: datetime | None) -> None:
    """Show each stored day beside the vendor's total.

    \b
    vendor's total  does not count listed calls that began on another day
    made            "in part": some datasets are older than the last fetch
    changed         hours from the end of the day to the last fetch that found
                    new, changed or deleted calls; CDR_LOOKBACK_DAYS should
                    cover this time
    rejects         records that cannot be calls (calls + these records = vendor's
                    total) + single fields that did not fit in their calls
    made by         "other rules": made with another contract, time zone or rules
                    version than the current one

    Columns that are empty for all days are not shown. The text below the table names the days to
    make or load again. A day with a file that cannot be read is shown as "unreadable". The command
    then names these files and what to do, and the exit code is 1.
    """
    settings = Settings.load()
    begin, end = span(first, last)
    if not print_days(settings, begin, end):
        of = "" if (begin, end) == (date.min, date.max) else " of these days"
        told = nothing_stored(settings.data_dir, f"Nothing{of} is stored")
        out.print(told, soft_wrap=True, markup=False)


def print_days(
    settings: Settings, first: date = date.min, last: date = date.max, *, table: bool = True
) -> bool:
    """Print the stored days of a span (as a `table`), and which of them must be made or loaded
    again; False if there are none. Then raises Damaged if any files cannot be read.
    """
    from cdr_pipeline.tables import provenance
    from cdr_pipeline.tables.contract import Contract
    from cdr_pipeline.tables.datasets import CDRS, RAW_PAGES, RECEIPTS
    from cdr_pipeline.tables.store import Store

    store, now = Store.of(settings), datetime.now(UTC)
    days, calls = store.days(RECEIPTS, first, last), store.days(CDRS, first, last)
    damaged = provenance.damaged_files(store, first, last)
    sound = [day for day in days if day not in damaged]
    stale = provenance.stale_days(store, Contract.of(settings).mark, first, last)
    found = {
        "unmade": [day for day in sound if provenance.is_unmade(store, day)],
        "torn": [day for day in days if provenance.is_torn(store, day)],
        "without pages": [day for day in days if not store.holds(RAW_PAGES, day)],
        "without a receipt": [day for day in calls if not store.holds(RECEIPTS, day)],
        "missing": provenance.missing_days(store, first, last),
        "ahead": [day for day in sound if provenance.is_ahead(store, day, now)],
    }
    if days and table:
        for_tables().print(_table(store, days, stale, found["unmade"], damaged))
    mendable = {*stale} - {*found["without pages"], *found["without a receipt"]}
    # To make these again makes all their datasets, so they are not named as unmade as well. (An
    # aggregate of theirs may be newer than the calls.)
    others = [day for day in found["unmade"] if day not in mendable]
    for told in _to_mend(sorted(mendable), found | {"unmade": others}):
        out.print(told, soft_wrap=True, highlight=False)
    if damaged:
        raise Damaged(*chain.from_iterable(damaged.values()))
    return bool(days or found["without a receipt"])


def _to_mend(stale: Sequence[date], found: Mapping[str, Sequence[date]]) -> Iterator[str]:
    """A paragraph of `_TO_MEND` for each kind of days that was `found`."""
    from cdr_pipeline.tables.provenance import WAY_OUT, days_in_words, stale_in_words

    if stale:
        yield stale_in_words(stale)
    for kind, days in found.items():
        if days:
            yield _TO_MEND[kind].format(days=days_in_words(days), way_out=WAY_OUT)


def _table(
    store: "Store",
    days: Sequence[date],
    stale: Collection[date],
    unmade: Collection[date],
    damaged: dict[date, list[Path]],
) -> Table:
    """A table with one row per day, without columns that are empty for all days."""
    rows = [
        _row_or_damage(store, day, damaged, whole=day not in unmade)
        | {"made by": "[yellow]other rules[/]" if day in stale else ""}
        for day in days
    ]
    every = max(rows, key=len)  # the row of a damaged day has fewer columns
    names = [name for name in every if any(row.get(name) for row in rows)]
    table = Table()
    for name in names:
        justify: Literal["left", "right"] = "right" if name in _NUMBERS else "left"
        table.add_column(name, justify=justify, no_wrap=name in ("day", "calls"))
    for row in rows:
        table.add_row(*(row.get(name, "") for name in names))
    return table


def _row_or_damage(
    store: "Store", day: date, damaged: dict[date, list[Path]], *, whole: bool
) -> dict[str, str]:
    """As `_row`; for a day in `damaged`, only that it is damaged. Adds a day to `damaged` if its
    damage shows only when a file is read.
    """
    if day not in damaged:
        try:
            return _row(store, day, whole=whole)
        except Damaged as error:
            damaged[day] = list(error.paths)
    return {"day": f"{day}", "calls": "[red]unreadable[/]"}


def _row(store: "Store", day: date, *, whole: bool) -> dict[str, str]:
    """Column -> cell of a stored day; `whole`: whether all datasets were made of the last fetch."""
    from cdr_pipeline.tables.datasets import CDRS, REJECTS
    from cdr_pipeline.tables.receipts import last_fetch
    from cdr_pipeline.window import Window

    fetch = last_fetch(store, day)
    there = store.holds(CDRS, day)
    late = Window.of(day).hours_after(fetch.changed_at, store.zone) if fetch.changed_at else None
    return {
        "day": f"{day}",
        "calls": f"{store.rows(CDRS, day):,}" if there else "[yellow]not made yet[/]",
        "vendor's total": f"{fetch.total:,}",
        "verified": "[green]yes[/]" if fetch.verified else "[red]no[/]",
        "fetched": f"{fetch.proved_at:%Y-%m-%d %H:%M}",
        "made": "[yellow]in part[/]" if there and not whole else "",
        "changed": "" if late is None else f"{late:.0f} h after",
        "rejects": _rejects(store.read(REJECTS, day, ["field"])["field"])
        if store.holds(REJECTS, day)
        else "",
    }


def _rejects(fields: "pl.Series") -> str:
    """The number of whole records and of single fields, as 87 + 101 fields."""
    count, whole = len(fields), fields.null_count()
    return f"{whole:,} + {count - whole:,} fields" if count > whole else f"{whole:,}"
