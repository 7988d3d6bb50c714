"""Metadata of aggregates; aggregates over several days, loaded in any order."""

import time
from collections.abc import Iterator
from datetime import date
from zoneinfo import ZoneInfo

import dagster as dg
import polars as pl
import pytest
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.execution.asset_backfill import AssetBackfillData

from cdr_pipeline.assets import aggregates
from cdr_pipeline.assets.daily import daily_calls
from cdr_pipeline.assets.layer import Loading
from cdr_pipeline.assets.partitions import partitions
from cdr_pipeline.settings import Settings
from cdr_pipeline.simulator import Vendor
from cdr_pipeline.tables.datasets import (
    CAMPAIGN_DAILY,
    CAMPAIGN_HOURLY,
    CDRS,
    DATASETS,
    LEAD_ATTEMPTS,
    RAW_PAGES,
    REJECTS,
)
from cdr_pipeline.tables.provenance import is_unmade, of_the_fetch
from cdr_pipeline.tables.store import Store
from cdr_pipeline_tests.damage import full
from cdr_pipeline_tests.desk import TOKEN, Desk, NewDesk, call
from cdr_pipeline_tests.runs import failure_message

DAY = date(2023, 3, 7)


def test_metadata_of_aggregates_hold_figures_and_the_source_of_each_column(desk: NewDesk) -> None:
    at = desk()
    at.run("2023-03-07")
    metadata = at.metadata(CAMPAIGN_DAILY, DAY)
    sums = at.store.read(CAMPAIGN_DAILY, DAY).drop("campaign_uuid").sum().row(0, named=True)
    assert metadata["asr"].value == sums["answered"] / sums["seizures"]
    assert metadata["ner"].value == sums["effective"] / sums["seizures"]
    assert metadata["acd_seconds"].value == sums["billsec"] / sums["answered"]
    lineage = metadata["dagster/column_lineage"].value
    (spec,) = [one for one in aggregates.SPECS if one.key == dg.AssetKey(CAMPAIGN_DAILY.name)]
    schema = spec.metadata["dagster/column_schema"]
    assert isinstance(lineage, dg.TableColumnLineage)
    assert isinstance(schema, dg.TableSchema)
    assert lineage.deps_by_column["billsec"] == [dg.TableColumnDep(dg.AssetKey("cdrs"), "billsec")]
    (asr,) = [column for column in schema.columns if column.name == "asr"]
    assert asr.description
    assert asr.description.endswith(" From cdrs.disposition.")


def test_a_failed_dataset_over_several_days_fails_no_other_dataset(
    desk: NewDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(aggregates._LOOKING_BACK, CAMPAIGN_HOURLY.name, full)
    at = desk()
    assert not at.run("2023-03-07").success
    assert at.materialized(LEAD_ATTEMPTS.name) == {"2023-03-07"}
    assert not at.store.holds(CAMPAIGN_HOURLY, DAY)


# ---- days loaded in any order


def over_days() -> Vendor:
    """Three days of calls to one lead; the first call lasts over midnight."""
    days = ("2023-03-06 23:59:50", "2023-03-07 00:00:00", "2023-03-08 09:00:00")
    ends = ("2023-03-07 00:00:10", "2023-03-07 00:00:20", "2023-03-08 09:00:10")
    fields = {"campaign_uuid": "c1", "lead_uuid": "l1"}
    records = [
        call(number, at, time_ended=end, **fields)
        for number, (at, end) in enumerate(zip(days, ends, strict=True))
    ]
    return Vendor(records=records, token=TOKEN)


def stored(at: Desk) -> dict[str, pl.DataFrame]:
    """Every partition of every aggregate that needs several days."""
    return {
        f"{dataset.name} {day}": at.store.read(dataset, day)
        for dataset in (CAMPAIGN_HOURLY, LEAD_ATTEMPTS)
        for day in at.store.days(dataset)
    }


@pytest.mark.parametrize(
    "runs",
    [
        [("2023-03-06", "2023-03-08")],
        [("2023-03-07", "2023-03-08"), ("2023-03-06", None), ("2023-03-07", None)],
    ],
)
def test_figures_do_not_depend_on_the_order_in_which_days_were_loaded(
    desk: NewDesk, runs: list[tuple[str, str | None]]
) -> None:
    at = desk(over_days())
    for first, last in runs:
        assert at.run(first, last).success
    frames = stored(at)
    numbers = [frames[f"lead_attempts 2023-03-0{day}"]["attempt"].to_list() for day in (6, 7, 8)]
    assert numbers == [[1], [2], [3]]
    peaks = [frames[f"campaign_hourly 2023-03-0{day}"]["peak_calls"].to_list() for day in (6, 7, 8)]
    assert peaks == [[1], [2], [1]]


def test_a_later_day_that_changes_is_recorded_under_its_own_day(desk: NewDesk) -> None:
    at = desk(over_days())
    at.run("2023-03-07")
    result = at.run("2023-03-06")
    written = [
        (event.asset_key.to_user_string(), event.partition)
        for event in result.get_asset_materialization_events()
        if event.asset_key and event.asset_key.to_user_string() in stored_names()
    ]
    assert sorted(written) == [
        (name, day) for name in stored_names() for day in ("2023-03-06", "2023-03-07")
    ]


def stored_names() -> list[str]:
    return [CAMPAIGN_HOURLY.name, LEAD_ATTEMPTS.name]


def test_the_next_run_makes_what_a_killed_run_did_not(desk: NewDesk) -> None:
    at = desk(over_days())
    assert at.run("2023-03-07", "2023-03-08").success
    upstream = [name for name in DATASETS if name not in stored_names()]
    assert at.run("2023-03-06", assets=upstream).success
    due = stored(at)
    assert at.run("2023-03-07", assets=upstream).success  # as a run that is killed after this
    assert at.run("2023-03-08").success
    assert stored(at)["lead_attempts 2023-03-07"]["attempt"].to_list() == [2]
    assert stored(at).keys() == due.keys()


# ---- the days that are needed


@pytest.mark.parametrize("name", stored_names())
def test_figures_counted_before_a_newer_fetch_are_not_taken_for_its_own(
    desk: NewDesk, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    at = desk(over_days())
    assert at.run("2023-03-06", "2023-03-08").success
    upstream = [one for one in DATASETS if one not in stored_names()]
    remade = aggregates._LOOKING_BACK[name]

    def overtaken(store: Store, days: set[date]) -> Iterator[tuple[date, pl.DataFrame]]:
        counted = list(remade(store, days))
        assert at.run("2023-03-07", assets=upstream).success  # as if killed before it counts
        yield from counted

    with monkeypatch.context() as patch:
        patch.setitem(aggregates._LOOKING_BACK, name, overtaken)
        list(aggregates.of_days_together(at.store, [DAY], name))
    assert not of_the_fetch(at.store, DAY, [DATASETS[name]])
    assert at.run("2023-03-07").success
    assert of_the_fetch(at.store, DAY, [DATASETS[name]])


def test_hours_in_another_zone_than_the_calls_make_the_day_unmade(desk: NewDesk) -> None:
    at = desk(over_days())
    assert at.run("2023-03-06", "2023-03-07").success
    assert not is_unmade(at.store, DAY)
    elsewhere = Store(at.store.root, ZoneInfo("UTC"))
    list(aggregates.of_days_together(elsewhere, [DAY], CAMPAIGN_HOURLY.name))
    assert is_unmade(at.store, DAY)


@pytest.fixture(scope="module")
def graph() -> AssetGraph:
    """The daily assets and the earlier days that they look back to, from 2023-01-01 on."""
    settings = Settings(start_date=date(2023, 1, 1))
    earlier = aggregates.looked_back_to(partitions(settings), "calls")
    return dg.Definitions(
        assets=[daily_calls(settings), *earlier], resources={"loading": Loading()}
    ).resolve_asset_graph()


def needed(graph: AssetGraph, asset: str, day: str) -> set[str]:
    """The days of `cdrs` that a partition is made from, over all of Dagster's dependencies."""
    if asset == "cdrs":
        return {day}
    found = set()
    for upstream in graph.get(dg.AssetKey(asset)).parent_keys:
        if graph.get_ancestor_asset_keys(upstream) | {upstream} >= {dg.AssetKey("cdrs")}:
            days = graph.get(upstream).partitions_def
            assert days
            mapping = graph.get_partition_mapping(dg.AssetKey(asset), upstream)
            mapped = mapping.get_upstream_mapped_partitions_result_for_partitions(
                days.subset_with_partition_keys([day]), days, days
            )
            for one in mapped.partitions_subset.get_partition_keys():
                found |= needed(graph, upstream.to_user_string(), one)
    return found


def test_the_needed_days_are_declared_to_dagster(graph: AssetGraph) -> None:
    assert needed(graph, "campaign_daily", "2023-01-04") == {"2023-01-04"}
    assert needed(graph, "campaign_hourly", "2023-01-04") == {"2023-01-03", "2023-01-04"}
    assert needed(graph, "campaign_hourly", "2023-01-01") == {"2023-01-01"}
    first_four = {f"2023-01-0{number}" for number in range(1, 5)}
    assert needed(graph, "lead_attempts", "2023-01-04") == first_four


def test_a_backfill_of_some_days_takes_only_these_days(graph: AssetGraph) -> None:
    chosen = ["2023-02-03", "2023-02-04"]
    with dg.DagsterInstance.ephemeral() as instance:
        backfill = AssetBackfillData.from_asset_partitions(
            graph, chosen, list(graph.materializable_asset_keys), instance, time.time(), False
        )
    subsets = backfill.target_subset.partitions_subsets_by_asset_key
    assert {key.to_user_string() for key in subsets} == set(DATASETS)
    for subset in subsets.values():
        assert sorted(subset.get_partition_keys()) == chosen


def test_an_aggregate_of_calls_in_another_zone_says_so(desk: NewDesk) -> None:
    at = desk(over_days())
    assert at.run("2023-03-07").success
    at.settings = at.settings.model_copy(update={"timezone": "UTC"})
    message = failure_message(at.run("2023-03-07", assets=[RAW_PAGES.name, CAMPAIGN_DAILY.name]))
    assert "cdrs of 2023-03-07 are in Asia/Ho_Chi_Minh, and CDR_TIMEZONE is UTC." in message
    assert "unchanged" not in message, "its raw_pages were fetched anew"
    assert at.run("2023-03-07", assets=[CDRS.name, REJECTS.name, CAMPAIGN_DAILY.name]).success


def test_an_aggregate_asked_for_alone_needs_its_calls(desk: NewDesk) -> None:
    at = desk()
    assert not at.run("2023-03-07", assets=[LEAD_ATTEMPTS.name]).success
    assert "cdrs of 2023-03-07 is not there" in str(at.ended[0][1])
    at.run("2023-03-07")
    assert at.run("2023-03-07", assets=[LEAD_ATTEMPTS.name]).success
