"""The catalog as an asset: described, rebuilt after its datasets, with or without settings."""

import dagster as dg
import duckdb

from cdr_pipeline.assets.catalog import catalog
from cdr_pipeline.assets.daily import daily_calls
from cdr_pipeline.assets.layer import Loading, SettingsFor
from cdr_pipeline.automation.jobs import QUIET
from cdr_pipeline.errors import SettingsError
from cdr_pipeline.settings import Settings
from cdr_pipeline.tables.datasets import CDRS, DATASETS
from cdr_pipeline_tests.assets.watched import Watched
from cdr_pipeline_tests.desk import NewDesk
from cdr_pipeline_tests.runs import failure_message, run


def build(settings: SettingsFor, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return run([catalog], instance, Loading(settings=settings))


def test_the_catalog_depends_on_all_datasets_that_it_shows() -> None:
    (spec,) = catalog.specs
    deps = {dep.asset_key.to_user_string() for dep in spec.deps}
    assert deps == {"cdrs", *list(DATASETS)[list(DATASETS).index("campaign_daily") :]}
    assert (spec.group_name, spec.kinds) == ("calls", {"duckdb"})
    assert spec.description is not None
    assert "cdrs.duckdb" in spec.description


def test_its_metadata_name_the_file_and_count_its_views_and_columns(desk: NewDesk) -> None:
    it = desk()
    it.run("2023-03-06", "2023-03-07")
    result = build(lambda **_: it.settings, it.instance)
    (event,) = result.get_asset_materialization_events()
    metadata = event.materialization.metadata
    path = it.settings.data_dir / "cdrs.duckdb"
    assert metadata["path"].value == str(path.resolve())
    assert metadata["views"].value == len(DATASETS)
    assert metadata["bytes"].value == path.stat().st_size
    with duckdb.connect(path, read_only=True) as connection:
        calls = connection.sql("SELECT date, count(*) FROM cdrs GROUP BY date ORDER BY date")
        assert [(str(day), count > 0) for day, count in calls.fetchall()] == [
            ("2023-03-06", True),
            ("2023-03-07", True),
        ]
        columns = connection.sql("SELECT count(*) FROM duckdb_columns() WHERE NOT internal")
        assert columns.fetchall() == [(metadata["columns"].value,)]


def test_wrong_settings_are_one_clear_failure(desk: NewDesk) -> None:
    def wrong(*, vendor: bool) -> Settings:
        raise SettingsError("CDR_TIMEZONE: must be an IANA zone")

    result = build(wrong, desk().instance)
    assert not result.success
    assert "CDR_TIMEZONE" in failure_message(result)


def test_the_catalog_is_rebuilt_after_its_datasets_were_loaded(desk: NewDesk) -> None:
    it = desk()
    daemon = Watched(it, catalog)
    assert not daemon.requested()
    it.run("2023-03-06")
    assert daemon.requested()
    build(lambda **_: it.settings, it.instance)
    assert not daemon.requested()
    it.run("2023-03-06", "2023-03-07")
    assert daemon.requested()


def test_in_one_run_with_days_the_catalog_is_made_after_them(desk: NewDesk) -> None:
    it = desk()
    daemon = Watched(it, catalog)
    assert not daemon.requested()
    result = dg.materialize(
        [daily_calls(it.settings), catalog],
        partition_key="2023-03-06",
        instance=it.instance,
        resources={"loading": Loading(settings=lambda **_: it.settings)},
        run_config=QUIET,
    )
    assert result.success
    assert it.store.days(CDRS)
    assert (it.settings.data_dir / "cdrs.duckdb").exists()
    assert not daemon.requested()
