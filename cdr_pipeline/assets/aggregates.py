"""The aggregates, made from `cdrs` alone: of one day by itself, or of a day and the days before."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo

import dagster as dg
import polars as pl

from cdr_pipeline.assets.layer import Made, Work, made, spec
from cdr_pipeline.errors import SAFE, CdrError
from cdr_pipeline.settings import Settings
from cdr_pipeline.tables.aggregates import attempts, concurrency, daily
from cdr_pipeline.tables.datasets import (
    CAMPAIGN_DAILY,
    CAMPAIGN_HOURLY,
    CDRS,
    DATASETS,
    DATE,
    LEAD_ATTEMPTS,
    Dataset,
)
from cdr_pipeline.tables.footer import MadeBy
from cdr_pipeline.tables.lineage import columns_asked_for
from cdr_pipeline.tables.provenance import (
    WAY_OUT,
    about_calls,
    about_source,
    is_readable,
    made_by,
    outdated_days,
)
from cdr_pipeline.tables.store import Store

#: Dataset -> the function that makes, from the changed days, the partitions to be written.
_LOOKING_BACK: Final[dict[str, Callable[..., Iterator[tuple[date, pl.DataFrame]]]]] = {
    CAMPAIGN_HOURLY.name: concurrency.remade,
    LEAD_ATTEMPTS.name: attempts.remade,
}


def _of_one_day(settings: Settings) -> dict[str, Callable[[daily.Day], pl.LazyFrame]]:
    """Dataset -> the function that makes it from its own day alone."""
    return daily.measures(
        daily.CallingRules(settings.allowed_from, settings.allowed_until, settings.calls_per_number)
    )


@cache
def _lineage(name: str) -> dg.TableColumnLineage:
    """The column lineage of a dataset, found once per process: no day and no setting changes it."""
    day, zone = date(2000, 1, 1), ZoneInfo("UTC")

    def measure(cdrs: pl.LazyFrame) -> pl.LazyFrame:
        dated = cdrs.with_columns(pl.lit(day).alias(DATE))
        if name == CAMPAIGN_HOURLY.name:
            return concurrency.campaign_hourly(concurrency.Hours.of(dated, day, zone))
        if name == LEAD_ATTEMPTS.name:
            counts = attempts.counted(attempts.calls_to_leads(dated), day)
            return attempts.lead_attempts(counts).drop(DATE)
        return _of_one_day(Settings.model_construct())[name](daily.Day.of(cdrs))

    deps = columns_asked_for(measure, CDRS.schema(zone))
    cdrs = dg.AssetKey(CDRS.name)
    return dg.TableColumnLineage(
        {name: [dg.TableColumnDep(cdrs, column) for column in deps[name]] for name in deps}
    )


#: More days than anybody stores: `lead_attempts` looks back to the first stored day.
_CENTURY: Final = 36_525

#: The earlier days of `cdrs` that a dataset needs, as separate assets: name -> how many days before
#: the dataset's own day they begin, and a description.
#:
#: Nothing makes these assets. If a dataset depended on earlier days of `cdrs` itself, Dagster would
#: add all later days to the days asked for: a backfill of a week would go on to today. Dagster does
#: not look beyond an asset that it cannot make.
_BEFORE: Final = {
    "cdrs_day_before": (
        1,
        "The day before, whose calls over midnight `campaign_hourly` counts",
    ),
    "cdrs_all_before": (
        _CENTURY,
        "All days before, over which `lead_attempts` numbers attempts",
    ),
}
_DEPS: Final[dict[str, list[Dataset | dg.AssetDep]]] = {
    CAMPAIGN_HOURLY.name: [CDRS, dg.AssetDep("cdrs_day_before")],
    LEAD_ATTEMPTS.name: [CDRS, CAMPAIGN_DAILY, dg.AssetDep("cdrs_all_before")],
}


def looked_back_to(days: dg.PartitionsDefinition, group: str) -> list[dg.AssetsDefinition]:
    """The assets that stand for the earlier days which datasets need; they are never made."""
    return [
        dg.AssetsDefinition(
            specs=[
                dg.AssetSpec(
                    name,
                    deps=[dg.AssetDep(CDRS.name, partition_mapping=_days_before(count))],
                    partitions_def=days,
                    group_name=group,
                    description=(
                        f"{told}, as far as they are stored in `cdrs`. There is nothing to"
                        " materialize here."
                    ),
                )
            ]
        )
        for name, (count, told) in _BEFORE.items()
    ]


def _days_before(count: int) -> dg.TimeWindowPartitionMapping:
    with warnings.catch_warnings():
        # The first day has no day before it. The only parameter that allows this is in beta.
        warnings.filterwarnings("ignore", category=dg.BetaWarning)
        return dg.TimeWindowPartitionMapping(
            start_offset=-count, end_offset=-1, allow_nonexistent_upstream_partitions=True
        )


SPECS = [
    spec(DATASETS[name], deps=_DEPS.get(name, [CDRS]), kinds=["polars"], lineage=_lineage(name))
    for name in (*_of_one_day(Settings.model_construct()), *_LOOKING_BACK)
]


def of_the_day(work: Work) -> list[Made]:
    """Make the wanted datasets that need no other day. Raises NotThere if any aggregate is wanted
    and `cdrs` of the day are missing, CdrError if they are in another zone.
    """
    measures = {
        name: measure for name, measure in _of_one_day(work.settings).items() if name in work.wanted
    }
    asked = {*measures, *that_look_back(work.wanted)}
    if asked:
        work.require(CDRS)
    if not measures:
        return []
    zone = made_by(work.store, work.day).zone
    if zone != work.store.zone.key:
        raise CdrError(
            f"{CDRS.name} of {work.day} are in {zone}, and CDR_TIMEZONE is {work.store.zone.key}."
            f" {SAFE} {WAY_OUT}."
        )
    calls = daily.Day.read(work.store.lazy(CDRS, work.day))
    about = about_source(work.store, CDRS, work.day)
    return [
        _written(work.store, work.day, name, measure(calls).collect(engine="in-memory"), about)
        for name, measure in measures.items()
    ]


def that_look_back(wanted: Iterable[str]) -> list[str]:
    """The names of `wanted` whose datasets need earlier days."""
    return [name for name in _LOOKING_BACK if name in wanted]


def of_days_together(store: Store, days: Iterable[date], name: str) -> Iterator[tuple[date, Made]]:
    """Write a dataset that needs earlier days, after `cdrs` of some `days` changed.

    Partitions of later days are written as well if their values change, or if a killed run left
    them outdated. So the stored data does not depend on the order in which days were loaded. One
    run at a time does this: otherwise values from older `cdrs` could overwrite newer ones.

    `about` is read before `cdrs`: another run may replace `cdrs` in between, and be killed before
    it comes to this step. The figures are counted in the store's zone and by our rules, whatever
    zone and rules the calls were made by.
    """
    with store.locked("days-together"):
        changed = {*days, *outdated_days(store, DATASETS[name])}
        about = {
            day: about_source(store, CDRS, day)
            | about_calls(MadeBy(made_by(store, day).contract, store.zone.key))
            for day in store.days(CDRS, first=min(changed, default=date.max))
            if is_readable(store, CDRS, day)
        }
        for day, frame in _LOOKING_BACK[name](store, changed):
            yield day, _written(store, day, name, frame, about.get(day))


def _written(
    store: Store, day: date, name: str, frame: pl.DataFrame, about: Mapping[str, str] | None
) -> Made:
    dataset = DATASETS[name]
    store.write(dataset, day, frame, about=about)
    figures = daily.of_all_campaigns(frame) if dataset is CAMPAIGN_DAILY else {}
    calls = int(frame["calls"].sum())
    return made(store, day, dataset, _lineage(name), frame, calls=calls, **figures)
