"""Tells a webhook of every run that failed; commands tell it of theirs, if they come to that."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

import dagster as dg
from dagster._core.events import JobFailureData, RunFailureReason

from cdr_pipeline.api.client import post
from cdr_pipeline.assets.aggregates import that_look_back
from cdr_pipeline.assets.failures import summary, told_by
from cdr_pipeline.automation.jobs import FIRST, LAST
from cdr_pipeline.environment import read_dotenv_again
from cdr_pipeline.errors import CdrError, redacted
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


@dg.run_failure_sensor(
    # A command's run is of no code location.
    monitor_all_code_locations=True,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells CDR_ALERT_URL of every run that failed: days, cause, what is safe, what to"
    " do. One message a run, whether it could be delivered or not.",
)
def alerts(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
    """Tell the webhook; what goes wrong with that is logged, never raised."""
    if not _is_to_be_told(context):
        return None  # a reason to skip would end the tick, and the next run wait for another
    try:
        if not tell(context.dagster_run, _causes(context), _settings()):
            return dg.SkipReason("CDR_ALERT_URL is not set: nobody is told.")
    except CdrError as error:
        context.log.error(f"Nobody was told that run {context.dagster_run.run_id} failed: {error}")
    return None


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
