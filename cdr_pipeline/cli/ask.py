"""`list`: calls directly from the vendor."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from rich.markup import escape
from rich.table import Table

from cdr_pipeline.cli.shared import (
    DAY,
    MOMENT,
    OUTPUT,
    UP_TO,
    err,
    for_tables,
    see_that_they_are_in_order,
)
from cdr_pipeline.record import DIRECTIONS
from cdr_pipeline.settings import Settings

if TYPE_CHECKING:
    import polars as pl

    from cdr_pipeline.tables.flattening.flatten import Flat

#: The columns that `list` shows in a table, and those for which 80 characters have room.
_SHOWN: Final = (
    *("time_started", "direction", "from_number", "to_number", "status", "disposition"),
    *("duration", "billsec", "campaign_uuid"),
)
_SHOWN_WIDTH: Final = 150
_SHOWN_NARROW: Final = ("time_started", "from_number", "to_number", "disposition", "billsec")

#: The formats of a file, by the endings of its name.
_FORMATS: Final = {".jsonl": "jsonl", ".csv": "csv", ".parquet": "parquet"}


def _named(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """A filter as given. Raises BadParameter for an empty one (a shell variable that is not set),
    which would ask for everybody's calls, and for text that is not UTF-8, which cannot be sent.
    """
    if value is not None and not value.strip():
        raise click.BadParameter("it is empty; leave it out to ask for all.")
    try:
        (value or "").encode()
    except UnicodeEncodeError:
        raise click.BadParameter("it is not written in UTF-8.") from None
    return value


@click.command("list")
@click.option(
    "--date",
    "day",
    type=DAY,
    help="Calls begun on this local day (asks the vendor for 00:00:00 to 23:59:59).",
)
@click.option("--from", "first", type=MOMENT, help="Calls begun at this time or later.")
@click.option("--to", "last", type=UP_TO, help="Calls begun up to this time or day, included.")
@click.option("--ended-from", type=MOMENT, help="Calls ended at this time or later.")
@click.option("--ended-to", type=UP_TO, help="Calls ended up to this time or day, included.")
@click.option("--extension", callback=_named, help="Calls from this extension.")
@click.option("--status", callback=_named, help="Calls with this status, such as ANSWERED.")
@click.option("--hotline", callback=_named, help="Calls made by this number.")
@click.option("--phone", callback=_named, help="Calls from or to this number.")
@click.option("--direction", type=click.Choice(sorted(DIRECTIONS)), help="Calls in this direction.")
@click.option("--campaign-uuid", callback=_named, help="Calls of this campaign.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=50,
    show_default=True,
    help="Maximum number of calls, in the vendor's order (usually newest first). 0: all calls.",
)
@click.option(
    "--offset",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Number of calls to skip, in the vendor's order.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", *_FORMATS.values()]),
    help="jsonl: the records as the vendor sent them, one per line. The other formats have typed"
    " columns, oldest call first. Default: the format of the --output file name, or a table.",
)
@click.option(
    "--output",
    type=OUTPUT,
    help=f"File to write. Its name ends in {', '.join(_FORMATS)}, unless --format is given.",
)
def list_calls(
    day: datetime | None,
    first: datetime | None,
    last: datetime | None,
    ended_from: datetime | None,
    ended_to: datetime | None,
    limit: int,
    offset: int,
    form: str | None,
    output: Path | None,
    **filters: str | None,
) -> None:
    """List calls directly from the vendor. Stores nothing in the data folder.

    Every documented parameter of the vendor has an option here. The output is not masked: it holds
    phone numbers and recording links.
    """
    from cdr_pipeline.api.client import Client, Query
    from cdr_pipeline.api.reading import listed

    if day and (first or last):
        raise click.UsageError("Give --date, or --from and --to, not both.")
    form = _form(form, output)
    see_that_they_are_in_order(first or datetime.min, last or datetime.max)
    see_that_they_are_in_order(ended_from or datetime.min, ended_to or datetime.max, "ended-")
    if day:
        first, last = day, day + timedelta(days=1, seconds=-1)
    settings = Settings.load(vendor=True)
    query = Query(
        start_date=first,
        end_date=last,
        start_date_ended=ended_from,
        end_date_ended=ended_to,
        **filters,
    )
    with Client.from_settings(settings) as client, err.status("Asking the vendor"):
        records, total = listed(client, query, settings.page_size, limit, offset)
    if form == "jsonl":
        _emit(b"".join(b" ".join(text.splitlines()) + b"\n" for text in records), output)
        err.print(f"{len(records):,} of the vendor's {total:,} records")
    else:
        flat = _typed(records, settings)
        _write(flat.cdrs.sort("time_started", "id"), form, output)
        err.print(f"{len(flat.cdrs):,} of the vendor's {total:,} calls")
        if flat.whole_rejects:
            left_out = f"{flat.whole_rejects:,} records that cannot be calls are left out"
            err.print(f"{left_out}; see jsonl.")


def _form(asked: str | None, output: Path | None) -> str:
    """The format that was asked for, or that of the file's ending; without a file a table. Raises
    UsageError.
    """
    if asked == "parquet" and output is None:
        raise click.UsageError("Parquet needs --output.")
    if asked == "table" and output:
        raise click.UsageError("A table is for the screen: leave out --output, or --format table.")
    form = asked or (_FORMATS.get(output.suffix.lower()) if output else "table")
    if form is None:
        raise click.UsageError(
            f"The name of {output} tells no format: end it in {' or '.join(_FORMATS)}, or give"
            " --format."
        )
    return form


def _write(cdrs: "pl.DataFrame", form: str, output: Path | None) -> None:
    """Write the calls as a table, CSV or Parquet."""
    if form == "csv":
        _emit(cdrs.write_csv().encode(), output)
    elif output:
        cdrs.write_parquet(output, compression="zstd")
    else:
        to = for_tables()
        to.print(_table(cdrs, to.width))


def _typed(records: Sequence[bytes], settings: Settings) -> "Flat":
    from cdr_pipeline.page import join
    from cdr_pipeline.tables.contract import Contract
    from cdr_pipeline.tables.flattening.flatten import flatten
    from cdr_pipeline.tables.flattening.typed import Rules
    from cdr_pipeline.tables.raw_pages import ALWAYS, StoredPage

    most = settings.max_additional_columns
    rules = Rules(ALWAYS, settings.zone, most, Contract.of(settings))
    return flatten([StoredPage(1, join(records))], rules)


def _table(cdrs: "pl.DataFrame", width: int) -> Table:
    import polars as pl

    shown = _SHOWN if width >= _SHOWN_WIDTH else _SHOWN_NARROW
    table = Table(*shown)
    began = pl.col("time_started").dt.strftime("%Y-%m-%d %H:%M:%S")
    for row in cdrs.with_columns(began).select(shown).rows():
        table.add_row(*("" if value is None else escape(f"{value}") for value in row))
    return table


def _emit(content: bytes, output: Path | None) -> None:
    if output:
        output.write_bytes(content)
    else:
        click.echo(content, nl=False)
