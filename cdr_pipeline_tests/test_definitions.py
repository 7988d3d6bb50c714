"""The definitions that Dagster loads: without warnings and settings, described by the datasets."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from cdr_pipeline.assets.daily import daily_calls
from cdr_pipeline.assets.partitions import partitions
from cdr_pipeline.settings import Settings
from cdr_pipeline.tables.datasets import DATASETS

#: Assets that stand for earlier days of `cdrs`, to which two datasets look back.
EARLIER = {"cdrs_day_before", "cdrs_all_before"}

BARE = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}


def load(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    code = "from cdr_pipeline.definitions import defs; print(len(defs.resolve_all_asset_specs()))"
    return subprocess.run(
        [sys.executable, "-W", "default", "-c", code],
        cwd=tmp_path,
        env=BARE | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("environment", [{}, {"CDR_PAGE_SIZE": "many", "CDR_TIMEZONE": "Mars"}])
def test_definitions_load_without_settings_and_without_a_warning(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    loaded = load(tmp_path, **environment)
    assert loaded.stdout == f"{len(DATASETS) + len(EARLIER) + len(['catalog', 'report'])}\n"
    assert "Warning" not in loaded.stderr


@pytest.mark.parametrize("missing", ["duckdb", "vl_convert", "altair"])
def test_without_an_extra_only_its_asset_is_missing(tmp_path: Path, missing: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules['{missing}'] = None\n")
    loaded = load(tmp_path, PYTHONPATH=str(tmp_path))
    assert loaded.stdout == f"{len(DATASETS) + len(EARLIER) + 1}\n"


def test_every_dataset_is_an_asset_with_its_description_and_columns() -> None:
    from cdr_pipeline.definitions import defs

    specs = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
    assert specs.keys() == DATASETS.keys() | EARLIER | {"catalog", "report"}
    for name, dataset in DATASETS.items():
        spec = specs[name]
        assert spec.description is not None
        assert dataset.description in spec.description
        assert spec.group_name == "calls"
        assert "parquet" in spec.kinds
        schema = spec.metadata["dagster/column_schema"]
        assert isinstance(schema, dg.TableSchema)
        assert [column.name for column in schema.columns] == [c.name for c in dataset.columns]
        assert all(column.description for column in schema.columns)


def test_a_partition_is_a_local_day_and_the_newest_is_the_last_complete_one() -> None:
    days = partitions(Settings(timezone="Asia/Ho_Chi_Minh"))
    before_midnight = datetime(2023, 3, 7, 16, 59, tzinfo=UTC)
    after_midnight = datetime(2023, 3, 7, 17, 1, tzinfo=UTC)
    assert days.get_partition_keys(before_midnight)[-1] == "2023-03-06"
    assert days.get_partition_keys(after_midnight)[-1] == "2023-03-07"
    assert days.get_partition_keys(after_midnight)[0] == "2023-01-01"


@pytest.mark.parametrize(("days", "most"), [(31, 31), (0, None)])
def test_a_backfill_takes_many_days_in_one_run(days: int, most: int | None) -> None:
    policy = daily_calls(Settings(days_per_run=days)).backfill_policy
    assert policy is not None
    assert policy.max_partitions_per_run == most
