"""`demo`: a week of a made-up call centre in a folder of its own."""

import os
import shutil
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from pydantic import SecretStr
from rich.table import Table

from cdr_pipeline.cli.shared import (
    PORT,
    exit_if,
    for_tables,
    out,
    running_dagster,
    starting_dagster,
)
from cdr_pipeline.cli.status import print_days
from cdr_pipeline.cli.ui import dagster_dev, see_that_it_is_free
from cdr_pipeline.environment import COVERED
from cdr_pipeline.errors import CdrError
from cdr_pipeline.home import home_apart
from cdr_pipeline.settings import Settings, variable

if TYPE_CHECKING:
    from cdr_pipeline.tables.store import Store

FOLDER: Final = Path(".demo")
DAYS: Final = (date(2023, 3, 6), date(2023, 3, 12))
CALLS_PER_DAY = 4_000

_APART: Final = f"Nothing but {FOLDER} was touched; the next demo makes it anew."


@click.command()
@click.option("--ui", "open_ui", is_flag=True, help="Then open Dagster on the demo's data.")
@click.option("--port", type=PORT, default=3000, show_default=True, help="Port of Dagster's UI.")
def demo(open_ui: bool, port: int) -> None:
    """Load a week of an invented call centre. Needs no settings.

    Starts the vendor simulator on this machine and loads a week through Dagster into `./.demo`,
    from HTTP to the aggregates. Your own data is not touched.
    """
    from cdr_pipeline.simulator import Tenant, Vendor, serve

    if open_ui:
        see_that_it_is_free(port)
    vendor = Vendor(tenant=Tenant(calls_per_day=CALLS_PER_DAY), token="demo-token")
    with running_dagster(_APART), serve(vendor) as it:
        with starting_dagster():
            from cdr_pipeline.cli.materialize import load_days
        settings = _demo_settings(it.base_url)
        first, last = DAYS
        outcome = load_days(settings, first, last)
        if outcome.interrupted:
            raise KeyboardInterrupt
        exit_if(outcome.failed)
        _print_demo(settings)
        if open_ui:
            own = settings.model_copy(update={"data_dir": settings.data_dir.resolve()})
            # In Dagster, a `.env` in the working folder overrides the environment. The working
            # folder here would have the user's `.env`; the demo's folder has none.
            os.environ |= {variable(name): value for name, value in _as_text(own)} | {COVERED: "{}"}
            sys.exit(dagster_dev(port, FOLDER))


def _demo_settings(base_url: str) -> Settings:
    """The settings of the demo, whatever the environment says; empties the demo's folder. Raises
    CdrError if the folder is not from the demo.
    """
    mark = FOLDER / "made-by-cdr-pipeline-demo"
    if FOLDER.exists() and not mark.exists():
        raise CdrError(f"{FOLDER.resolve()} is there, but not from the demo: move it away.")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    mark.touch()
    home_apart(FOLDER / "dagster")
    return Settings.model_construct(
        api_base_url=base_url,
        api_token=SecretStr("demo-token"),
        data_dir=FOLDER / "data",
        requests_per_second=0.0,
    )


def _as_text(settings: Settings) -> Iterator[tuple[str, str]]:
    """Every setting as text. An empty text counts as not set, and hides the user's setting."""
    for name, value in settings:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        yield name, "" if text is None else f"{text}"


def _print_demo(settings: Settings) -> None:
    """Print what the demo made, for a manager, and how to query it."""
    from cdr_pipeline.tables.store import Store

    root = settings.data_dir
    print_days(settings)
    for_tables().print(_week(Store.of(settings)))
    out.print(
        f"The Parquet files are in {root}. Query them:\n\n"
        "  [bold]DuckDB[/]  SELECT disposition, count(*) FROM\n"
        f"            read_parquet('{root}/cdrs/*/*.parquet', union_by_name = true,\n"
        "                         hive_partitioning = true) GROUP BY ALL;\n"
        f"  [bold]Polars[/]  cdr_pipeline.scan('campaign_daily', data_dir='{root}')"
        ".collect()\n\n"
        "See it in Dagster: uv run cdr-pipeline demo --ui\n"
        "Your own calls: copy .env.example to .env, fill it in, then\n"
        "  uv run cdr-pipeline run --from 2023-03-01 --to 2023-03-07",
        highlight=False,
        soft_wrap=True,
    )


def _week(store: "Store") -> Table:
    """A table with one row per campaign."""
    import polars as pl

    from cdr_pipeline.tables import kpi
    from cdr_pipeline.tables.datasets import CAMPAIGN_DAILY
    from cdr_pipeline.tables.readers import fixed

    week = (
        fixed(store, CAMPAIGN_DAILY, store.days(CAMPAIGN_DAILY))
        .group_by("campaign_uuid")
        .agg(pl.col("calls", "seizures", "answered", "billsec", "key_presses").sum())
        .with_columns(**kpi.ratios(["asr", "acd_seconds"]))
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
            f"{row['acd_seconds'] or 0:.0f} s",
            f"{row['key_presses']:,}",
        )
    return table
