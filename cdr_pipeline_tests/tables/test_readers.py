"""`scan`: one schema over any mix of files, every value exact, no needless file opened."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.dataset as pds
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cdr_pipeline
from cdr_pipeline.errors import CdrError
from cdr_pipeline.tables.datasets import CDRS, DATASETS, Dataset
from cdr_pipeline.tables.readers import AnotherContract, united
from cdr_pipeline.tables.store import Store
from cdr_pipeline_tests.records import DAY, NEW_YORK, SAIGON, call, flat
from cdr_pipeline_tests.tables.days import DAYS, X, write_day, write_days

Scan = Callable[..., pl.LazyFrame]


@pytest.fixture
def scan(store: Store, monkeypatch: pytest.MonkeyPatch) -> Scan:
    """`cdr_pipeline.scan`, with CDR_DATA_DIR set to the store."""
    monkeypatch.setenv("CDR_DATA_DIR", str(store.root))
    return cdr_pipeline.scan


def cells(frame: pl.LazyFrame, column: str) -> dict[str, Any]:
    """id -> the column's value."""
    return dict(frame.select("id", column).collect().rows())


# ---- one schema


def test_a_key_has_one_column_whatever_its_values_were(store: Store, scan: Scan) -> None:
    write_days(store)
    calls = scan("cdrs")
    assert calls.collect_schema().names() == [
        *(column.name for column in CDRS.columns),
        "date",
        *("additional_b", "additional_n", "additional_only", "additional_so", "additional_x"),
    ]
    assert calls.collect_schema()["additional_b"] == pl.Boolean()
    assert cells(calls, "additional_x") == X
    assert cells(calls, "additional_only")["zeros"] == "0981218709"


@pytest.mark.parametrize(
    ("days", "dtype"),
    [
        ((0, 0), pl.Int64()),
        ((1, 1), pl.Float64()),
        ((0, 1), pl.Float64()),
        ((2, 2), pl.String()),
        ((1, 2), pl.String()),
    ],
)
def test_a_column_has_the_narrowest_type_for_the_days_asked_for(
    store: Store, scan: Scan, days: tuple[int, int], dtype: pl.DataType
) -> None:
    write_days(store)
    first, last = days
    assert scan("cdrs", DAYS[first], DAYS[last]).collect_schema()["additional_x"] == dtype


def test_integers_and_decimals_are_decimals(store: Store, scan: Scan) -> None:
    write_days(store)
    shown = cells(scan("cdrs", DAYS[0], DAYS[1]), "additional_x")
    assert (shown["int"], shown["float"], shown["huge"]) == (7.0, 2.5, 1e20)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.floats(-1e-3, 1e-3))
def test_a_decimal_as_text_is_the_shortest_that_reads_back(number: float) -> None:
    frame = pl.DataFrame(
        {"additional_x": [None], "additional_x__float": [number]},
        schema={"additional_x": pl.String, "additional_x__float": pl.Float64},
    )
    assert frame.select(united(frame.columns)).item() == repr(number)


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS)
def test_every_dataset_is_read_with_its_contracts_types(
    store: Store, scan: Scan, dataset: Dataset
) -> None:
    store.write(dataset, DAY, pl.DataFrame(schema=dataset.schema(SAIGON)))
    due = {**dataset.schema(SAIGON), "date": pl.Date()}
    assert scan(dataset.name).collect_schema() == due
    assert scan(dataset.name).collect().schema == due


def test_a_file_older_than_a_column_gives_nulls_there(store: Store, scan: Scan) -> None:
    write_days(store)
    path = store.path(CDRS, DAYS[0])
    pq.write_table(pq.read_table(path, partitioning=None).drop_columns(["note", "extra"]), path)
    assert cells(scan("cdrs"), "note")["int"] is None
    assert cells(scan("cdrs"), "additional_x") == X


def test_files_of_another_zone_hold_the_same_instants(store: Store, scan: Scan) -> None:
    flattened = flat(call("far", "2023-03-07 10:00:00"), zone=NEW_YORK)
    Store(store.root, NEW_YORK).write(CDRS, DAY, flattened.cdrs)
    write_day(store, DAY + timedelta(days=1), {"near": "{}"})
    with pytest.warns(AnotherContract, match="2023-03-07.*CDR_TIMEZONE"):
        began = cells(scan("cdrs"), "time_started")
    assert began["far"] == datetime(2023, 3, 7, 10, tzinfo=NEW_YORK)
    assert began["near"] == datetime(2023, 3, 8, 10, tzinfo=SAIGON)


def test_a_day_written_anew_is_seen_with_its_new_columns(store: Store, scan: Scan) -> None:
    write_day(store, DAY, {"a": '{"old": 1}'})
    assert "additional_old" in scan("cdrs").collect_schema()
    write_day(store, DAY, {"a": '{"newer": 1}'})
    assert "additional_old" not in scan("cdrs").collect_schema()
    assert cells(scan("cdrs"), "additional_newer") == {"a": 1}


# ---- the days


def test_days_are_dates_or_texts_both_included_or_open(store: Store, scan: Scan) -> None:
    write_days(store)

    def days(*asked: object) -> list[date]:
        return sorted(scan("cdrs", *asked).select("date").unique().collect()["date"].to_list())

    assert days() == DAYS
    assert days(DAYS[1]) == DAYS[1:]
    assert days(None, f"{DAYS[1]}") == DAYS[:2]
    assert days(f"{DAYS[1]}", DAYS[2]) == DAYS[1:3]
    assert days(datetime(2023, 3, 8, 13, 0), DAYS[1]) == [DAYS[1]]


def test_no_days_are_an_empty_frame_with_types(store: Store, scan: Scan) -> None:
    write_days(store)
    empty = scan("cdrs", "2020-01-01", "2020-12-31").collect()
    assert empty.is_empty()
    assert empty.schema == {**CDRS.schema(SAIGON), "date": pl.Date()}


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (("calls",), "'calls'; there are raw_pages, .*cdrs"),
        (("campaign_daily",), "no folder .*campaign_daily.*CDR_DATA_DIR"),
        (("cdrs", "7/3/2023"), "'7/3/2023' is no day"),
        (("cdrs", "2023-03-08", "2023-03-07"), "2023-03-08, is after the last, 2023-03-07"),
    ],
)
def test_an_error_says_what_cannot_be_read(
    store: Store, scan: Scan, asked: tuple[str, ...], says: str
) -> None:
    write_days(store)
    with pytest.raises(CdrError, match=says):
        scan(*asked)


def test_an_explicit_data_dir_is_read_whatever_the_settings_say(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_days(store)
    elsewhere = tmp_path / "an [odd] *name?"
    shutil.copytree(store.root, elsewhere)
    monkeypatch.setenv("CDR_DATA_DIR", str(tmp_path / "nowhere"))
    assert cells(cdr_pipeline.scan("cdrs", data_dir=elsewhere), "additional_x") == X


def test_a_folder_below_one_that_looks_like_a_partition_is_refused_in_words(
    store: Store, tmp_path: Path
) -> None:
    """A column of that name would hold the folder's value on every row."""
    write_days(store)
    elsewhere = tmp_path / "status=busy" / "data"
    shutil.copytree(store.root, elsewhere)
    with pytest.raises(CdrError, match="data stands below a folder with `=` in its name"):
        cdr_pipeline.scan("cdrs", data_dir=elsewhere)


# ---- no more than is needed


def test_a_query_opens_only_its_days_and_columns(store: Store, scan: Scan) -> None:
    write_days(store)
    query = scan("cdrs").filter(
        pl.col("date") == DAYS[2], pl.col("status") == "busy", pl.col("additional_only") == "0123"
    )
    plan = query.select("id").explain()
    assert f"date={DAYS[2]}" in plan
    assert not [day for day in DAYS if day != DAYS[2] and f"date={day}" in plan]
    assert "PROJECT 4/" in plan
    (selection,) = [line for line in plan.splitlines() if "SELECTION" in line]
    assert all(column in selection for column in ("date", "status", "additional_only"))
    assert "FILTER" not in plan


def test_importing_the_package_costs_no_library() -> None:
    code = "import sys, cdr_pipeline; print({'polars', 'dagster', 'duckdb'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_footer_is_read_once_while_the_file_is_unchanged(
    store: Store, scan: Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_days(store)
    paths = [store.path(CDRS, day) for day in DAYS]
    read, really = list[Path](), pl.read_parquet_metadata

    def noted(path: Path) -> dict[str, str]:
        read.append(path)
        return really(path)

    monkeypatch.setattr(pl, "read_parquet_metadata", noted)
    scan("cdrs")
    assert sorted(read) == paths
    scan("cdrs", DAYS[0])
    assert sorted(read) == paths
    os.utime(paths[0], ns=(1, 1))
    scan("cdrs")
    assert read[len(paths) :] == paths[:1]


# ---- other readers


def test_pyarrow_reads_the_same_as_scan(store: Store, scan: Scan) -> None:
    write_days(store)
    objects = cells(scan("cdrs"), "additional")
    shown = cells(scan("cdrs"), "additional_x")
    for day in DAYS:
        table = pds.dataset(store.path(CDRS, day)).to_table()
        variants = [n for n in table.column_names if n.partition("__")[0] == "additional_x"]
        for row in table.select(["id", "additional", *variants]).to_pylist():
            values = [row[name] for name in variants if row[name] is not None]
            assert row["additional"] == objects[row["id"]]
            text = shown[row["id"]]
            assert values == ([] if text is None else [pytest.approx(_read(text, values[0]))])


def _read(text: str, like: object) -> object:
    """The value that a text shows, in the type of `like`."""
    return text if isinstance(like, str) else json.loads(text)
