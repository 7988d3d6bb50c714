"""What Dagster loads, and nothing else. Needs no settings: a run asks for those it needs."""

import warnings

import dagster as dg

# Backfill policies are what makes a backfill of a year bearable, and stable in use since 1.5; the
# warning is nothing a user of this pipeline could act on.
warnings.filterwarnings("ignore", category=dg.BetaWarning, message=".*backfill_policy.*")

from cdr_pipeline import automation  # noqa: E402  after the filter above
from cdr_pipeline.assets import aggregates, catalog, report  # noqa: E402
from cdr_pipeline.assets.daily import GROUP, daily_calls  # noqa: E402
from cdr_pipeline.assets.layer import Loading  # noqa: E402
from cdr_pipeline.assets.partitions import partitions  # noqa: E402
from cdr_pipeline.settings import Settings  # noqa: E402

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
    # A process of its own for every step costs several seconds, the work of a day much less.
    executor=dg.in_process_executor,
)
