"""`report` and `dictionary`: documents for people."""

from datetime import datetime
from pathlib import Path
from typing import get_args

import click

from cdr_pipeline.cli.shared import DAY, OUTPUT, err, out, span, stored
from cdr_pipeline.settings import Language, Settings


@click.command()
@click.option("--from", "first", type=DAY, required=True, help="First local day, included.")
@click.option("--to", "last", type=DAY, help="Last local day, included. Default: the first day.")
@click.option(
    "--lang",
    type=click.Choice(get_args(Language)),
    help="Language of the page. Default: CDR_REPORT_LANGUAGE.",
)
@click.option(
    "--output",
    type=OUTPUT,
    help="File to write. Default: a file in the folder `reports` of the data folder.",
)
def report(
    first: datetime, last: datetime | None, lang: Language | None, output: Path | None
) -> None:
    """Write a report for managers: the stored days in charts.

    The report is one HTML file. It needs no network, fits a phone screen and can be printed. This
    command does not contact the vendor.
    """
    from cdr_pipeline.report import page

    begin, end = span(first, last or first)
    settings, store = stored()
    language = lang or settings.report_language
    with err.status("Drawing"):
        path, _ = page.write(store, begin, end, language, output)
    out.print(f"{path}", soft_wrap=True, highlight=False, markup=False)


@click.command()
def dictionary() -> None:
    """Print the description of every dataset and column.

    The output is Markdown. Without CDR_CONTRACT, it is the same as `data/DICTIONARY.md`. With
    CDR_CONTRACT, the columns that the contract declares are added.
    """
    from cdr_pipeline.tables.contract import Contract
    from cdr_pipeline.tables.dictionary import dictionary as text

    click.echo(text(Contract.of(Settings.load())).encode(), nl=False)
