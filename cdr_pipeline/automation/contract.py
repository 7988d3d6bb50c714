"""Reports stale days (see `provenance`): after a change of CDR_CONTRACT or CDR_TIMEZONE, or an
update of this software that changed our rules.

Each stale day gets a failed check `made_under_contract` (a warning). A run that makes a day again
evaluates the check itself.

The sensor starts a run that records the checks. The sensor itself cannot: outside of runs, Dagster
keeps one evaluation for each partition, and fails on a second one.
"""

from collections.abc import Iterable
from datetime import date
from typing import Final

import dagster as dg
import msgspec

from cdr_pipeline import checks
from cdr_pipeline.assets import catalog
from cdr_pipeline.assets.failures import failing_in_words, in_words
from cdr_pipeline.assets.layer import Loading, evaluation
from cdr_pipeline.automation.jobs import settings_of
from cdr_pipeline.errors import CdrError
from cdr_pipeline.tables.contract import Contract
from cdr_pipeline.tables.datasets import CDRS
from cdr_pipeline.tables.footer import MadeBy
from cdr_pipeline.tables.provenance import days_in_words, stale_days
from cdr_pipeline.tables.store import Store

_SECONDS_BETWEEN: Final = 60


class Known(msgspec.Struct, frozen=True):
    """The sensor's cursor: what was in force at its last tick (a `MadeBy` as text), and the days
    that it has reported.
    """

    mark: str = ""  # empty before the first tick
    told: tuple[date, ...] = ()


def look(before: Known, mark: str, stale: Iterable[date]) -> tuple[list[date], Known, bool]:
    """The days to report, if these are `stale` and `mark` is in force; the new cursor; and whether
    the contract, the zone or the version of our rules has changed.

    Each stale day is reported once for each mark. A reported day that is no longer stale was made
    again, and its run has recorded the check; if the mark changed instead, it is reported here.
    """
    now = set(stale)
    changed = mark != before.mark if before.mark else bool(now)
    told = set() if changed else now & set(before.told)
    fresh = sorted(now - told)
    in_order = sorted(set(before.told) - now) if changed else []
    return [*fresh, *in_order], Known(mark, tuple(sorted(told.union(fresh)))), changed


class Days(dg.Config):
    """The days to tell of."""

    days: list[str]


@dg.op
def evaluate_made_under_contract(
    context: dg.OpExecutionContext, config: Days, loading: dg.ResourceParam[Loading]
) -> None:
    """Say of each day whether it was made under the contract in force."""
    with failing_in_words():
        settings = loading.settings(vendor=False)
        contract, store = Contract.of(settings), Store.of(settings)
        stale = stale_days(store, contract.mark)
        for key in config.days:
            day = date.fromisoformat(key)
            if store.holds(CDRS, day):
                event = evaluation(checks.made_under(store, day, contract, stale), key)
                context.log_event(event)  # type: ignore[arg-type]  # its annotation forgets checks


@dg.job(
    description="Records which days were made under another contract or zone, or by the rules of"
    " another version. The sensor starts it.",
    executor_def=dg.in_process_executor,
    # Dagster emits a warning if it has to copy a sensor to give its job a resource.
    resource_defs={"loading": dg.ResourceDefinition.hardcoded_resource(Loading())},
)
def made_under_contract() -> None:
    """The job around the op."""
    evaluate_made_under_contract()


#: Makes the catalog again, whose comments name stale days; empty if DuckDB is not installed.
_CATALOG_JOBS: Final = [
    dg.define_asset_job(
        f"{asset.key.to_user_string()}_of_contract",
        selection=[asset],
        description="Makes the catalog again after the contract, the zone or the rules changed. The"
        " sensor starts it.",
    )
    for asset in catalog.ASSETS
]


@dg.sensor(
    jobs=[made_under_contract, *_CATALOG_JOBS],
    minimum_interval_seconds=_SECONDS_BETWEEN,
    # On by default, since it only reads.
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Warns, by a check of each day, of days of cdrs that were made under another contract or"
        " zone (CDR_CONTRACT, CDR_TIMEZONE) than is set now, or by the rules of another version;"
        " and makes the catalog, so that its readers are told."
    ),
)
def contract_sensor(
    context: dg.SensorEvaluationContext, loading: dg.ResourceParam[Loading]
) -> dg.SensorResult | dg.SkipReason:
    """Compare the stored days with the contract, zone and rules in force."""
    try:
        settings = settings_of(loading, vendor=False)
        mark = Contract.of(settings).mark
        stale = stale_days(Store.of(settings), mark)
    except (CdrError, OSError) as error:
        return dg.SkipReason(in_words(error))
    before = msgspec.json.decode(context.cursor, type=Known) if context.cursor else Known()
    days, known, changed = look(before, f"{MadeBy(mark, settings.zone.key)}", stale)
    cursor = msgspec.json.encode(known).decode()
    runs = []
    if days:
        told = {"config": {"days": [f"{day}" for day in days]}}
        config = {"ops": {evaluate_made_under_contract.name: told}}
        runs.append(dg.RunRequest(job_name=made_under_contract.name, run_config=config))
    if changed:
        runs += [dg.RunRequest(job_name=job.name) for job in _CATALOG_JOBS]
    if not runs:
        return dg.SensorResult(skip_reason=_at_rest(known), cursor=cursor)
    return dg.SensorResult(run_requests=runs, cursor=cursor)


def _at_rest(known: Known) -> str:
    if known.told:
        told = days_in_words(known.told)
        return f"Still made under another contract, zone or version of the rules: {told}."
    return "Every stored day was made under the contract and zone in force, by these rules."
