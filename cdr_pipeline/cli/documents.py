"""`report` and `dictionary`: documents for people."""

from datetime import datetime
from pathlib import Path
from typing import get_args

import click

from cdr_pipeline.cli.shared import DAY, OUTPUT, err, out, span, stored
from cdr_pipeline.settings import Language, Settings


@click.command()
@click.option("--from", "first", type=DAY, required=True, help="First local day, included.")
@click.option("--to", "last", type=DAY, help="Last local day, included; the first if not given.")
@click.option(
    "--lang",
    type=click.Choice(get_args(Language)),
    help="Language of the page; CDR_REPORT_LANGUAGE if not given.",
)
@click.option(
    "--output",
    type=OUTPUT,
    help="Write here, instead of to `reports` in the data folder.",
)
def report(
    first: datetime, last: datetime | None, lang: Language | None, output: Path | None
) -> None:
    """One page for a manager: the stored days in pictures.

    A single HTML file that needs no network, fits a phone, and prints. Asks the vendor nothing.
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
    """Every dataset and column in words, as Markdown.

    Without CDR_CONTRACT it is what stands in `data/DICTIONARY.md`; with it, the columns that it
    declares are there, too.
    """
    from cdr_pipeline.tables.contract import Contract
    from cdr_pipeline.tables.dictionary import dictionary as text

    click.echo(text(Contract.of(Settings.load())).encode(), nl=False)
