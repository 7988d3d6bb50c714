"""The jobs that schedules, sensors and people start, and the tags of their runs."""

from datetime import date
from typing import Final

import dagster as dg

from cdr_pipeline.assets.layer import Loading
from cdr_pipeline.environment import read_dotenv_again
from cdr_pipeline.settings import Settings
from cdr_pipeline.tables.datasets import DATASETS
from cdr_pipeline.tables.provenance import MADE

#: Tag of a run that a schedule or a sensor asked for: its name, and the reason.
ASKED_BY: Final = "cdr_pipeline/asked_by"

#: Tags of a run: its first day and its last.
FIRST: Final = "dagster/asset_partition_range_start"
LAST: Final = "dagster/asset_partition_range_end"

#: Configuration of a run that a command starts and reports itself: no log of Dagster's.
QUIET: Final = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

LOAD_DAYS: Final = dg.define_asset_job(
    "load_days",
    selection=dg.AssetSelection.assets(*DATASETS),
    description=(
        "Load days: fetch, prove, flatten, count. The schedule `nightly` and the sensor"
        f" `late_calls` start it; a run's tag `{ASKED_BY}` says which and why, and its partition"
        " range gives the days. Config: `accept_shrink` replaces a day even if the vendor now"
        " proves fewer calls than are stored, or mostly other calls."
    ),
)

#: For people: in Dagster's UI its days are chosen as those of any asset.
REBUILD: Final = dg.define_asset_job(
    "rebuild",
    selection=dg.AssetSelection.assets(*(dataset.name for dataset in MADE)),
    description=(
        "Make days again from raw_pages, without the API: `Materialize all...`, the days that the"
        " check `made_under_contract` of cdrs names, as `[2023-03-01...2023-03-31]`, `Launch`."
    ),
)


def days_tags(first: date, last: date) -> dict[str, str]:
    """Tags of a run for these days, both included."""
    return {FIRST: f"{first}", LAST: f"{last}"}


def settings_of(loading: Loading, *, vendor: bool) -> Settings:
    """The settings of one tick, with `.env` read again: a new token needs no restart."""
    read_dotenv_again()
    return loading.settings(vendor=vendor)
