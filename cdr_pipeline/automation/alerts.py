"""Tells a webhook of every run that failed; commands tell it of theirs, if they come to that."""

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

#: For how long a webhook that takes nothing is told again.
_PATIENCE_SECONDS: Final = 24 * 3600

#: Runs that one tick tells of. Dagster gives a sensor a minute; one may take ten seconds, and the
#: last twenty.
_AT_ONCE: Final = 4


# Not Dagster's `run_failure_sensor`, which goes on to the next run whether this one was told of or
# not: of what failed while the webhook was away nobody ever heard.
@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells CDR_ALERT_URL of every run that failed: days, cause, what is safe, what to"
    " do. One message a run; where the webhook cannot have taken it, it is told again for a day.",
)
def alerts(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Tell the webhook of the runs that failed since it was told last, in their order; what goes
    wrong with that is logged, never raised.
    """
    cursor = context.cursor or ""
    if not RunStatusSensorCursor.is_valid(cursor):  # none yet, or one that somebody set by hand
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
        except ANY_ERROR as error:  # what nobody foresaw is to keep no other run from being told of
            foreseen = isinstance(error, CdrError)
            why = error if foreseen else type(error).__name__
            reason = f"Nobody was told that run {run_id} failed: {why}"
            context.log.error(reason, exc_info=not foreseen)
            if isinstance(error, Unreachable) and now < record.timestamp + _PATIENCE_SECONDS:
                break  # at the next tick it comes first
        told = record.storage_id
    return dg.SensorResult(skip_reason=reason, cursor=_cursor(told))


def _cursor(told: int) -> str:
    """As Dagster's own sensor of failed runs has it, which was here before."""
    return RunStatusSensorCursor(told).to_json()  # type: ignore[no-untyped-call]


def _told_of(instance: dg.DagsterInstance, record: dg.EventLogRecord) -> bool:
    """Tell of the run that a record says has failed; False where nobody is to be told at all.
    Raises CdrError, and Unreachable where the webhook may take it later.
    """
    entry = record.event_log_entry
    run, event = instance.get_run_by_id(entry.run_id), entry.dagster_event
    if not (run and event):
        return True  # deleted meanwhile
    context = dg.RunStatusSensorContext("alerts", run, event, instance).for_run_failure()
    return not _is_to_be_told(context) or tell(run, _causes(context), _settings())


def _is_to_be_told(context: dg.RunFailureSensorContext) -> bool:
    """Whether a run is of these definitions, and no command has told of it: one that was killed, by
    a machine short of memory for one, told nobody, and the daemon found its end.
    """
    run = context.dagster_run
    if is_of_a_command(run):
        reason = _reason(context.failure_event)
        return reason is None or reason is RunFailureReason.START_TIMEOUT
    origin = run.remote_job_origin
    location = origin.repository_origin.code_location_origin.location_name if origin else LOCATION
    return location == LOCATION


def _settings() -> Settings:
    """Whom to tell, and the secrets to blot out. Raises SettingsError only where CDR_ALERT_URL is
    wrong: any other setting that is may be why the run failed.
    """
    read_dotenv_again()
    Settings.load_one("alert_url")
    return Settings.for_display()


def tell(run: dg.DagsterRun, causes: Mapping[str, Sequence[str]], settings: Settings) -> bool:
    """Post the alert of a failed run; False where CDR_ALERT_URL is not set. Raises CdrError."""
    if settings.alert_url is None:
        return False
    post(settings.alert_url.get_secret_value(), alert(run, causes, settings))
    return True


def alert(
    run: dg.DagsterRun, causes: Mapping[str, Sequence[str]], settings: Settings
) -> dict[str, object]:
    """What a webhook is told of a failed run; `causes`: each in words, and the days it stopped.

    `text` says all of it, which is what chat services show. Holds no secret of `settings`.
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
    """Why a run failed, in words, and the days that each cause stopped."""
    events = context.get_step_failure_events()
    if told := told_by(events):
        return told
    ending = _ending(context.failure_event)
    said = next(filter(None, map(_said, events)), None) if ending != GONE else None
    return {said or ending: _days_left(context)}


def _said(event: dg.DagsterEvent) -> str | None:
    """Why a step failed: in our words, or in those of an error that nobody expected."""
    failure = event.step_failure_data.user_failure_data
    if failure and failure.description:
        return failure.description
    error = event.step_failure_data.error
    while error and error.cause:
        error = error.cause
    return redacted(error.message.strip().partition("\n")[0]) if error else None


def _ending(event: dg.DagsterEvent) -> str:
    """How a run ended that did not say why."""
    said = event.message or "It ended without a word."
    # Somebody ended Dagster, and its runs with it; or the daemon found the process dead, and puts
    # words of its own around ours.
    gone = _reason(event) is RunFailureReason.UNEXPECTED_TERMINATION or GONE in said
    return GONE if gone else said


def _reason(event: dg.DagsterEvent) -> RunFailureReason | None:
    """Dagster's own; none where the daemon found the process dead."""
    data = event.event_specific_data
    return data.failure_reason if isinstance(data, JobFailureData) else None


def _days_left(context: dg.RunFailureSensorContext) -> list[str]:
    """The days that a run was asked for and did not finish; all of them where each was finished
    and what needs several days together was not.
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
