"""What happens by itself: schedules and sensors, thin. What they decide by is in `upkeep`.

    nightly      each night the day that ended, those before it that may still change, and gaps
    late_calls   by day: do the vendor's totals of older days still agree with what was proved?
    freshness    is the day that ended there, a few hours after the night?
    alerts       tells a webhook of every run that failed (the commands tell it of theirs)

All are on from the start, and skip their ticks with a reason while something they need is not set.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Final

import dagster as dg

from cdr_pipeline import checks, upkeep
from cdr_pipeline.api.client import Client, Patience, post
from cdr_pipeline.api.reading import total
from cdr_pipeline.assets.daily import FAILURES
from cdr_pipeline.assets.layer import Loading
from cdr_pipeline.errors import CdrError, SettingsError, Unauthorized, Unreachable
from cdr_pipeline.home import read_dotenv_again
from cdr_pipeline.record import spans
from cdr_pipeline.settings import Settings
from cdr_pipeline.tables.contract import DATASETS, Dataset
from cdr_pipeline.tables.provenance import MADE
from cdr_pipeline.tables.store import Store

#: Tag of a run that was asked for here: by what, and why.
ASKED_BY: Final = "cdr_pipeline/asked_by"

_FIRST, _LAST = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"

#: A day proved in more parts than this is not probed: that would cost as much as loading it.
_MOST_PARTS: Final = 24

#: Dagster gives a sensor a minute. What is not asked within this time is asked at the next tick.
_PROBE_SECONDS: Final = 20.0
_BRIEFLY: Final = Patience(attempts=2, first_attempts=2, seconds=10.0)

LOAD_DAYS: Final = dg.define_asset_job(
    "load_days",
    selection=dg.AssetSelection.assets(*DATASETS),
    description=(
        "Load days: fetch, prove, flatten, count. The schedule `nightly` and the sensor"
        f" `late_calls` start it; a run's tag `{ASKED_BY}` says which and why, and its partition"
        " range the days. Config: `accept_shrink` replaces a day although the vendor now proves"
        " fewer calls than are stored."
    ),
)


def nightly(shown: Settings) -> dg.ScheduleDefinition:
    """The schedule, at the time of the settings it is `shown` by; a tick reads its own."""
    at = shown.schedule_time

    @dg.schedule(
        cron_schedule=f"{at.minute} {at.hour} * * *",
        execution_timezone=shown.timezone,
        job=LOAD_DAYS,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=(
            "At CDR_SCHEDULE_TIME: the day that ended, the CDR_LOOKBACK_DAYS days before it, and"
            " days of the last CDR_PROBE_DAYS that were missed, from the first loaded one on."
        ),
    )
    def nightly(
        context: dg.ScheduleEvaluationContext, loading: dg.ResourceParam[Loading]
    ) -> list[dg.RunRequest] | dg.SkipReason:
        try:
            settings = _settings(loading, vendor=True)
        except SettingsError as error:
            return dg.SkipReason(str(error))
        tonight = context.scheduled_execution_time.astimezone(settings.zone).date()
        newest = tonight - upkeep.DAY
        if newest < settings.start_date:
            return dg.SkipReason(f"CDR_START_DATE is {settings.start_date}: no day ended since.")
        store = Store.of(settings)
        kept = upkeep.kept(store, *upkeep.window(newest, settings))
        wanted = upkeep.wanted(newest, kept, settings)
        return [
            *_requests(wanted.fetch, DATASETS.values(), settings, f"nightly: {tonight}"),
            *_requests(wanted.make, MADE, settings, f"nightly: not made, {tonight}"),
        ] or dg.SkipReason(f"Everything up to {newest} was proved on {tonight}.")

    return nightly


@dg.sensor(
    job=LOAD_DAYS,
    minimum_interval_seconds=int(upkeep.PROBE_EVERY.total_seconds()),
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Once a day, spread over its hours, the vendor is asked for the total of each loaded day"
        " that the nightly schedule no longer loads again, back to CDR_PROBE_DAYS: one request for"
        " one row. Days whose total moved are loaded. A call that only changed moves no total and"
        " is not seen: CDR_LOOKBACK_DAYS must be as long as calls are edited."
    ),
)
def late_calls(
    context: dg.SensorEvaluationContext, loading: dg.ResourceParam[Loading]
) -> dg.SensorResult:
    """Load days whose totals moved since they were proved."""
    try:
        settings = _settings(loading, vendor=True)
    except SettingsError as error:
        return dg.SensorResult(skip_reason=str(error), cursor=context.cursor)
    store = Store.of(settings)
    now = datetime.now(UTC).astimezone(settings.zone)
    today = now.date()
    turn = upkeep.Round.read(context.cursor, today)
    days = turn.due(upkeep.to_probe(store, today - upkeep.DAY, settings), now)
    if not days:
        return dg.SensorResult(skip_reason="No day's turn has come.", cursor=f"{turn}")
    probes = _Probes(turn)
    with Client.from_settings(_brief(settings), loading.patience or _BRIEFLY) as client:
        probes.ask(client, store, days)
    for doubt in probes.doubts:
        context.log.warning(doubt)
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=moved.run_key(today),
                tags=_tags(moved.day, moved.day, f"late_calls: {moved}"),
            )
            for moved in probes.moved
        ],
        skip_reason=None if probes.moved else "\n".join(probes.doubts) or "No total moved.",
        cursor=f"{probes.turn}",
    )


@dg.sensor(
    minimum_interval_seconds=600,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        f"Evaluates the check `{checks.FRESH.name}` of {checks.FRESH.asset}"
        f" ({checks.FRESH.description}), once any day of the last CDR_PROBE_DAYS was loaded."
    ),
)
def freshness(
    context: dg.SensorEvaluationContext, loading: dg.ResourceParam[Loading]
) -> dg.SensorResult:
    """Turn the check red or green when what it says has changed."""
    try:
        settings = _settings(loading, vendor=False)
    except SettingsError as error:
        return dg.SensorResult(skip_reason=str(error), cursor=context.cursor)
    store = Store.of(settings)
    due = upkeep.newest_due(store, datetime.now(UTC), settings)
    if due is None:
        return dg.SensorResult(skip_reason="No recent day was ever loaded.", cursor=context.cursor)
    finding = checks.fresh(due, store)
    said = f"{due} {finding.passed}"
    if said == context.cursor:
        return dg.SensorResult(skip_reason=finding.summary, cursor=said)
    return dg.SensorResult(asset_events=[finding.event()], skip_reason=finding.summary, cursor=said)


@dg.run_failure_sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells CDR_ALERT_URL of every run that failed: days, cause, what is safe, what to"
    " do. One message a run, whether it could be delivered or not.",
)
def alerts(
    context: dg.RunFailureSensorContext, loading: dg.ResourceParam[Loading]
) -> dg.SkipReason | None:
    """Tell the webhook; what goes wrong with that is logged, never raised."""
    try:
        if not tell(context.dagster_run, _causes(context), _settings(loading, vendor=False)):
            return dg.SkipReason("CDR_ALERT_URL is not set: nobody is told.")
    except CdrError as error:
        context.log.error(f"Nobody was told that run {context.dagster_run.run_id} failed: {error}")
    return None


SENSORS: Final = (late_calls, freshness, alerts)


def _settings(loading: Loading, *, vendor: bool) -> Settings:
    """Settings of this tick: a token that was replaced is used without a restart."""
    read_dotenv_again()
    return loading.settings(vendor)


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
    lines = [
        f"{', '.join(days) or 'A run'}: {settings.without_secrets(cause)}"
        for cause, days in causes.items()
    ]
    return {
        "text": "\n".join(["cdr-pipeline: a run failed", *lines, _SAFE, _TO_DO]),
        "days": sorted({day for days in causes.values() for day in days}),
        "cause": "\n".join(lines),
        "safe": _SAFE,
        "to_do": _TO_DO,
        "run_id": run.run_id,
        "run_path": f"/runs/{run.run_id}",
    }


_SAFE: Final = (
    "Every partition holds its old content or its new, whole. Days that are not named here are not"
    " affected."
)
_TO_DO: Final = (
    "Do what the cause says, if anything. The schedule `nightly` asks for recent days again until"
    " they are loaded; to load them now, choose Failed and missing in Dagster, or `cdr-pipeline"
    " run`."
)


def _causes(context: dg.RunFailureSensorContext) -> dict[str, list[str]]:
    """Why a run failed, in words, and the days that each cause stopped."""
    tags = context.dagster_run.tags
    all_days = [tags[name] for name in (_FIRST, _LAST, "dagster/partition") if name in tags]
    named = [" to ".join(dict.fromkeys(all_days))] if all_days else []
    for event in context.get_step_failure_events():
        failure = event.step_failure_data.user_failure_data
        if failure and FAILURES in failure.metadata:
            found: dict[str, list[str]] = failure.metadata[FAILURES].value  # type: ignore[assignment]
            return found
        if failure and failure.description:
            return {failure.description: named}
    return {context.failure_event.message or "It ended without a word.": named}


def _requests(
    days: Iterable[date], datasets: Iterable[Dataset], settings: Settings, why: str
) -> Iterator[dg.RunRequest]:
    """A run for each stretch of days."""
    for first, last in spans(days, settings.days_per_run):
        yield dg.RunRequest(
            run_key=f"{why}: {first} to {last}",
            asset_selection=[dg.AssetKey(dataset.name) for dataset in datasets],
            tags=_tags(first, last, why),
        )


def _tags(first: date, last: date, why: str) -> dict[str, str]:
    return {_FIRST: f"{first}", _LAST: f"{last}", ASKED_BY: why}


@dataclass
class _Probes:
    """One tick's probes: how far they came, days whose totals moved, and what went wrong."""

    turn: upkeep.Round
    moved: list[upkeep.Moved] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    def ask(self, client: Client, store: Store, days: Iterable[date]) -> None:
        """Compare the totals of `days`, as many as there is time for."""
        until = time.monotonic() + _PROBE_SECONDS
        for number, day in enumerate(days):
            if time.monotonic() > until:
                break
            try:
                moved = _compare(client, store, day, until)
            except (Unreachable, Unauthorized) as error:  # the next day would fare no better
                self.doubts.append(f"{error} Totals are compared again at the next tick.")
                break
            except _TooMany as error:
                if number and not error.for_any_tick:
                    break  # at the next tick it comes first
                self.doubts.append(f"{day}: {error} Load it again yourself if you doubt it.")
            except CdrError as error:
                self.doubts.append(f"{day}: {error} Its total is compared again tomorrow.")
            else:
                self.moved += [moved] if moved else []
            self.turn = upkeep.Round(self.turn.on, day)


def _brief(settings: Settings) -> Settings:
    """Settings by which no answer is waited for longer than a tick may take."""
    seconds = min(settings.timeout_seconds, _PROBE_SECONDS)
    return settings.model_copy(update={"timeout_seconds": seconds})


class _TooMany(CdrError):
    """A day was proved in more parts than one tick can ask for, or than any tick can."""

    def __init__(self, parts: int, *, for_any_tick: bool) -> None:
        super().__init__(f"it was proved in {parts} parts, too many to compare.")
        self.for_any_tick = for_any_tick


def _compare(client: Client, store: Store, day: date, until: float) -> upkeep.Moved | None:
    """Ask for the totals of a day's parts as they were asked for when it was proved.

    Raises _TooMany where there are too many to ask, by their number or by the time that is left.
    """
    proved = store.totals(day)
    if len(proved) > _MOST_PARTS:
        raise _TooMany(len(proved), for_any_tick=True)
    now = {}
    for part in proved:
        if time.monotonic() > until:
            raise _TooMany(len(proved), for_any_tick=False)
        now[part] = total(client, part)
    if now == proved:
        return None
    proved_at = upkeep.proved_at(store, day)
    return upkeep.Moved(day, sum(proved.values()), sum(now.values()), proved_at)
