"""Each night, loads the day that ended, earlier days that may still change, and gaps."""

from collections.abc import Iterable, Iterator
from datetime import date

import dagster as dg

from cdr_pipeline import upkeep
from cdr_pipeline.assets.layer import Loading
from cdr_pipeline.automation.jobs import ASKED_BY, LOAD_DAYS, days_tags, settings_of
from cdr_pipeline.errors import SettingsError
from cdr_pipeline.settings import Settings
from cdr_pipeline.tables.datasets import DATASETS, Dataset
from cdr_pipeline.tables.provenance import MADE
from cdr_pipeline.tables.store import Store
from cdr_pipeline.window import spans


def nightly(shown: Settings) -> dg.ScheduleDefinition:
    """The schedule, at the time of the `shown` settings, with which definitions were loaded; each
    tick reads its own settings.
    """
    at = shown.schedule_time

    @dg.schedule(
        cron_schedule=f"{at.minute} {at.hour} * * *",
        execution_timezone=shown.timezone,
        job=LOAD_DAYS,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=(
            "At CDR_SCHEDULE_TIME, loads the day that ended, again the CDR_LOOKBACK_DAYS days"
            " before it, and missed days of the last CDR_PROBE_DAYS, from the first stored one on."
        ),
    )
    def nightly(
        context: dg.ScheduleEvaluationContext, loading: dg.ResourceParam[Loading]
    ) -> list[dg.RunRequest] | dg.SkipReason:
        try:
            settings = settings_of(loading, vendor=True)
        except SettingsError as error:
            # Ask for a run: it fails with the same message and is reported. A skipped tick is not.
            settings = Settings.for_display()
            if not (settings.api_base_url or settings.api_token or settings.api_key):
                # No vendor is set: Dagster was only opened to look at it.
                return dg.SkipReason(str(error))
        tonight = context.scheduled_execution_time.astimezone(settings.zone).date()
        newest = tonight - upkeep.DAY
        if newest < settings.start_date:
            return dg.SkipReason(f"CDR_START_DATE is {settings.start_date}: no day ended since.")
        try:
            kept = upkeep.kept(Store.of(settings), newest, settings)
        except OSError:
            kept = {}  # the run will fail with the same error
        wanted = upkeep.wanted(newest, kept, settings)
        return [
            *_requests(wanted.fetch, DATASETS.values(), settings, f"nightly: {tonight}"),
            *_requests(wanted.make, MADE, settings, f"nightly: not made, {tonight}"),
        ] or dg.SkipReason(
            f"Nothing to load: every day up to {newest} was fetched when it was due."
        )

    return nightly


def _requests(
    days: Iterable[date], datasets: Iterable[Dataset], settings: Settings, why: str
) -> Iterator[dg.RunRequest]:
    """A run for each range of days, CDR_DAYS_PER_RUN long at most."""
    for first, last in spans(days, settings.days_per_run):
        yield dg.RunRequest(
            run_key=f"{why}: {first} to {last}",
            asset_selection=[dg.AssetKey(dataset.name) for dataset in datasets],
            tags={**days_tags(first, last), ASKED_BY: why},
        )
