"""The definitions that Dagster loads, and nothing else. Loading needs no valid settings: a run
checks those it needs.
"""

import dagster as dg

from cdr_pipeline import automation
from cdr_pipeline.assets import aggregates, catalog, report
from cdr_pipeline.assets.daily import GROUP, daily_calls
from cdr_pipeline.assets.layer import Loading
from cdr_pipeline.assets.partitions import partitions
from cdr_pipeline.settings import Settings

shown = Settings.for_display()

defs = dg.Definitions(
    assets=[
        daily_calls(shown),
        *aggregates.looked_back_to(partitions(shown), GROUP),
        *catalog.ASSETS,
        *report.assets(shown),
    ],
    jobs=automation.JOBS,
    schedules=[automation.nightly.nightly(shown)],
    sensors=[
        *automation.SENSORS,
        *catalog.SENSORS,
        *report.SENSORS,
    ],
    resources={"loading": Loading()},
    # A process for each step costs several seconds, the work of a step of one day much less.
    executor=dg.in_process_executor,
)
