"""A data folder with days of calls and their aggregates, made without Dagster or a vendor."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta

import polars as pl
import pytest

from cdr_pipeline.simulator import Tenant
from cdr_pipeline.simulator.source import render
from cdr_pipeline.tables.aggregates import attempts, concurrency, daily
from cdr_pipeline.tables.datasets import (
    CAMPAIGN_HOURLY,
    CDRS,
    DATASETS,
    LEAD_ATTEMPTS,
    RECEIPTS,
    REJECTS,
)
from cdr_pipeline.tables.store import Store
from cdr_pipeline.window import Window
from cdr_pipeline_tests.records import SAIGON, Sent, flat

RULES = daily.CallingRules(time(8), time(17), 1)
LoadDay = Callable[[date, Sequence[Sent]], None]
WEEK = timedelta(weeks=1)


def simulated(day: date, calls: int = 300) -> Sequence[Sent]:
    return list(map(render, Tenant(calls_per_day=calls).day(day)))


def _receipt(day: date, calls: int) -> pl.DataFrame:
    window = Window.of(day)
    row = {
        **dict.fromkeys(("reported_total", "received", "unique_records"), calls),
        **dict.fromkeys(("duplicates", "outside_window", "retries"), 0),
        **dict.fromkeys(("pages", "requests", "passes"), 1),
        "verified": True,
        "window_start": window.start,
        "window_end": window.end,
        "started_at": datetime(2023, 3, 20, tzinfo=UTC),
        "finished_at": datetime(2023, 3, 20, 1, tzinfo=UTC),
        "api_host": "api.example.vn",
    }
    schema = RECEIPTS.schema(SAIGON)
    return pl.DataFrame([pl.Series(name, [row.get(name)], type_) for name, type_ in schema.items()])


@pytest.fixture
def load(store: Store) -> LoadDay:
    """`load(day, records)`: store the day's datasets that a report reads, as a run would."""

    def loaded(day: date, records: Sequence[Sent]) -> None:
        made = flat(*records, day=day)
        store.write(RECEIPTS, day, _receipt(day, len(records)))
        store.write(CDRS, day, made.cdrs, made.keys)
        store.write(REJECTS, day, made.rejects)
        calls = daily.Day.read(store.lazy(CDRS, day))
        for name, measure in daily.measures(RULES).items():
            store.write(DATASETS[name], day, measure(calls).collect())
        for dataset, remade in (
            (CAMPAIGN_HOURLY, concurrency.remade),
            (LEAD_ATTEMPTS, attempts.remade),
        ):
            for changed, frame in remade(store, [day]):
                store.write(dataset, changed, frame)

    return loaded
