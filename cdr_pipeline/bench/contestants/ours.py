"""This pipeline: every daily asset through Dagster, in one process, as `cdr-pipeline run` does.

CDR_PAGE_SIZE 1000, CDR_REQUESTS_PER_SECOND 0, other settings by default; every check runs.
Dagster's history is new and on disk; its tables were made before, not measured (1.7 CPU s, once
per DAGSTER_HOME).
"""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import polars as pl
from pydantic import SecretStr

from cdr_pipeline.assets.daily import daily_calls
from cdr_pipeline.assets.layer import Loading
from cdr_pipeline.automation.jobs import QUIET, days_tags
from cdr_pipeline.bench.contestants import Job, Written, named
from cdr_pipeline.cli.materialize import instance_here
from cdr_pipeline.home import home_apart
from cdr_pipeline.settings import Settings
from cdr_pipeline.tables.footer import keys_behind
from cdr_pipeline.window import spans


def prepare(job: Job) -> None:
    """Make Dagster's history, as the very first run does. Another process does this, so that the
    imports of the measured run still count.
    """
    make = "import dagster; dagster.DagsterInstance.get().dispose()"
    home = {"DAGSTER_HOME": str(home_apart(job.folder / "dagster"))}
    subprocess.run([sys.executable, "-c", make], check=True, env=os.environ | home)


def settings_for(job: Job) -> Settings:
    """No budget of requests, all else by default."""
    return Settings(
        api_base_url=job.url,
        api_token=SecretStr("bench"),
        data_dir=job.folder / "data",
        start_date=min(job.days),
        page_size=job.page_size,
        requests_per_second=0,
        days_per_run=job.days_per_run,
    )


def load(job: Job) -> None:
    """Prove, keep, flatten and count the days, all checks included. Raises if a day fails."""
    settings = settings_for(job)
    with instance_here() as instance:
        for first, last in spans(job.days, job.days_per_run):
            dg.materialize(
                [daily_calls(settings)],
                instance=instance,
                tags=days_tags(first, last),
                resources={"loading": Loading(settings=lambda **_: settings)},
                run_config=QUIET,
            )


def written(folder: Path, keys: list[str]) -> Written:
    """The files themselves say which keys a column holds."""
    files = sorted((folder / "data" / "cdrs").glob("*/*.parquet"))
    frame = pl.concat([pl.read_parquet(file) for file in files], how="diagonal_relaxed")
    columns: dict[str, list[str]] = {key: [] for key in keys}
    for name, behind in sorted(keys_behind(files).items()):
        for key in behind:
            columns[key].append(name)
    fields = named(frame) | {"time_ringging": ["time_ringing"]}
    raw = [name for name in frame.columns if name.endswith("__json")]
    return Written(frame, fields, columns, raw)
