"""Sends an alert for every failed run to a webhook, except for runs that a command reports."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

import dagster as dg
from dagster._core.definitions.run_status_sensor_definition import RunStatusSensorCursor
from dagster._core.events import JobFailureData, RunFailureReason

from cdr_pipeline.api.client import post
from cdr_pipeline.assets.aggregates import that_look_back
from cdr_pipeline.assets.failures import ANY_ERROR, summary, told_by
from cdr_pipeline.automation.jobs import FIRST, LAST
from cdr_pipeline.environment import read_dotenv_again
from cdr_pipeline.errors import CdrError, Unreachable, redacted
from cdr_pipeline.home import LOCATION
from cdr_pipeline.launcher import GONE, is_of_a_command
from cdr_pipeline.settings import Settings
from cdr_pipeline.tables.datasets import DATASETS
from cdr_pipeline.window import every_day

_SAFE: Final = (
    "Every partition holds its old content or its new, whole. Days that are not named here are not"
    " affected."
)
_TO_DO: Final = (
    "Do what the cause says, if anything. The schedule `nightly` asks again for missing days of the"
    " last CDR_PROBE_DAYS that follow a stored day of these. To load days now, or others, launch"
    ' the same days again in Dagster with "Backfill only failed and missing partitions" ticked, or'
    " `cdr-pipeline run`."
)

_FAILED: Final = dg.DagsterEventType.RUN_FAILURE

#: For how long an alert is sent again if the webhook cannot have received it.
_PATIENCE_SECONDS: Final = 24 * 3600

#: The most alerts of one tick. Dagster gives a sensor a minute; one alert may take ten seconds, the
#: last one twenty.
_AT_ONCE: Final = 4


# Not Dagster's `run_failure_sensor`, which goes on to the next run even if this alert failed: runs
# that failed while the webhook was down were never reported.
@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sends every failed run to CDR_ALERT_URL: days, cause, what is safe, what to do."
    " One message for each run; if the webhook cannot have received it, it is sent again, for a"
    " day.",
)
def alerts(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Send alerts for the runs that failed since the last alert, in order; errors are logged, never
    raised.
    """
    cursor = context.cursor or ""
    if not RunStatusSensorCursor.is_valid(cursor):  # no cursor yet, or one set by hand
        newest = context.instance.fetch_run_status_changes(_FAILED, limit=1).records
        since = newest[0].storage_id if newest else 0
        return dg.SensorResult(skip_reason="Runs that fail from now on.", cursor=_cursor(since))
    told, now = RunStatusSensorCursor.from_json(cursor).record_id, time.time()
    untold = context.instance.fetch_run_status_changes(
        dg.RunStatusChangeRecordsFilter(_FAILED, after_storage_id=told),
        limit=_AT_ONCE,
        ascending=True,
    ).records
    reason = "Nothing more to tell."
    for record in untold:
        run_id = record.event_log_entry.run_id
        try:
            if not _told_of(context.instance, record):
                reason = "CDR_ALERT_URL is not set: nobody is told."
        except ANY_ERROR as error:  # an unexpected error must not block the alerts of other runs
            foreseen = isinstance(error, CdrError)
            why = error if foreseen else type(error).__name__
            reason = f"Nobody was told that run {run_id} failed: {why}"
            context.log.error(reason, exc_info=not foreseen)
            if isinstance(error, Unreachable) and now < record.timestamp + _PATIENCE_SECONDS:
                break  # this run is the first of the next tick
        told = record.storage_id
    return dg.SensorResult(skip_reason=reason, cursor=_cursor(told))


def _cursor(told: int) -> str:
    """A cursor in the format of Dagster's own sensor of failed runs, which this one replaced."""
    return RunStatusSensorCursor(told).to_json()  # type: ignore[no-untyped-call]


def _told_of(instance: dg.DagsterInstance, record: dg.EventLogRecord) -> bool:
    """Send the alert for the failed run of a record; False if CDR_ALERT_URL is not set. Raises
    CdrError; Unreachable if the webhook may take it later.
    """
    entry = record.event_log_entry
    run, event = instance.get_run_by_id(entry.run_id), entry.dagster_event
    if not (run and event):
        return True  # the run was deleted in the meantime
    context = dg.RunStatusSensorContext("alerts", run, event, instance).for_run_failure()
    return not _is_to_be_told(context) or tell(run, _causes(context), _settings())


def _is_to_be_told(context: dg.RunFailureSensorContext) -> bool:
    """Whether a run is of these definitions, and no command has reported it. A command that was
    killed, for example for lack of memory, reports nothing: then the daemon finds the dead run.
    """
    run = context.dagster_run
    if is_of_a_command(run):
        reason = _reason(context.failure_event)
        return reason is None or reason is RunFailureReason.START_TIMEOUT
    origin = run.remote_job_origin
    location = origin.repository_origin.code_location_origin.location_name if origin else LOCATION
    return location == LOCATION


def _settings() -> Settings:
    """The webhook, and the secrets to remove. Raises SettingsError only if CDR_ALERT_URL is wrong:
    any other wrong setting may be the reason why the run failed.
    """
    read_dotenv_again()
    Settings.load_one("alert_url")
    return Settings.for_display()


def tell(run: dg.DagsterRun, causes: Mapping[str, Sequence[str]], settings: Settings) -> bool:
    """Post the alert of a failed run; False if CDR_ALERT_URL is not set. Raises CdrError."""
    if settings.alert_url is None:
        return False
    post(settings.alert_url.get_secret_value(), alert(run, causes, settings))
    return True


def alert(
    run: dg.DagsterRun, causes: Mapping[str, Sequence[str]], settings: Settings
) -> dict[str, object]:
    """The alert of a failed run; `causes`: cause in words -> the days that failed of it.

    `text` holds the whole message, for chat services. Holds no secret of `settings`.
    """
    lines = [settings.without_secrets(line) for line in summary(causes)]
    return {
        "text": "\n".join(["cdr-pipeline: a run failed", *lines, _SAFE, _TO_DO]),
        "days": sorted({day for stopped in causes.values() for day in stopped}),
        "cause": "\n".join(lines),
        "safe": _SAFE,
        "to_do": _TO_DO,
        "run_id": run.run_id,
        "run_path": f"/runs/{run.run_id}",
    }


def _causes(context: dg.RunFailureSensorContext) -> dict[str, list[str]]:
    """Cause of a run's failure in words -> the days that failed of it."""
    events = context.get_step_failure_events()
    if told := told_by(events):
        return told
    ending = _ending(context.failure_event)
    said = next(filter(None, map(_said, events)), None) if ending != GONE else None
    return {said or ending: _days_left(context)}


def _said(event: dg.DagsterEvent) -> str | None:
    """Why a step failed: our message, or the first line of an unexpected error."""
    failure = event.step_failure_data.user_failure_data
    if failure and failure.description:
        return failure.description
    error = event.step_failure_data.error
    while error and error.cause:
        error = error.cause
    return redacted(error.message.strip().partition("\n")[0]) if error else None


def _ending(event: dg.DagsterEvent) -> str:
    """Why a run ended, if no step reported a cause."""
    said = event.message or "It ended without a word."
    # Either Dagster was stopped with its runs, or the daemon found the process dead and put its own
    # text around our message.
    gone = _reason(event) is RunFailureReason.UNEXPECTED_TERMINATION or GONE in said
    return GONE if gone else said


def _reason(event: dg.DagsterEvent) -> RunFailureReason | None:
    """Dagster's reason for the failure; None if the daemon found the process dead."""
    data = event.event_specific_data
    return data.failure_reason if isinstance(data, JobFailureData) else None


def _days_left(context: dg.RunFailureSensorContext) -> list[str]:
    """The days that a run was asked for and did not finish; all of them if each was finished, and
    only the datasets over several days were not.
    """
    run = context.dagster_run
    asked_for = {key.to_user_string() for key in run.asset_selection or ()}
    selected = asked_for & set(DATASETS) or set(DATASETS)
    wanted = selected - set(that_look_back(selected))
    logged = context.instance.all_logs(run.run_id, dg.DagsterEventType.ASSET_MATERIALIZATION)
    events = [entry.dagster_event for entry in logged if entry.dagster_event]
    made = Counter(
        one.partition
        for one in events
        if one.asset_key and one.asset_key.to_user_string() in wanted
    )
    asked = _days_of(run.tags)
    return [day for day in asked if made[day] < len(wanted)] or asked


def _days_of(tags: Mapping[str, str]) -> list[str]:
    """The days that a run was asked for, by its tags."""
    one = tags.get("dagster/partition")
    first, last = tags.get(FIRST, one), tags.get(LAST, one)
    if not (first and last):
        return []
    return [f"{day}" for day in every_day(date.fromisoformat(first), date.fromisoformat(last))]
