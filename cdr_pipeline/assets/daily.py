"""One Dagster step for all layers of a day, so that days are finished one after the other.

A run takes many days. Each day goes through every layer that was asked for, and its partitions are
recorded with their metadata as soon as they are written: a day that fails does not stop the others.
While a day is made, the next day is fetched, which is mostly waiting; a killed run loses at most
the work on these two days. The run fails in the end if any day failed.

To record an event costs Dagster about as much as to flatten a hundred calls. So a day of a run of
many records only the check `verified` and the checks that found something; at the end of the run,
each check is recorded once, over all days.
"""

import gc
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, date, datetime

import dagster as dg
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
from pydantic import Field

from cdr_pipeline import checks
from cdr_pipeline.api.client import Client
from cdr_pipeline.api.listing import Lister
from cdr_pipeline.assets import aggregates, cdrs, raw_pages
from cdr_pipeline.assets.begun import Begun, begun_ahead
from cdr_pipeline.assets.failures import (
    ANY_ERROR,
    days_failed,
    failing_in_words,
    log_error,
    not_together,
)
from cdr_pipeline.assets.layer import STEP, Loading, Made, Work, check_spec, evaluation, names
from cdr_pipeline.assets.partitions import partitions, policy
from cdr_pipeline.checks import MADE_UNDER, VERIFIED, Finding
from cdr_pipeline.settings import Settings
from cdr_pipeline.tables.contract import Contract
from cdr_pipeline.tables.datasets import CDRS, RECEIPTS
from cdr_pipeline.tables.provenance import stale_days, stale_in_words
from cdr_pipeline.tables.receipts import honest_total
from cdr_pipeline.tables.store import Store
from cdr_pipeline.upkeep import newest_due

GROUP = "calls"

#: The pool of the runs that ask the vendor; `dagster.yaml` sets how many run at once.
POOL = "cdr_api"


class LoadConfig(dg.Config):
    """What a run may be told."""

    accept_shrink: bool = Field(
        False,
        description="Replace a day even if the vendor now proves fewer calls than are stored, or"
        " mostly other calls. Set it to true once you know that the vendor really deleted calls.",
    )


def daily_calls(settings: Settings) -> dg.AssetsDefinition:
    """The daily assets, partitioned as `settings` say; runs read their own settings."""
    days = partitions(settings)
    specs = [*raw_pages.SPECS, *cdrs.SPECS, *aggregates.SPECS]

    @dg.multi_asset(
        name=STEP,
        specs=[spec.replace_attributes(partitions_def=days, group_name=GROUP) for spec in specs],
        check_specs=[check_spec(check) for check in checks.ALL],
        can_subset=True,
        backfill_policy=policy(settings),
        pool=POOL,
    )
    def load(
        context: dg.AssetExecutionContext, config: LoadConfig, loading: dg.ResourceParam[Loading]
    ) -> Iterator[dg.Output[None]]:
        if not context.selected_asset_keys:
            with failing_in_words():
                _check_newest(context, loading)
            return
        with _collector_spared(), failing_in_words():
            failed = _load_days(context, config, loading)
        if failed:
            raise days_failed(failed, context.partition_keys)
        yield from _recorded_outputs(context)

    return load


def _recorded_outputs(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None]]:
    """The outputs of the step, whose days and checks are already recorded one by one. Later steps
    of the run depend on these outputs; a mark of Dagster's keeps it from recording them twice.
    """
    for spec in context.assets_def.specs:
        if spec.key in context.selected_asset_keys:
            name = context.assets_def.get_output_name_for_asset_key(spec.key)
            yield dg.Output(
                None, name, metadata={SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True}
            )
    for name, check in context.assets_def.check_specs_by_output_name.items():
        if check.key in context.selected_asset_check_keys:
            yield dg.Output(None, name)


@contextmanager
def _collector_spared() -> Iterator[None]:
    """Limit the garbage collector to the objects that the run makes. To look at Dagster's objects,
    which stay until the end anyway, would take a tenth of the time of loading a day.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _load_days(
    context: dg.AssetExecutionContext, config: LoadConfig, loading: Loading
) -> dict[date, Exception]:
    """Load every day of the run; return the failed days with their errors. Raises CdrError."""
    wanted = {key.to_user_string() for key in context.selected_asset_keys}
    fetches = bool(wanted & names(raw_pages.SPECS))
    settings = loading.settings(vendor=fetches)
    store = Store.of(settings)
    store.prepare()
    contract = Contract.of(settings)
    days = sorted(date.fromisoformat(key) for key in context.partition_keys)
    failed: dict[date, Exception] = {}
    found: dict[date, list[Finding]] = {}
    with ExitStack() as stack:
        lister = lister_for(stack, settings, store) if fetches else None
        works = [Work(day, settings, store, wanted, config.accept_shrink, contract) for day in days]
        for begun in stack.enter_context(begun_ahead(works, lister)):
            day = begun.work.day
            error = begun.hopeless or _load_day(context, begun)
            found[day] = begun.work.findings
            if error:
                failed[day] = error
            if loading.on_day:
                loading.on_day(day, error)
    loaded = [day for day in days if day not in failed]
    failed |= _load_together(context, store, loaded, wanted)
    only = f"{days[0]}" if len(days) == 1 else None
    _record_checks(context, found, only)
    if CDRS.name in wanted:
        context.log_event(evaluation(_fresh(store, settings, days[-1]), only))
        _tell_stale(context, store, contract)
    return failed


def _record_checks(
    context: dg.AssetExecutionContext, found: Mapping[date, list[Finding]], only: str | None
) -> None:
    """Record each check once over the days of a run; with `only`, for the partition of this day."""
    for finding in checks.over_days(found):
        context.log_event(evaluation(finding, only))
        if not (only or finding.passed):
            _tell_last(context, finding)


def _tell_last(context: dg.AssetExecutionContext, finding: Finding) -> None:
    """Make Dagster show this finding of a check. By itself, Dagster shows the evaluation that was
    planned last: that of the run was planned at its beginning, before those of single days.

    The evaluation names the last materialization of the asset. Without it, Dagster compares clocks,
    which have whole seconds in SQLite: within the same second it showed no check.
    """
    key = dg.AssetKey(finding.check.asset)
    latest = next(iter(context.instance.fetch_materializations(key, limit=1).records), None)
    context.instance.report_runless_asset_event(evaluation(finding, of=latest))


def _check_newest(context: dg.AssetExecutionContext, loading: Loading) -> None:
    """Run the checks on the newest stored day, if only checks were asked for (in the UI). Raises
    CdrError.
    """
    settings = loading.settings(vendor=False)
    store = Store.of(settings)
    contract = Contract.of(settings)
    for day in store.days(CDRS)[-1:]:
        work = Work(day, settings, store, contract=contract)
        cdrs.examine(work)
        work.findings.append(checks.verified(store.read(RECEIPTS, day)))
        work.findings.append(_fresh(store, settings, day))
        for finding in work.findings:
            context.log_event(evaluation(finding, f"{day}"))
        _tell_stale(context, store, contract)


def _tell_stale(context: dg.AssetExecutionContext, store: Store, contract: Contract) -> None:
    """Make the check `made_under_contract` name the stale days, if there are any. The run's own
    days are not stale, and its evaluation would hide the sensor's.
    """
    stale = []
    with suppress(OSError):  # the file of an old day may not be readable
        stale = stale_days(store, contract.mark)
    if stale:
        _tell_last(context, Finding(MADE_UNDER, False, stale_in_words(stale)))


def _fresh(store: Store, settings: Settings, day: date) -> Finding:
    """The finding of the check `fresh`. Every run evaluates it: otherwise the run would hide the
    sensor's finding.

    Looks at the newest day that is due. If this day is stored, and `day`, the newest of the run, is
    newer, looks at `day`. If no day is due, looks at `day`.
    """
    due = newest_due(store, datetime.now(UTC), settings)
    if due:
        day = max(day, due) if store.holds(CDRS, due) else due
    return checks.fresh(day, store)


def _load_day(context: dg.AssetExecutionContext, begun: Begun) -> Exception | None:
    """Make one day and record each partition as it is written; return the error, if one came."""
    work = begun.work
    key = f"{work.day}"
    try:
        for made in begun.layers():
            _record(context, work.day, made)
        context.log.info(f"{key}: complete")
        return None
    except ANY_ERROR as error:
        log_error(context.log, work.day, error)
        return error
    finally:
        begun.close()
        for finding in work.findings if len(context.partition_keys) > 1 else ():
            if finding.check is VERIFIED or not finding.passed:
                context.log_event(evaluation(finding, key))


def _load_together(
    context: dg.AssetExecutionContext, store: Store, days: list[date], wanted: set[str]
) -> dict[date, Exception]:
    """Make the datasets that need several days; return the days that failed, with their errors."""
    failed: dict[str, Exception] = {}
    for name in aggregates.that_look_back(wanted):
        try:
            for day, made in aggregates.of_days_together(store, days, name):
                _record(context, day, made)
        except ANY_ERROR as error:
            log_error(context.log, name, error)
            failed[name] = error
    return dict.fromkeys(days, not_together(failed)) if failed else {}


def _record(context: dg.AssetExecutionContext, day: date, made: Made) -> None:
    key, metadata = f"{day}", dict(made.metadata)
    if key != context.partition_key_range.end:
        metadata.pop("dagster/column_lineage", None)
    context.log_event(dg.AssetMaterialization(made.dataset.name, partition=key, metadata=metadata))


def lister_for(stack: ExitStack, settings: Settings, store: Store) -> Lister:
    """A lister that asks the vendor of `settings` until `stack` is closed. Raises SettingsError."""
    client = stack.enter_context(Client.from_settings(settings))
    lister = Lister(
        client,
        page_size=settings.page_size,
        concurrency=settings.concurrency,
        honest=honest_total(store, client.host),
    )
    return stack.enter_context(lister)
