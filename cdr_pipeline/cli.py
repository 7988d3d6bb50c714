"""`cdr-pipeline`: what people type. Words, tables and exit codes; the work is done elsewhere."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, get_args

import click
from pydantic import SecretStr
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from cdr_pipeline import __version__
from cdr_pipeline.errors import CdrError
from cdr_pipeline.process import as_program
from cdr_pipeline.record import DIRECTIONS
from cdr_pipeline.settings import Language, Settings

out = Console()
err = Console(stderr=True)

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

DEMO_FOLDER = Path(".demo")
DEMO_DAYS = (date(2023, 3, 6), date(2023, 3, 12))
DEMO_CALLS_PER_DAY = 4_000

#: The columns that `list` shows as a table, and those of them that 80 characters have room for.
_SHOWN = (
    "time_started",
    "direction",
    "from_number",
    "to_number",
    "status",
    "disposition",
    "duration",
    "billsec",
    "campaign_uuid",
)
_SHOWN_WIDTH = 150
_SHOWN_NARROW = ("time_started", "from_number", "to_number", "disposition", "billsec")

#: Who reads a pipe wants a line a day, whatever its width.
_PIPED_WIDTH = 140

#: Of Dagster's own words none: ours say what failed.
_QUIET = {"console": {"config": {"log_level": "CRITICAL"}}}

_DAY = click.DateTime(["%Y-%m-%d"])
_PORT = click.IntRange(0, 65_535)
_MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"])


class _UpTo(click.DateTime):
    """A moment up to which; of a day its last second."""

    def convert(self, value: Any, param: Any, ctx: Any) -> datetime:
        moment: datetime = super().convert(value, param, ctx)
        is_day = isinstance(value, str) and len(value) == len("2023-03-07")
        return moment + timedelta(days=1, seconds=-1) if is_day else moment


_UP_TO = _UpTo(_MOMENT.formats)


def _readable_errors(
    command: Callable[_Parameters, _Result],
) -> Callable[_Parameters, _Result]:
    """Our own errors, and the disk's, as one message and exit code 1, without a traceback."""

    @wraps(command)
    def wrapped(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        try:
            return command(*args, **kwargs)
        except (CdrError, OSError) as error:
            err.print(f"[bold red]Error:[/] {escape(str(error))}", soft_wrap=True)
            sys.exit(1)

    return wrapped


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def main() -> None:
    """Calls of a cloud PBX as proved-complete, typed, daily Parquet.

    \b
    Try it without a vendor:   cdr-pipeline demo
    Load a week:               cdr-pipeline run --from 2023-03-01 --to 2023-03-07
    See what is there:         cdr-pipeline status
    Open Dagster:              cdr-pipeline ui

    Settings come from the environment or from a file `.env` in the working folder; `.env.example`
    lists all of them.
    """


# run


@main.command()
@click.option("--from", "first", type=_DAY, required=True, help="First local day, included.")
@click.option("--to", "last", type=_DAY, required=True, help="Last local day, included.")
@click.option(
    "--accept-shrink",
    is_flag=True,
    help="Replace a day although the vendor now proves fewer calls than are stored, or others.",
)
@_readable_errors
def run(first: datetime, last: datetime, accept_shrink: bool) -> None:
    """Load days through Dagster, in this process.

    Exits 0 only if every day is complete and passed every blocking check. A day that fails leaves
    what is stored of it unchanged, and takes no other day along.
    """
    settings = Settings.load(vendor=True)
    failed = load_days(settings, first.date(), last.date(), accept_shrink=accept_shrink)
    _print_days(settings, first.date(), last.date())
    _exit_if(failed)


def _exit_if(failed: list[str]) -> None:
    """Say what failed, and end with 1; go on where nothing did."""
    for text in failed:
        err.print(f"[bold red]Failed:[/] {escape(text)}", soft_wrap=True)
    if failed:
        sys.exit(1)


def load_days(
    settings: Settings, first: date, last: date, *, accept_shrink: bool = False
) -> list[str]:
    """Materialize the days, both included; what to say of those that failed."""
    if first > last:
        raise click.UsageError(f"--from {first} is after --to {last}.")
    return _through_dagster(settings, [(first, last)], accept_shrink=accept_shrink)


def _through_dagster(
    settings: Settings,
    ranges: Sequence[tuple[date, date]],
    *,
    accept_shrink: bool = False,
    fetch: bool = True,
) -> list[str]:
    """Materialize ranges of days in this process, then the catalog; what to say of failed days.

    `fetch`: from the vendor; else what is made from raw_pages alone.
    """
    with err.status("Starting Dagster"):
        import dagster as dg  # two seconds, which --help need not wait for

        from cdr_pipeline.assets.daily import causes, summary
        from cdr_pipeline.home import lasting_home
        from cdr_pipeline.tables.catalog import NAME

        lasting_home()
    _see_that_they_are_partitions(settings, ranges, fetch)
    failed: dict[date, Exception] = {}
    with dg.DagsterInstance.get() as instance:
        results = _materialize(settings, ranges, instance, failed, accept_shrink, fetch)
        rebuilt = _rebuild_catalog(settings, instance)
    unfinished = [result for result in results if not result.success]
    if unfinished:
        _alert(settings, unfinished[0], causes(failed))
        return summary(failed) or [_failure(unfinished[0])]
    if rebuilt and not rebuilt.success:
        return [f"All days are loaded, but {NAME} is not rebuilt: {_failure(rebuilt)}"]
    return []


def _see_that_they_are_partitions(
    settings: Settings, ranges: Sequence[tuple[date, date]], fetch: bool
) -> None:
    """Raises CdrError, or UsageError, where Dagster has no partitions of these days."""
    from cdr_pipeline.assets.daily import partitions

    first, last = ranges[0][0], ranges[-1][1]
    start, newest = settings.start_date, partitions(settings).get_last_partition_key()
    if first < start and not fetch:
        raise CdrError(
            f"Days from {first} on are stored, which is before CDR_START_DATE. Set it to {first},"
            f" or leave them out: --from {start}."
        )
    if first < start or newest is None or f"{last}" > newest:
        newest = newest or "none yet"
        raise click.UsageError(
            f"Days can be loaded from {start} (CDR_START_DATE) to the last complete day: {newest}."
        )


def _materialize(
    settings: Settings,
    ranges: Sequence[tuple[date, date]],
    instance: Any,
    failed: dict[date, Exception],
    accept_shrink: bool,
    fetch: bool,
) -> list[Any]:
    """A run of Dagster's for each range; adds to `failed`."""
    import dagster as dg

    from cdr_pipeline.assets import raw_pages
    from cdr_pipeline.assets.daily import daily_calls
    from cdr_pipeline.assets.layer import Loading
    from cdr_pipeline.launcher import process_tags

    assets = daily_calls(settings)
    fetched = {spec.key for spec in raw_pages.SPECS}
    verb = "Loaded" if fetch else "Made"
    results = []
    with _progress() as progress:
        days = sum((last - first).days + 1 for first, last in ranges)
        task = progress.add_task("Starting", total=days)

        def on_day(day: date, error: Exception | None) -> None:
            progress.update(task, advance=1, description=f"{verb} {day}")
            if error:
                failed[day] = error

        for first, last in ranges:
            result = dg.materialize(
                [assets],
                selection=None if fetch else list(assets.keys - fetched),
                instance=instance,
                tags={
                    "dagster/asset_partition_range_start": f"{first}",
                    "dagster/asset_partition_range_end": f"{last}",
                    **process_tags(),
                },
                resources={"loading": Loading(settings=lambda _: settings, on_day=on_day)},
                run_config={
                    "ops": {"daily_calls": {"config": {"accept_shrink": accept_shrink}}},
                    "loggers": _QUIET,
                },
                raise_on_error=False,
            )
            results.append(result)
    return results


def _rebuild_catalog(settings: Settings, instance: Any) -> Any:
    """A run of Dagster's for the catalog; None where there can be none."""
    import dagster as dg

    from cdr_pipeline.assets import catalog
    from cdr_pipeline.assets.layer import Loading
    from cdr_pipeline.launcher import process_tags

    if not catalog.ASSETS:
        return None
    return dg.materialize(
        catalog.ASSETS,
        instance=instance,
        tags=process_tags(),
        resources={"loading": Loading(settings=lambda _: settings)},
        run_config={"loggers": _QUIET},
        raise_on_error=False,
    )


def _alert(settings: Settings, result: Any, causes: dict[str, list[str]]) -> None:
    """Tell CDR_ALERT_URL, as Dagster's sensor does of the runs that Dagster launched."""
    from cdr_pipeline.automation import tell

    try:
        tell(result.dagster_run, causes or {_failure(result): []}, settings)
    except CdrError as error:
        err.print(f"[bold red]Nobody was told:[/] {escape(str(error))}", soft_wrap=True)


def _failure(result: Any) -> str:
    """Why a run ended where no day says it."""
    import dagster as dg

    for event in result.all_events:
        if event.is_failure and (error := event.step_failure_data.error):
            if error.cls_name == dg.DagsterExecutionInterruptedError.__name__:
                return (
                    "it was interrupted. Days that are loaded stay so; run it again for the rest."
                    " Then `cdr-pipeline rebuild` makes what is left of the others, if `status`"
                    " names any."
                )
            # Before its text stands its class, by its whole name.
            said = str(error.message)
            return (said.partition(f"{error.cls_name}: ")[2] or said).strip()
    return "Dagster could not finish the run; see it in `cdr-pipeline ui`."


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
    )


# rebuild


@main.command()
@click.option(
    "--from", "first", type=_DAY, help="First local day, included; else the first stored."
)
@click.option("--to", "last", type=_DAY, help="Last local day, included; else the last stored.")
@click.option("--all", "every", is_flag=True, help="Every stored day, not only those that need it.")
@_readable_errors
def rebuild(first: datetime | None, last: datetime | None, every: bool) -> None:
    """Make days again from raw_pages, without the API. Needs no vendor settings.

    Takes the days that were made under another contract or zone (CDR_CONTRACT, CDR_TIMEZONE) than
    is in force now, and those that were fetched and have not all been made since, as `cdr-pipeline
    status` shows them; with --all every day of which raw_pages are stored. Makes cdrs, cdr_rejects,
    additional_keys, the aggregates and the catalog. A day that fails leaves what is stored of it
    unchanged.
    """
    from cdr_pipeline.record import spans
    from cdr_pipeline.tables.contract import RAW_PAGES
    from cdr_pipeline.tables.declared import load
    from cdr_pipeline.tables.provenance import stale_days, unmade_days

    settings, store = _stored()
    contract = load(settings.contract, settings.zone)
    begin, end = _span(first, last)
    if every:
        days = store.days(RAW_PAGES, begin, end)
    else:
        stale = stale_days(store, contract.mark, begin, end)
        days = sorted({*stale, *unmade_days(store, begin, end)})
    if not days:
        within = f"There are no such days in {settings.data_dir}: "
        made = "all were made under the contract, of what was fetched last."
        nothing = "no raw_pages are stored." if every else made
        out.print(f"{within}{nothing}", soft_wrap=True)
        return
    failed = _through_dagster(settings, spans(days), fetch=False)
    _print_days(settings, days[0], days[-1])
    _exit_if(failed)


def _stored() -> tuple[Settings, Any]:
    """The settings, and the store they name."""
    from cdr_pipeline.tables.store import Store

    settings = Settings.load()
    return settings, Store.of(settings)


def _span(first: datetime | None, last: datetime | None) -> tuple[date, date]:
    begin = first.date() if first else date.min
    end = last.date() if last else date.max
    if begin > end:
        raise click.UsageError(f"--from {begin} is after --to {end}.")
    return begin, end


# contract


@main.group()
def contract() -> None:
    """Declare types and names of lead lists' keys: propose a contract, see what it would do.

    A contract is a TOML file, one table a key; CDR_CONTRACT names the one in force.

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

    A value that does not fit its type is null in the column, stays in `additional`, and is counted
    in the check `declared_types`. Days made before are made again by `cdr-pipeline rebuild`.
    """


@contract.command()
@click.option("--from", "first", type=_DAY, help="First local day to look at, included.")
@click.option("--to", "last", type=_DAY, help="Last local day to look at, included.")
@_readable_errors
def propose(first: datetime | None, last: datetime | None) -> None:
    """Print a contract that fits every value of the stored days.

    Text with leading zeros stays text. What looks personal (by its name or its values) is marked
    `pii = true`, with the reason. Check it before you use it:

    \b
      cdr-pipeline contract propose > contract.toml
      cdr-pipeline contract diff contract.toml
    """
    from cdr_pipeline.tables import survey

    _, store = _stored()
    days = _days_of_calls(store, first, last)
    seen = survey.observe(store, _watched(days))
    click.echo(survey.proposal(seen, days), nl=False)


@contract.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option("--from", "first", type=_DAY, help="First local day to look at, included.")
@click.option("--to", "last", type=_DAY, help="Last local day to look at, included.")
@_readable_errors
def diff(file: Path | None, first: datetime | None, last: datetime | None) -> None:
    """Show what FILE (else the contract of CDR_CONTRACT) would do to the stored days.

    Columns that come, go or change their type; values that would not fit; days to be made again.
    Changes nothing.
    """
    from cdr_pipeline.tables import survey
    from cdr_pipeline.tables.declared import load
    from cdr_pipeline.tables.provenance import in_words, stale_days

    settings, store = _stored()
    contract = load(file or settings.contract, settings.zone)
    days = _days_of_calls(store, first, last)
    changes = survey.compare(store, contract, _watched(days), settings.max_additional_columns)
    columns = Table("column", "now", "then", title="Columns of the lead lists in cdrs")
    for name, (now, then) in changes.columns.items():
        columns.add_row(name, *("" if dtype is None else f"{dtype}" for dtype in (now, then)))
    misfits = Table("key", "type", "values", "such as", title="Values that do not fit")
    for one in changes.misfits:
        examples = "(not shown)" if one.declared.pii else ", ".join(one.examples)
        misfits.add_row(
            escape(one.declared.key), one.declared.type, f"{one.count:,}", escape(examples)
        )
    for table, nothing in ((columns, "No column changes."), (misfits, "Every value fits.")):
        out.print(table if table.row_count else nothing)
    stale = stale_days(store, contract.mark, days[0], days[-1])
    if stale:
        out.print(
            f"{in_words(stale)} were made under another contract. With this one in force"
            " (CDR_CONTRACT), `cdr-pipeline rebuild` makes them again.",
            soft_wrap=True,
        )


def _days_of_calls(store: Any, first: datetime | None, last: datetime | None) -> list[date]:
    """The stored days of `cdrs` in a span. Raises CdrError where there are none."""
    from cdr_pipeline.tables.contract import CDRS

    days: list[date] = store.days(CDRS, *_span(first, last))
    if not days:
        raise CdrError(f"No calls are stored in {store.root} for that. Load some: cdr-pipeline run")
    return days


def _watched(days: Sequence[date]) -> Iterator[date]:
    """The days, with a bar that shows how far they have been read."""
    with _progress() as progress:
        yield from progress.track(days, description="Reading")


# status


@main.command()
@_readable_errors
def status() -> None:
    """What is stored: a line a day, with the vendor's total beside the calls.

    "changed" tells how many hours after the day's end a fetch last found calls new, changed or
    gone; CDR_LOOKBACK_DAYS should cover it.
    """
    settings = Settings.load()
    if not _print_days(settings):
        out.print(
            f"Nothing is stored in {settings.data_dir} yet."
            " Load days with `cdr-pipeline run`, or try `cdr-pipeline demo`."
        )


def _print_days(settings: Settings, first: date = date.min, last: date = date.max) -> bool:
    from cdr_pipeline.record import Window
    from cdr_pipeline.tables.contract import CDRS, RECEIPTS, REJECTS
    from cdr_pipeline.tables.declared import load
    from cdr_pipeline.tables.provenance import (
        ANOTHER,
        WAY_OUT,
        in_words,
        stale_days,
        torn_days,
        unmade_days,
    )
    from cdr_pipeline.tables.store import Store

    store = Store.of(settings)
    stale = stale_days(store, load(settings.contract, store.zone).mark, first, last)
    unmade = unmade_days(store, first, last)
    table = Table("day", "calls", "vendor's total", "verified", "fetched", "changed", "rejects")
    for column in table.columns[1:3] + table.columns[5:]:
        column.justify = "right"
    if stale:
        table.add_column("contract")
    for day in store.days(RECEIPTS, first, last):
        receipt = store.read(RECEIPTS, day).row(0, named=True)
        changed = receipt.get("last_change_at")
        calls = f"{store.rows(CDRS, day):,}" if store.holds(CDRS, day) else ""
        partly = f"[yellow]{calls} in part[/]"
        rejects = store.rows(REJECTS, day) if store.holds(REJECTS, day) else None
        table.add_row(
            f"{day}",
            "[yellow]not made yet[/]" if not calls else partly if day in unmade else calls,
            f"{receipt['reported_total'] - receipt['outside_window']:,}",
            "[green]yes[/]" if receipt["verified"] else "[red]no[/]",
            f"{receipt['finished_at'].astimezone(settings.zone):%Y-%m-%d %H:%M}",
            f"{Window.of(day).hours_after(changed, settings.zone):.0f} h after" if changed else "",
            "" if rejects is None else f"{rejects:,}",
            *(["[yellow]another[/]" if day in stale else ""] if stale else ()),
        )
    for column in table.columns[:2]:
        column.no_wrap = True
    if table.row_count:
        to = out if out.is_terminal else Console(width=max(out.width, _PIPED_WIDTH))
        to.print(table)
    if stale:
        out.print(
            f"{in_words(stale)} were made under {ANOTHER} than is in force. {WAY_OUT}.",
            soft_wrap=True,
            highlight=False,
        )
    if unmade:
        out.print(
            f"Fetched, and not all made of it since: {in_words(unmade)}. {WAY_OUT}.",
            soft_wrap=True,
            highlight=False,
        )
    if torn := torn_days(store, first, last):
        out.print(
            f"Fetched anew by a run that was killed before it wrote the receipt: {in_words(torn)}."
            " Their calls are those of the fetch before. Load them again with `cdr-pipeline run`.",
            soft_wrap=True,
            highlight=False,
        )
    return bool(table.row_count)


# report


@main.command()
@click.option("--from", "first", type=_DAY, required=True, help="First local day, included.")
@click.option("--to", "last", type=_DAY, help="Last local day, included; the first if not given.")
@click.option(
    "--lang",
    type=click.Choice(get_args(Language)),
    help="Language of the page; CDR_REPORT_LANGUAGE if not given.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write here, instead of to `reports` in the data folder.",
)
@_readable_errors
def report(
    first: datetime, last: datetime | None, lang: Language | None, output: Path | None
) -> None:
    """One page a manager opens: the stored days as figures and pictures.

    A single HTML file that needs no network, fits a phone, and prints. Asks the vendor nothing.
    """
    from cdr_pipeline.report import page
    from cdr_pipeline.tables.store import Store

    last = last or first
    if first > last:
        raise click.UsageError(f"--from {first.date()} is after --to {last.date()}.")
    settings = Settings.load()
    store = Store.of(settings)
    language = lang or settings.report_language
    with err.status("Drawing"):
        path, _ = page.write(store, first.date(), last.date(), language, output)
    out.print(f"{path}", soft_wrap=True, highlight=False)


# dictionary


@main.command()
@_readable_errors
def dictionary() -> None:
    """Every dataset and column in words, as Markdown (`data/DICTIONARY.md`).

    With CDR_CONTRACT, the columns that it declares, too.
    """
    from cdr_pipeline.tables.declared import load
    from cdr_pipeline.tables.dictionary import dictionary as text

    settings = Settings.load()
    click.echo(text(load(settings.contract, settings.zone)), nl=False)


# list


@main.command("list")
@click.option("--date", "day", type=_DAY, help="Calls begun on this local day.")
@click.option("--from", "first", type=_MOMENT, help="Calls begun from this moment on.")
@click.option("--to", "last", type=_UP_TO, help="Calls begun up to this moment or day, included.")
@click.option("--ended-from", type=_MOMENT, help="Calls ended from this moment on.")
@click.option("--ended-to", type=_UP_TO, help="Calls ended up to this moment or day, included.")
@click.option("--extension", help="Calls from this extension.")
@click.option("--status", help="Calls of this status, such as ANSWERED.")
@click.option("--hotline", help="Calls made by this number.")
@click.option("--phone", help="Calls from or to this number.")
@click.option("--direction", type=click.Choice(sorted(DIRECTIONS)))
@click.option("--campaign-uuid", help="Calls of this campaign.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=50,
    show_default=True,
    help="Calls at the most; 0 for all.",
)
@click.option(
    "--offset",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Where to begin.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "jsonl", "csv", "parquet"]),
    default="table",
    show_default=True,
    help="jsonl: the records as the vendor sent them; the others are typed.",
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write here.")
@_readable_errors
def list_calls(
    day: datetime | None,
    first: datetime | None,
    last: datetime | None,
    ended_from: datetime | None,
    ended_to: datetime | None,
    limit: int,
    offset: int,
    form: str,
    output: Path | None,
    **filters: str | None,
) -> None:
    """Ask the vendor directly, with any of its documented parameters. Stores nothing.

    Prints whole records, phone numbers included.
    """
    from cdr_pipeline.api.client import Client, Query

    if day and (first or last):
        raise click.UsageError("Give --date, or --from and --to, not both.")
    if form == "parquet" and output is None:
        raise click.UsageError("Parquet needs --output.")
    if form == "table" and output:
        raise click.UsageError("A table is for the screen: give --format with --output.")
    if first and last and first > last:
        raise click.UsageError(f"--from {first} is after --to {last}.")
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
        records, total = _pages(client, query, settings.page_size, limit, offset)
    _show(records, total, settings, form, output)


def _pages(
    client: Any, query: Any, page_size: int, limit: int, offset: int
) -> tuple[list[bytes], int]:
    """Record texts from `offset` on, and the vendor's total."""
    from cdr_pipeline import page

    records: list[bytes] = []
    total = None
    while total is None or (offset + len(records) < total and (not limit or len(records) < limit)):
        wanted = min(page_size, limit - len(records)) if limit else page_size
        answer = client.get(
            query, limit=wanted, offset=offset + len(records), read=page.split_and_total
        )
        texts, total = answer.value
        if not texts:
            break
        records += texts
    return records[: limit or None], total or 0


def _show(
    records: Sequence[bytes],
    total: int,
    settings: Settings,
    form: str,
    output: Path | None,
) -> None:
    import polars as pl

    from cdr_pipeline.page import compact
    from cdr_pipeline.tables.declared import load
    from cdr_pipeline.tables.flatten import Rules, flatten
    from cdr_pipeline.tables.pages import ALWAYS, StoredPage

    if form == "jsonl":
        lines = "".join(f"{compact(text)}\n" for text in records)
        _emit(lines, output)
        return
    body = b'{"data":[' + b",".join(records) + b'],"total":' + str(len(records)).encode() + b"}"
    contract = load(settings.contract, settings.zone)
    flat = flatten([StoredPage(1, body)], Rules(ALWAYS, settings.zone, contract=contract))
    cdrs = flat.cdrs.sort("time_started", "id")
    if form == "csv":
        _emit(cdrs.write_csv(), output)
    elif form == "parquet":
        assert output is not None, "checked by the command"
        cdrs.write_parquet(output, compression="zstd")
    else:
        shown = _SHOWN if out.width >= _SHOWN_WIDTH else _SHOWN_NARROW
        table = Table(*shown)
        began = pl.col("time_started").dt.strftime("%Y-%m-%d %H:%M:%S")
        for row in cdrs.with_columns(began).select(shown).rows():
            table.add_row(*("" if value is None else escape(f"{value}") for value in row))
        out.print(table)
    err.print(f"{len(cdrs):,} of the vendor's {total:,} calls")
    if flat.whole_rejects:
        err.print(f"{flat.whole_rejects:,} records that cannot be calls are left out; see jsonl.")


def _emit(text: str, output: Path | None) -> None:
    if output:
        output.write_text(text, encoding="utf-8")
    else:
        click.echo(text, nl=False)


# simulate


class _WithFaults(click.Command):
    """Adds the known faults to --help."""

    def format_epilog(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        from cdr_pipeline.simulator import Chaos

        with formatter.section("Faults for --chaos (name[=setting], joined by commas)"):
            formatter.write_dl(list(Chaos.names().items()))


@main.command(cls=_WithFaults)
@click.option("--port", type=_PORT, default=8787, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--seed", default=7, show_default=True, help="Another seed, another tenant.")
@click.option("--calls-per-day", type=click.IntRange(0), default=2_000, show_default=True)
@click.option("--token", default="demo-token", show_default=True, help="The bearer token it takes.")
@click.option("--api-key", default="demo-key", show_default=True, help="The API key it takes.")
@click.option(
    "--page-cap", type=click.IntRange(1), help="Give no more records a page, whatever limit says."
)
@click.option(
    "--bounds",
    type=click.Choice(["inclusive", "exclusive", "half-open"]),
    default="inclusive",
    show_default=True,
    help="What start_date and end_date include.",
)
@click.option(
    "--order",
    type=click.Choice(["newest", "oldest", "shuffled", "unstable"]),
    default="newest",
    show_default=True,
)
@click.option("--chaos", default="", help="Faults, such as drift,flaky=0.25; see below.")
@_readable_errors
def simulate(
    port: int,
    host: str,
    seed: int,
    calls_per_day: int,
    token: str,
    api_key: str,
    page_cap: int | None,
    bounds: Any,
    order: Any,
    chaos: str,
) -> None:
    """A vendor of our own on loopback, honest or hostile: point anything at it.

    The same seed, date and volume give the same calls every time, on any date.
    """
    from cdr_pipeline.simulator import Chaos, Tenant, Vendor, run_forever

    try:
        faults = Chaos.parse(chaos, seed=seed)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--chaos") from None
    vendor = Vendor(
        tenant=Tenant(seed=seed, calls_per_day=calls_per_day),
        token=token,
        api_key=api_key,
        page_cap=page_cap,
        bounds=bounds,
        order=order,
        chaos=faults,
    )

    def say(url: str) -> None:
        err.print(
            f"Serving {calls_per_day:,} calls a day. In another terminal:\n"
            f"  export CDR_API_BASE_URL={url} CDR_API_TOKEN={token}\n"
            "Ctrl-C ends it.",
            highlight=False,
        )

    try:
        run_forever(vendor, host, port, say)
    except OSError as error:
        raise CdrError(f"Cannot listen on {host}:{port}: {error.strerror}") from None


# ui and demo


@main.command()
@click.option("--port", type=_PORT, default=3000, show_default=True)
@_readable_errors
def ui(port: int) -> None:
    """Dagster's UI and daemon, with a history that lasts (DAGSTER_HOME, or ./.dagster)."""
    from cdr_pipeline.home import lasting_home

    _see_that_it_is_free(port)

    home = lasting_home()
    err.print(f"Dagster keeps its history in {home}. Ctrl-C ends it.")
    sys.exit(_dagster_dev(port))


def _see_that_it_is_free(port: int) -> None:
    """Raises CdrError: Dagster would go on without its UI."""
    try:
        with socket.create_server(("127.0.0.1", port)):
            pass
    except OSError as error:
        raise CdrError(
            f"Cannot listen on port {port}: {error.strerror}. Is the UI running already? Else take"
            " another one with --port."
        ) from None


def _dagster_dev(port: int, folder: Path | None = None) -> int:
    """Run `dagster dev` until it ends or is interrupted, in `folder` if one is given."""
    command = [
        sys.executable,
        "-W",
        "ignore:Function `dev_command` is superseded",  # by a tool that wants another layout
        "-m",
        "dagster",
        "dev",
        "--module-name",
        "cdr_pipeline.definitions",
        "--port",
        str(port),
    ]
    # A child of a shell's background ignores SIGINT unless told otherwise, and `dagster dev` knows
    # no other way to end. It gets ours alone: in a session of its own, not the terminal's as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, start_new_session=True, cwd=folder)
    signal.signal(signal.SIGTERM, lambda *_: process.send_signal(signal.SIGINT))
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)


@main.command()
@click.option("--ui", "open_ui", is_flag=True, help="Open Dagster on the result instead of ending.")
@click.option("--port", type=_PORT, default=3000, show_default=True, help="Dagster's.")
@_readable_errors
def demo(open_ui: bool, port: int) -> None:
    """A week of a made-up call centre, from HTTP to aggregates. Needs no settings.

    Starts the vendor simulator on loopback and loads a week through Dagster into `./.demo`, never
    into your own data.
    """
    from cdr_pipeline.simulator import Tenant, Vendor, serve

    if open_ui:
        _see_that_it_is_free(port)
    with serve(Vendor(tenant=Tenant(calls_per_day=DEMO_CALLS_PER_DAY), token="demo-token")) as it:
        settings = _demo_settings(it.base_url)
        first, last = DEMO_DAYS
        _exit_if(load_days(settings, first, last))
        _print_demo(settings)
        if open_ui:
            own = settings.model_copy(update={"data_dir": settings.data_dir.resolve()})
            os.environ |= {"CDR_" + name.upper(): value for name, value in _as_text(own)}
            # Dagster lets a `.env` in its working folder win, which would be the user's here.
            sys.exit(_dagster_dev(port, DEMO_FOLDER))


def _demo_settings(base_url: str) -> Settings:
    """Settings of the demo alone, whatever the environment says; its folder is made anew."""
    from cdr_pipeline.home import home_apart

    mark = DEMO_FOLDER / "made-by-cdr-pipeline-demo"
    if DEMO_FOLDER.exists() and not mark.exists():
        raise CdrError(f"{DEMO_FOLDER.resolve()} is there, but not from the demo: move it away.")
    shutil.rmtree(DEMO_FOLDER, ignore_errors=True)
    DEMO_FOLDER.mkdir()
    mark.touch()
    home_apart(DEMO_FOLDER / "dagster")
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    return Settings.model_construct(
        **defaults
        | {
            "api_base_url": base_url,
            "api_token": SecretStr("demo-token"),
            "data_dir": DEMO_FOLDER / "data",
            "requests_per_second": 0.0,
        }
    )


def _as_text(settings: Settings) -> Iterator[tuple[str, str]]:
    for name, value in settings:
        if value is not None:
            text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            yield name, text


def _print_demo(settings: Settings) -> None:
    """What the demo made, in a manager's words, and how to ask more."""
    import polars as pl

    from cdr_pipeline.tables import kpi
    from cdr_pipeline.tables.contract import CAMPAIGN_DAILY
    from cdr_pipeline.tables.readers import contracted
    from cdr_pipeline.tables.store import Store

    root = settings.data_dir
    store = Store(root, settings.zone)
    _print_days(settings)
    week = (
        contracted(store, CAMPAIGN_DAILY, store.days(CAMPAIGN_DAILY))
        .group_by("campaign_uuid")
        .agg(pl.col("calls", "seizures", "answered", "billsec", "key_presses").sum())
        .with_columns(asr=kpi.asr(), acd=kpi.acd_seconds())
        .sort("calls", descending=True)
        .collect()
    )
    table = Table(
        "campaign", "calls", "answered", "ASR", "mean talk", "key presses", title="The week"
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for row in week.iter_rows(named=True):
        table.add_row(
            row["campaign_uuid"] or "(outside campaigns)",
            f"{row['calls']:,}",
            f"{row['answered']:,}",
            f"{row['asr'] or 0:.1%}",
            f"{row['acd'] or 0:.0f} s",
            f"{row['key_presses']:,}",
        )
    out.print(table)
    out.print(
        f"Parquet is in {root}. Ask it anything:\n\n"
        "  [bold]DuckDB[/]  SELECT disposition, count(*) FROM\n"
        f"            read_parquet('{root}/cdrs/*/*.parquet', union_by_name = true,\n"
        "                         hive_partitioning = true) GROUP BY ALL;\n"
        f"  [bold]Polars[/]  pl.scan_parquet('{root}/campaign_daily')"
        ".collect()\n\n"
        "See it in Dagster: cdr-pipeline demo --ui\n"
        "Your own calls: copy .env.example to .env, fill it in, then\n"
        "  cdr-pipeline run --from 2023-03-01 --to 2023-03-07",
        highlight=False,
        soft_wrap=True,
    )


def program() -> None:
    """The command `cdr-pipeline`, as a process of its own."""
    as_program(main)
