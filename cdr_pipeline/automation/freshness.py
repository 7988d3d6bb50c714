"""Checks that the day that ended is stored a few hours after the night."""

from datetime import UTC, date, datetime

import dagster as dg

from cdr_pipeline import checks, upkeep
from cdr_pipeline.assets.failures import in_words
from cdr_pipeline.assets.layer import Loading, evaluation
from cdr_pipeline.automation.jobs import settings_of
from cdr_pipeline.errors import SettingsError
from cdr_pipeline.settings import Settings
from cdr_pipeline.tables.store import Store


@dg.sensor(
    minimum_interval_seconds=600,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        f"Updates the check `{checks.FRESH.name}` of {checks.FRESH.asset}, once any day of the last"
        f" CDR_PROBE_DAYS was loaded: {checks.FRESH.description} It is also red while a setting is"
        " wrong."
    ),
)
def freshness(
    context: dg.SensorEvaluationContext, loading: dg.ResourceParam[Loading]
) -> dg.SensorResult:
    """Record the check when its result has changed."""
    try:
        return _looked(settings_of(loading, vendor=False), context.cursor)
    except (SettingsError, OSError) as error:
        # No day can be loaded then, and the folder of the stored days is unknown.
        summary = f"No day can be loaded; what is stored is safe. {in_words(error)}"
        finding = checks.Finding(checks.FRESH, False, summary)
        return _told(finding, f"{_day_before(context.cursor)}{summary}", context.cursor)


def _looked(settings: Settings, before: str | None) -> dg.SensorResult:
    """Look for the newest day that is due. Raises OSError if the folder cannot be read."""
    store, now = Store.of(settings), datetime.now(UTC)
    due = upkeep.newest_due(store, now, settings) or _still_due(before, now, settings)
    if due is None:
        nothing = "No recent day was ever loaded."
        if not before:
            return dg.SensorResult(skip_reason=nothing)
        return _told(checks.Finding(checks.FRESH, True, nothing), nothing, before)
    finding = checks.fresh(due, store)
    return _told(finding, f"{due} {finding.passed}", before)


def _still_due(before: str | None, now: datetime, settings: Settings) -> date | None:
    """The newest day, if the check was last about a day. If none of the CDR_PROBE_DAYS is stored
    any more (the vendor was down so long, or the folder is not mounted), the check must fail.
    """
    newest = upkeep.newest_by(now, settings)
    return newest if _day_before(before) and newest >= settings.start_date else None


def _day_before(said: str | None) -> str:
    """The day with which the last result begins, and a space; empty if it begins with no day."""
    return said[:11] if said and said[0].isdigit() else ""


def _told(finding: checks.Finding, said: str, before: str | None) -> dg.SensorResult:
    """Record the finding, unless it says the same as `before`."""
    events = [] if said == before else [evaluation(finding)]
    return dg.SensorResult(asset_events=events, skip_reason=finding.summary, cursor=said)
