"""`contract propose` and `contract diff`."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.markup import escape
from rich.table import Table

from cdr_pipeline.cli.shared import (
    DAY,
    for_tables,
    nothing_stored,
    out,
    progress,
    span,
    stored,
)
from cdr_pipeline.errors import CdrError

if TYPE_CHECKING:
    from cdr_pipeline.tables.store import Store
    from cdr_pipeline.tables.survey import Changes


@click.group()
def contract() -> None:
    """Declare types and column names for the keys of lead lists.

    A contract is a TOML file with one table per key. CDR_CONTRACT names the file to use.

    \b
      [keys."Số tiền"]
      type = "decimal"     # int, float, decimal, bool, date, datetime or string
      column = "amount"    # in place of additional_so_tien
    \b
      [keys.ngay_hen]
      type = "datetime"
      format = "%d/%m/%Y %H:%M"
      pii = true           # its values never stand in logs or metadata
    \b
      [keys.ghi_chu_noi_bo]
      drop = true          # no column

    A value that does not fit its type is null in the column and stays in `additional`. The check
    `declared_types` counts such values. After a change of the contract, `cdr-pipeline rebuild`
    makes the earlier days again.
    """


@contract.command()
@click.option("--from", "first", type=DAY, help="First local day to look at, included.")
@click.option("--to", "last", type=DAY, help="Last local day to look at, included.")
def propose(first: datetime | None, last: datetime | None) -> None:
    """Print a contract that fits every value of the stored days.

    Text with leading zeros stays text. A key whose name or values look personal is marked
    `pii = true`, with the reason. Check the contract before you use it:

    \b
      cdr-pipeline contract propose > contract.toml
      cdr-pipeline contract diff contract.toml
    """
    from cdr_pipeline.tables import survey

    _, store = stored()
    days = _days_of_calls(store, first, last)
    seen = survey.observe(store, _watched(days))
    click.echo(survey.proposal(seen, days).encode(), nl=False)  # a TOML file is UTF-8


@contract.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option("--from", "first", type=DAY, help="First local day to look at, included.")
@click.option("--to", "last", type=DAY, help="Last local day to look at, included.")
def diff(file: Path | None, first: datetime | None, last: datetime | None) -> None:
    """Show what a contract would change in the stored days. Changes nothing.

    Shows columns that are added, removed or get another type; values that do not fit; declared keys
    that no call has; and days to make again. FILE is the contract; default: CDR_CONTRACT.
    """
    from cdr_pipeline.tables import survey
    from cdr_pipeline.tables.contract import load
    from cdr_pipeline.tables.provenance import days_in_words, stale_days, were

    settings, store = stored()
    path = file or settings.contract
    if path is None:
        raise click.UsageError(
            "No contract is named: give its FILE, or set CDR_CONTRACT. `cdr-pipeline contract"
            " propose > contract.toml` makes one of what is stored."
        )
    contract = load(path, settings.zone)
    days = _days_of_calls(store, first, last)
    changes = survey.compare(store, contract, _watched(days), settings.max_additional_columns)
    for table, nothing in (
        (_columns(changes), "No column changes."),
        (_misfits(changes), "Every value fits."),
    ):
        for_tables().print(table if table.row_count else nothing)
    if changes.unheard:
        named = ", ".join(f'"{escape(key)}"' for key in changes.unheard)
        out.print(f"No call of these days has the key {named}.", soft_wrap=True)
    stale = stale_days(store, contract.mark, days[0], days[-1])
    if stale:
        out.print(
            f"{days_in_words(stale)} {were(stale)} made under another contract, zone or version of"
            " the rules. With this one in force (CDR_CONTRACT), `cdr-pipeline rebuild` makes such"
            " days again.",
            soft_wrap=True,
        )


def _columns(changes: "Changes") -> Table:
    from cdr_pipeline.tables.types import in_words

    table = Table("column", "now", "then", title="Columns of the lead lists in cdrs")
    for name, types in changes.columns.items():
        table.add_row(name, *("" if dtype is None else in_words(dtype) for dtype in types))
    return table


def _misfits(changes: "Changes") -> Table:
    table = Table("key", "type", "values", "such as", title="Values that do not fit")
    for one in changes.misfits:
        examples = "(not shown)" if one.declared.pii else ", ".join(one.examples)
        table.add_row(
            escape(one.declared.key), one.declared.type, f"{one.count:,}", escape(examples)
        )
    return table


def _days_of_calls(store: "Store", first: datetime | None, last: datetime | None) -> list[date]:
    """The stored days of `cdrs` from `first` to `last`. Raises CdrError if there are none."""
    from cdr_pipeline.tables.datasets import CDRS

    days = store.days(CDRS, *span(first, last))
    if not days:
        raise CdrError(nothing_stored(store.root, "No calls of these days are stored"))
    return days


def _watched(days: Sequence[date]) -> Iterator[date]:
    """The days, with a progress bar."""
    with progress() as bar:
        yield from bar.track(days, description="Reading")
