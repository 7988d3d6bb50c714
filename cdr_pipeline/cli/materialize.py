"""Runs days, and then the catalog, through Dagster in this process, with a progress bar; returns
messages about what failed.

The import takes two seconds. So a command imports this module when it runs, and `--help` is fast.
"""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, NamedTuple

import click
import dagster as dg
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager
from sqlalchemy.exc import SQLAlchemyError

from cdr_pipeline.assets import catalog
from cdr_pipeline.assets.daily import daily_calls
from cdr_pipeline.assets.failures import causes, summary, told_by
from cdr_pipeline.assets.layer import STEP, Loading
from cdr_pipeline.assets.partitions import partitions
from cdr_pipeline.automation.alerts import tell
from cdr_pipeline.automation.jobs import QUIET, days_tags
from cdr_pipeline.cli.shared import LOADED_STAYS, progress, warn
from cdr_pipeline.errors import CdrError
from cdr_pipeline.home import cannot_be_kept
from cdr_pipeline.launcher import process_tags
from cdr_pipeline.settings import Settings
from cdr_pipeline.tables.catalog import NAME
from cdr_pipeline.tables.datasets import DATASETS, RAW_PAGES, Dataset
from cdr_pipeline.tables.provenance import MADE
from cdr_pipeline.window import every_day


class Outcome(NamedTuple):
    """The messages after a run: why days failed (`failed`), and what the checks found (`odd`); and
    whether it was interrupted (Ctrl-C).
    """

    failed: list[str]
    odd: list[str]
    interrupted: bool = False


def load_days(
    settings: Settings, first: date, last: date, *, accept_shrink: bool = False
) -> Outcome:
    """Fetch the days, both included, and make all their datasets."""
    return _days_and_catalog(settings, [(first, last)], DATASETS.values(), accept_shrink)


def make_days(settings: Settings, ranges: Sequence[tuple[date, date]]) -> Outcome:
    """Make ranges of stored days again from raw_pages."""
    return _days_and_catalog(settings, ranges, MADE)


def _days_and_catalog(
    settings: Settings,
    ranges: Sequence[tuple[date, date]],
    datasets: Collection[Dataset],
    accept_shrink: bool = False,
) -> Outcome:
    if ranges:
        _see_that_they_are_partitions(settings, ranges, fetch=RAW_PAGES in datasets)
    try:
        with instance_here() as instance:
            runs = _days(settings, ranges, datasets, accept_shrink, instance)
            interrupted = any(run.interrupted for run in runs)
            if catalog.ASSETS and not interrupted:
                runs.append(_catalog(settings, instance))
    except SQLAlchemyError as error:
        raise cannot_be_kept(error) from None
    unfinished = [run for run in runs if not run.result.success]
    failed: dict[str, list[str]] = {}
    for run in unfinished:
        for cause, stopped in run.causes().items():
            failed.setdefault(cause, []).extend(stopped)
    if unfinished:
        try:
            tell(unfinished[0].result.dagster_run, failed, settings)
        except CdrError as error:
            warn("Nobody was told", f"{error}")
    return Outcome(summary(failed), [text for run in runs for text in run.odd()], interrupted)


def instance_here() -> dg.DagsterInstance:
    """The Dagster instance for runs in this process; their output goes only to the terminal.

    Otherwise Dagster redirects both streams to files during a run, and four processes copy these to
    the terminal: the progress bar would not move, and on Ctrl-C each would print a traceback.
    """
    kept_nowhere = {"module": NoOpComputeLogManager.__module__, "class": "NoOpComputeLogManager"}
    home = os.environ["DAGSTER_HOME"]
    return dg.DagsterInstance.from_ref(
        InstanceRef.from_dir(home, overrides={"compute_logs": kept_nowhere})
    )


def _see_that_they_are_partitions(
    settings: Settings, ranges: Sequence[tuple[date, date]], *, fetch: bool
) -> None:
    """Raises CdrError, or UsageError, if Dagster has no partitions for these days."""
    first, last = ranges[0][0], ranges[-1][1]
    start, newest = settings.start_date, partitions(settings).get_last_partition_key()
    if first < start and not fetch:
        raise CdrError(
            f"Days from {first} on are stored, which is before CDR_START_DATE. Set it to {first},"
            f" or leave them out: --from {start}."
        )
    if first < start or newest is None or f"{last}" > newest:
        newest = newest or "none yet"
        raise click.UsageError(
            f"Days can be loaded from {start} (CDR_START_DATE) to the last complete day: {newest}."
        )


@dataclass(frozen=True)
class _Ended:
    """A Dagster run that has ended, the days that `failed`, and the days it did not finish
    (`left`). `about`: the beginning of the message if the run itself reports no cause.
    """

    result: dg.ExecuteInProcessResult
    failed: Mapping[date, Exception] = field(default_factory=dict)
    left: Sequence[date] = ()
    about: str = ""

    @property
    def interrupted(self) -> bool:
        """Whether the run was interrupted (Ctrl-C)."""
        error = self._error()
        return bool(error) and error.cls_name == dg.DagsterExecutionInterruptedError.__name__

    def odd(self) -> Iterator[str]:
        """The failed checks that only warn, over all days of the run."""
        found = self.result.get_asset_check_evaluations()
        over_all = [one for one in found if one.partition is None] or found
        for one in over_all:
            if not one.passed and one.severity is dg.AssetCheckSeverity.WARN:
                day = f"{one.partition}: " if one.partition else ""
                yield f"{day}{one.check_name}: {one.description}"

    def causes(self) -> dict[str, list[str]]:
        """Cause -> the days that failed of it: as the run reported in the end; or, if it ended
        before that, the failed days so far, and the cause of its end with the days left.
        """
        told = told_by(event for event in self.result.all_events if event.is_step_failure)
        left = [f"{day}" for day in self.left]
        return told or {**causes(self.failed), f"{self.about}{self._failure()}": left}

    def _failure(self) -> str:
        if self.interrupted:
            return (
                f"it was interrupted. {LOADED_STAYS} Then `cdr-pipeline rebuild` makes what is left"
                " of the others, if `status` names any."
            )
        error = self._error()
        if error is None:
            return "Dagster could not finish the run; see it in `cdr-pipeline ui`."
        error = error.cause or error  # around an error that is no Failure, Dagster names the step
        # The message begins with the full name of the error's class.
        said = str(error.message)
        return (said.partition(f"{error.cls_name}: ")[2] or said).strip()

    def _error(self) -> Any:
        steps = (event for event in self.result.all_events if event.is_step_failure)
        return next((step.step_failure_data.error for step in steps), None)


def _days(
    settings: Settings,
    ranges: Sequence[tuple[date, date]],
    datasets: Collection[Dataset],
    accept_shrink: bool,
    instance: dg.DagsterInstance,
) -> list[_Ended]:
    """Execute a Dagster run for each range, until one is interrupted."""
    runs: list[_Ended] = []
    failed: dict[date, Exception] = {}
    left = [day for first, last in ranges for day in every_day(first, last)]
    verb = "Loaded" if RAW_PAGES in datasets else "Made"
    with progress() as bar:
        task = bar.add_task("Starting", total=len(left))

        def on_day(day: date, error: Exception | None) -> None:
            bar.update(task, advance=1, description=f"{'Failed' if error else verb} {day}")
            left.remove(day)
            if error:
                failed[day] = error

        for first, last in ranges:
            failed = {}
            result = dg.materialize(
                [daily_calls(settings)],
                selection=[dg.AssetKey(dataset.name) for dataset in datasets],
                instance=instance,
                tags={**days_tags(first, last), **process_tags()},
                resources={"loading": Loading(settings=lambda **_: settings, on_day=on_day)},
                run_config={
                    **QUIET,
                    "ops": {STEP: {"config": {"accept_shrink": accept_shrink}}},
                },
                raise_on_error=False,
            )
            run = _Ended(result, failed, [day for day in left if first <= day <= last])
            if run.interrupted:
                return [*runs, replace(run, left=left)]
            runs.append(run)
    return runs


def _catalog(settings: Settings, instance: dg.DagsterInstance) -> _Ended:
    """Execute a Dagster run for the catalog."""
    result = dg.materialize(
        catalog.ASSETS,
        instance=instance,
        tags=process_tags(),
        resources={"loading": Loading(settings=lambda **_: settings)},
        run_config=QUIET,
        raise_on_error=False,
    )
    return _Ended(result, about=f"{NAME} is not made anew: ")
