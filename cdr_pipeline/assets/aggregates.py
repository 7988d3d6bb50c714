"""`campaign_daily` and `disposition_daily`: the day's measures, from `cdrs` alone."""

from collections.abc import Callable
from functools import cache

import dagster as dg
import polars as pl

from cdr_pipeline.assets.layer import Made, Work, column_lineage, made, spec
from cdr_pipeline.tables import kpi
from cdr_pipeline.tables.contract import CAMPAIGN_DAILY, CDRS, DISPOSITION_DAILY, Dataset


@cache
def _lineage(measure: Callable[[pl.LazyFrame], pl.LazyFrame]) -> dg.TableColumnLineage:
    """Found out once a process, since it is the same every day."""
    return column_lineage(measure, CDRS)


SPECS = [
    spec(dataset, deps=[CDRS], kinds=["polars"], lineage=_lineage(measure))
    for dataset, measure in (
        (CAMPAIGN_DAILY, kpi.campaign_daily),
        (DISPOSITION_DAILY, kpi.disposition_daily),
    )
]


def campaign_daily(work: Work) -> list[Made]:
    """Measures of each campaign."""
    return _aggregate(work, CAMPAIGN_DAILY, kpi.campaign_daily, kpi.of_all_campaigns)


def disposition_daily(work: Work) -> list[Made]:
    """How each campaign's calls ended."""
    return _aggregate(work, DISPOSITION_DAILY, kpi.disposition_daily)


def _aggregate(
    work: Work,
    dataset: Dataset,
    measure: Callable[[pl.LazyFrame], pl.LazyFrame],
    figures: Callable[[pl.DataFrame], dict[str, float]] = lambda _: {},
) -> list[Made]:
    work.require(CDRS)
    frame = measure(work.store.lazy(CDRS, work.day)).collect()
    work.store.write(dataset, work.day, frame)
    calls = int(frame["calls"].sum())
    return [made(work, dataset, _lineage(measure), calls=calls, **figures(frame))]
