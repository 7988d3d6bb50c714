"""Runs of Dagster in this process, with the package's own tags, without log output."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg

from cdr_pipeline.assets.layer import Loading
from cdr_pipeline.automation.jobs import QUIET, days_tags


def run(
    assets: Sequence[dg.AssetsDefinition],
    instance: dg.DagsterInstance,
    loading: Loading,
    first: str | None = None,
    last: str | None = None,
    *,
    selection: Sequence[str] | None = None,
    config: Mapping[str, Any] | None = None,
) -> dg.ExecuteInProcessResult:
    """Materialize assets, for the days from `first` to `last`, both included, if they have days.

    `config` is the config of the daily assets. A failed run raises nothing: see the result.
    """
    days = [date.fromisoformat(day) for day in (first, last or first) if day]
    return dg.materialize(
        assets,
        selection=selection,
        instance=instance,
        tags=days_tags(*days) if days else None,
        resources={"loading": loading},
        run_config={**QUIET, "ops": {"daily_calls": {"config": config}} if config else {}},
        raise_on_error=False,
    )


def last_evaluation(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> dg.AssetCheckEvaluation:
    """The evaluation that Dagster's page shows for a check: the one that began last."""
    (last,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    assert last.event
    assert last.event.asset_check_evaluation
    return last.event.asset_check_evaluation


def failure_message(result: dg.ExecuteInProcessResult) -> str:
    """The message of the single step that failed in a run."""
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert failure.step_failure_data.error is not None
    return failure.step_failure_data.error.message
