"""Is the day that ended there, a few hours after the night?"""

from datetime import UTC, datetime

import dagster as dg

from cdr_pipeline import checks, upkeep
from cdr_pipeline.assets.layer import Loading, evaluation
from cdr_pipeline.automation.jobs import settings_of
from cdr_pipeline.errors import SettingsError
from cdr_pipeline.tables.store import Store


@dg.sensor(
    minimum_interval_seconds=600,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        f"Turns the check `{checks.FRESH.name}` of {checks.FRESH.asset} red or green, once any day"
        f" of the last CDR_PROBE_DAYS was loaded: {checks.FRESH.description}"
    ),
)
def freshness(
    context: dg.SensorEvaluationContext, loading: dg.ResourceParam[Loading]
) -> dg.SensorResult:
    """Turn the check red or green when what it says has changed."""
    try:
        settings = settings_of(loading, vendor=False)
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
    return dg.SensorResult(
        asset_events=[evaluation(finding)], skip_reason=finding.summary, cursor=said
    )
