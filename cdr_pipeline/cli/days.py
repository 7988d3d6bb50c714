"""`run` and `rebuild`: days through Dagster, in this process."""

from datetime import date, datetime
from typing import TYPE_CHECKING

import click

from cdr_pipeline.cli.shared import (
    DAY,
    exit_if,
    nothing_stored,
    out,
    running_dagster,
    span,
    starting_dagster,
    stored,
    warn,
)
from cdr_pipeline.cli.status import print_days
from cdr_pipeline.errors import CdrError, Damaged
from cdr_pipeline.settings import Settings

if TYPE_CHECKING:
    from cdr_pipeline.cli.materialize import Outcome


@click.command()
@click.option("--from", "first", type=DAY, required=True, help="First local day, included.")
@click.option("--to", "last", type=DAY, required=True, help="Last local day, included.")
@click.option(
    "--accept-shrink",
    is_flag=True,
    help="Replace a day even if the vendor now proves fewer calls than are stored, or mostly"
    " others.",
)
def run(first: datetime, last: datetime, accept_shrink: bool) -> None:
    """Load days through Dagster, in this process.

    The exit code is 0 only if every day is complete and passed every blocking check. If a day
    fails, its stored data stays unchanged, and the other days are still loaded. The other checks
    only print warnings ("Odd").
    """
    from cdr_pipeline.home import lasting_home
    from cdr_pipeline.tables.contract import Contract

    begin, end = span(first, last)
    settings = Settings.load(vendor=True)
    Contract.of(settings)  # report its faults now, not as a failed run of Dagster's
    lasting_home()
    with running_dagster():
        with starting_dagster():
            from cdr_pipeline.cli.materialize import load_days
        outcome = load_days(settings, begin, end, accept_shrink=accept_shrink)
    _tell(settings, begin, end, outcome)


@click.command()
@click.option("--from", "first", type=DAY, help="First local day, included. Default: first stored.")
@click.option("--to", "last", type=DAY, help="Last local day, included. Default: last stored.")
@click.option("--all", "every", is_flag=True, help="Make every stored day again.")
def rebuild(first: datetime | None, last: datetime | None, every: bool) -> None:
    """Make days again from raw_pages, without the API. Needs no vendor settings.

    Makes the days that need it, as `cdr-pipeline status` shows them:

    \b
      - days made with another contract (CDR_CONTRACT), time zone (CDR_TIMEZONE)
        or rules version than the current one;
      - days that were fetched, but not all of their datasets were made;
      - days with a file that cannot be read.

    With --all, makes every day that has raw_pages. Makes cdrs, cdr_rejects, additional_keys and the
    aggregates of these days. Always makes the catalog, even if no day needs it. If a day fails, its
    stored data stays unchanged.
    """
    from cdr_pipeline.home import lasting_home
    from cdr_pipeline.tables.contract import Contract
    from cdr_pipeline.tables.datasets import RAW_PAGES
    from cdr_pipeline.tables.provenance import to_make
    from cdr_pipeline.window import spans

    settings, store = stored()
    contract = Contract.of(settings)
    begin, end = span(first, last)
    days = to_make(store, None if every else contract.mark, begin, end)
    if not store.days(RAW_PAGES, begin, end):
        raise CdrError(nothing_stored(store.root, "There are no raw_pages of these days"))
    if not days:
        out.print("No day needs to be made again; only the catalog is made.", soft_wrap=True)
    lasting_home()
    with running_dagster():
        with starting_dagster():
            from cdr_pipeline.cli.materialize import make_days
        outcome = make_days(settings, spans(days))
    begin, end = (days[0], days[-1]) if days else (begin, end)
    _tell(settings, begin, end, outcome, table=bool(days))


def _tell(
    settings: Settings, first: date, last: date, outcome: "Outcome", *, table: bool = True
) -> None:
    """Print the days as they are now, what was odd, what failed, and which files are damaged."""
    failed = outcome.failed
    try:
        print_days(settings, first, last, table=table)
    except Damaged as error:
        told = any(f"{error}" in one for one in failed)  # reported with the day that failed of it
        failed = failed if told else [*failed, f"{error}"]
    for text in outcome.odd:
        warn("Odd", text, "yellow")
    exit_if(failed)
