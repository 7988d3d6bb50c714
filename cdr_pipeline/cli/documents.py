"""`report` and `dictionary`: documents for people."""

from datetime import datetime
from pathlib import Path
from typing import get_args

import click

from cdr_pipeline.cli.shared import DAY, OUTPUT, err, out, span, stored
from cdr_pipeline.settings import Language, Settings


@click.command()
@click.option("--from", "first", type=DAY, required=True, help="First local day, included.")
@click.option("--to", "last", type=DAY, help="Last local day, included. Default: the first.")
@click.option(
    "--lang",
    type=click.Choice(get_args(Language)),
    help="Language of the page. Default: CDR_REPORT_LANGUAGE.",
)
@click.option(
    "--output",
    type=OUTPUT,
    help="Write to this file instead of the folder `reports` of the data folder.",
)
def report(
    first: datetime, last: datetime | None, lang: Language | None, output: Path | None
) -> None:
    """Write a page for managers: the figures of the stored days, in pictures.

    A single HTML file that needs no network, fits a phone, and can be printed. Does not ask the
    vendor.
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
    """Print the description of every dataset and column, as Markdown.

    This is `data/DICTIONARY.md`; if CDR_CONTRACT is set, with the declared columns as well.
    """
    from cdr_pipeline.tables.contract import Contract
    from cdr_pipeline.tables.dictionary import dictionary as text

    click.echo(text(Contract.of(Settings.load())).encode(), nl=False)
