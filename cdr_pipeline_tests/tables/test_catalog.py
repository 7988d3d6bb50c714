"""The DuckDB catalog: shows in SQL what `scan` shows, from any folder, and blocks nobody."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from cdr_pipeline.errors import CdrError
from cdr_pipeline.tables import catalog, readers
from cdr_pipeline.tables.aggregates.daily import Day, campaign_daily
from cdr_pipeline.tables.contract import read
from cdr_pipeline.tables.datasets import CAMPAIGN_DAILY, CDRS, DATASETS, Dataset
from cdr_pipeline.tables.store import Store
from cdr_pipeline_tests.records import DAY, SAIGON, call, flat
from cdr_pipeline_tests.tables.days import DAYS, X, write_day, write_days


def ask(path: Path, *queries: str, folder: Path | None = None) -> Any:
    """The last query's rows, from another process in another working folder."""
    code = (
        "import duckdb, json, sys; path, *queries = sys.argv[1:];"
        "c = duckdb.connect(path, read_only=path != ':memory:');"
        "print(json.dumps([c.execute(query).fetchall() for query in queries][-1], default=str))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), *queries],
        cwd=folder or Path.home(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def opened(store: Store) -> Iterator[duckdb.DuckDBPyConnection]:
    """The opened catalog of days on which one key came in another type each day."""
    write_days(store)
    with duckdb.connect(catalog.build(store).path, read_only=True) as connection:
        yield connection


# ---- equal to `scan`


def test_the_views_show_the_same_as_scan(store: Store, opened: duckdb.DuckDBPyConnection) -> None:
    polars = readers.scan("cdrs", data_dir=store.root).sort("date", "id").collect()
    sql = opened.sql("SELECT * FROM cdrs ORDER BY date, id")
    assert sql.columns == polars.columns
    assert sql.fetchall() == polars.rows()
    assert dict(opened.sql("SELECT id, additional_x FROM cdrs").fetchall()) == X


def test_a_declared_column_may_have_the_name_of_anything_in_the_definitions(store: Store) -> None:
    names = ["day", "file", "files", "first_day", "last_day"]
    declared = [f'keys.{name} = {{type = "string", column = "{name}"}}' for name in names]
    contract = read("\n".join(declared), SAIGON)
    write_day(store, DAY, {"a": json.dumps({name: f"my {name}" for name in names})}, contract)
    path = catalog.build(store, contract).path
    for source in ("cdrs", f"cdrs('{DAY}', '{DAY}')"):
        found = ask(path, f"SELECT {', '.join(names)} FROM {source}")
        assert found == [[f"my {name}" for name in names]], source


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS)
@pytest.mark.parametrize("written", [True, False])
def test_every_dataset_is_a_view_and_a_macro_with_the_types_of_the_contract(
    store: Store, dataset: Dataset, written: bool
) -> None:
    if written:
        store.write(dataset, DAY, pl.DataFrame(schema=dataset.schema(SAIGON)))
    path = catalog.build(store).path
    with duckdb.connect(path, read_only=True) as connection:
        found = connection.sql(f"SELECT * FROM {dataset.name}").pl()
        of_the_day = connection.sql(f"FROM {dataset.name}('{DAY}', '{DAY}')").pl()
    assert found.is_empty()
    assert of_the_day.equals(found)
    assert of_the_day.schema == found.schema
    due = {**dataset.schema(SAIGON), "date": pl.Date()}
    # DuckDB shows instants in the zone of the session.
    assert {name: dtype.base_type() for name, dtype in found.schema.items()} == {
        name: dtype.base_type() for name, dtype in due.items()
    }


def test_a_query_opens_only_its_days(opened: duckdb.DuckDBPyConnection) -> None:
    ((_, plan),) = opened.execute(
        f"EXPLAIN ANALYZE SELECT id FROM cdrs WHERE date >= '{DAYS[2]}' AND status = 'busy'"
    ).fetchall()
    assert "Scanning Files: 2/4" in plan


def test_a_day_loaded_later_is_in_the_views_at_once(store: Store) -> None:
    write_days(store)
    path = catalog.build(store).path
    write_day(store, DAYS[-1] + timedelta(days=1), {"later": '{"x": 5}'})
    assert ask(path, "SELECT additional_x FROM cdrs WHERE id = 'later'") == [["5"]]


def test_values_of_a_new_type_show_in_the_next_catalog(store: Store) -> None:
    write_day(store, DAY, {"before": '{"x": 1}'})
    path = catalog.build(store).path
    write_day(store, DAYS[1], {"later": '{"x": 2.5}'})
    later = "SELECT additional_x, additional FROM cdrs WHERE id = 'later'"
    assert ask(path, later) == [[None, '{"x": 2.5}']]
    catalog.build(store)
    assert ask(path, later) == [[2.5, '{"x": 2.5}']]


# ---- some of the days


@pytest.mark.parametrize(
    ("first", "last", "shown"),
    [
        (DAYS[0], DAYS[0], DAYS[:1]),
        (DAYS[1], DAYS[2], DAYS[1:2]),  # DAYS[2] is missing
        (DAYS[2], DAYS[2], []),
        (None, DAYS[1], DAYS[:2]),
        (DAYS[1], None, [DAYS[1], DAYS[3]]),
        ("0001-01-01", "9999-12-31", [*DAYS[:2], DAYS[3]]),
        (DAYS[3], DAYS[0], []),
    ],
)
def test_a_macro_of_the_views_name_takes_the_first_and_the_last_day(
    store: Store, first: object, last: object, shown: list[date]
) -> None:
    write_days(store)
    shutil.rmtree(store.path(CDRS, DAYS[2]).parent)
    with duckdb.connect(catalog.build(store).path, read_only=True) as connection:
        asked = connection.execute("FROM cdrs($1, $2) ORDER BY date, id", [first, last])
        names = [column[0] for column in asked.description or ()]
        rows = asked.fetchall()
        all_rows = connection.sql("FROM cdrs ORDER BY date, id")
        assert names == all_rows.columns
        at = names.index("date")
        assert rows == [row for row in all_rows.fetchall() if row[at] in shown]
    assert sorted({row[at] for row in rows}) == shown


def test_a_macro_opens_only_the_files_of_its_days(store: Store) -> None:
    write_days(store)
    path = catalog.build(store).path
    for day in DAYS[1:]:
        store.path(CDRS, day).write_bytes(b"torn")
    asked = f"SELECT id, additional_x FROM cdrs('{DAYS[0]}', '{DAYS[0]}') ORDER BY id"
    assert ask(path, asked) == [[id_, X[id_]] for id_ in ("int", "large", "zeros")]


def test_the_empty_files_behind_a_macro_are_kept_for_readers_of_an_old_catalog(
    store: Store,
) -> None:
    templates = store.root / ".catalog"
    asked = f"SELECT additional_old FROM cdrs('{DAY}', '{DAY}')"
    write_day(store, DAY, {"a": '{"old": 1}'})
    with duckdb.connect(catalog.build(store).path, read_only=True) as reader:
        (of_old,) = templates.glob("cdrs-*")
        write_day(store, DAY, {"a": '{"newer": 1}'})
        catalog.build(store)
        assert reader.sql(asked).fetchall() == [(None,)]
        of_newer = {*templates.glob("cdrs-*")} - {of_old}
        week = timedelta(days=8).total_seconds()
        os.utime(of_old, times=(time.time() - week, time.time() - week))
        catalog.build(store)
    assert {*templates.glob("cdrs-*")} == of_newer


def test_a_loss_of_power_leaves_no_half_written_catalog(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk, fsync = set(), os.fsync

    def recorded(descriptor: int) -> None:
        on_disk.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    path = catalog.build(store).path
    made = [path, *(store.root / ".catalog").rglob("*.parquet")]
    assert len(made) == len(DATASETS) + 1
    assert on_disk >= {one.stat().st_ino for one in made}


# ---- words


def test_views_columns_and_macros_explain_themselves(opened: duckdb.DuckDBPyConnection) -> None:
    views = dict(
        opened.execute(
            "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal"
        ).fetchall()
    )
    assert views.keys() == DATASETS.keys()
    for name, dataset in DATASETS.items():
        assert views[name] == f"{dataset.description} A row is {dataset.row}."
        columns = dict(
            opened.execute(
                "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = ?", [name]
            ).fetchall()
        )
        assert all(columns.values())
        for column in dataset.columns:
            assert columns[column.name] == column.description
    assert "So" not in columns
    about = "SELECT comment FROM duckdb_columns() WHERE column_name = 'additional_so'"
    assert opened.execute(about).fetchone() == ("From the lead list: Số. Values came as BIGINT.",)


def test_keys_of_any_content_are_safe(store: Store) -> None:
    keys = ["'; DROP VIEW cdrs; --", '"; x', "a\nb", "\0", "k" * 10_000, "😀.$1", "{}"]
    write_day(store, DAY, {"a": json.dumps({key: number for number, key in enumerate(keys)})})
    path = catalog.build(store).path
    with duckdb.connect(path, read_only=True) as connection:
        (row,) = connection.sql("SELECT * FROM cdrs").pl().select("^additional_.*$").rows()
        assert sorted(row) == list(range(len(keys)))
        comments = [
            text
            for (text,) in connection.sql(
                "SELECT comment FROM duckdb_columns() WHERE starts_with(column_name, 'additional_')"
            ).fetchall()
        ]
    for key in keys:
        assert any(key[:59].replace("\0", "\\0") in text for text in comments), key
    assert max(map(len, comments)) < 500


def test_macros_sum_before_they_divide(store: Store) -> None:
    for day, answered in ((DAY, 3), (DAY + timedelta(days=1), 1)):
        calls = [
            call(f"{n}", f"{day} 10:00:00", campaign_uuid="c1", billsec=8 if n < answered else 0,
                 cause="NORMAL_CLEARING" if n < answered else ("USER_BUSY", "GATEWAY_DOWN")[n % 2])
            for n in range(5)
        ]  # fmt: skip
        measured = campaign_daily(Day.of(flat(*calls, day=day).cdrs.lazy())).collect(
            engine="in-memory"
        )
        store.write(CAMPAIGN_DAILY, day, measured)
    path = catalog.build(store).path
    ratios = "asr(answered, seizures), ner(effective, seizures), acd(billsec, answered)"
    query = f"SELECT campaign_uuid, {ratios} FROM campaign_daily GROUP BY campaign_uuid"
    assert ask(path, query) == [["c1", 4 / 10, 7 / 10, 8.0]]
    assert ask(path, f"SELECT {ratios} FROM campaign_daily WHERE false") == [[None, None, None]]


# ---- the file


def test_the_data_folder_may_be_moved_and_asked_from_anywhere(store: Store, tmp_path: Path) -> None:
    write_days(store)
    path = catalog.build(store).path
    counts = "SELECT (SELECT count(*) FROM cdrs), (SELECT count(*) FROM cdrs(NULL, NULL))"
    assert ask(path, counts) == [[len(X), len(X)]]
    moved = tmp_path / "id=5 it's an [odd] *place*"
    store.root.rename(moved)
    assert ask(moved / path.name, counts) == [[len(X), len(X)]]
    assert ask(Path(path.name), counts, folder=moved) == [[len(X), len(X)]]


def test_a_catalog_attached_to_another_database_finds_the_data_by_a_variable(store: Store) -> None:
    write_days(store)
    quoted = str(catalog.build(store).path).replace("'", "''")
    attach = f"ATTACH '{quoted}' AS calls (READ_ONLY)"
    variable = f"SET VARIABLE cdr_data_dir = '{store.root}'"
    count = "SELECT count(*) FROM calls.cdrs"
    assert ask(Path(":memory:"), attach, variable, count) == [[len(X)]]
    assert ask(Path(":memory:"), attach, count, folder=store.root) == [[len(X)]]
    days = "SELECT count(*) FROM cdrs(NULL, NULL)"
    assert ask(Path(":memory:"), attach, variable, "USE calls", days) == [[len(X)]]
    search = f"SET file_search_path = '{store.root}'"
    assert ask(Path(":memory:"), attach, search, count) == [[len(X)]]


def test_a_reader_of_the_old_catalog_keeps_it_and_blocks_nobody(store: Store) -> None:
    write_day(store, DAYS[0], {"a": '{"old": 1}'})
    path = catalog.build(store).path
    with duckdb.connect(path, read_only=True) as reader:
        assert reader.sql("SELECT additional_old FROM cdrs").fetchall() == [(1,)]
        write_day(store, DAYS[0], {"a": '{"newer": 1}'})
        catalog.build(store)
        assert "additional_old" in reader.sql("SELECT * FROM cdrs").columns
        assert reader.sql("SELECT id, additional_old FROM cdrs").fetchall() == [("a", None)]
        assert ask(path, "SELECT additional_newer FROM cdrs") == [[1]]
    here = sorted(one.name for one in store.root.iterdir())
    assert here == [".catalog", ".staging", "cdrs", "cdrs.duckdb"]
    assert [one.name for one in (store.root / ".staging").glob("*.duckdb*")] == ["cdrs.duckdb.lock"]


def test_two_builders_wait_for_each_other(store: Store) -> None:
    write_days(store)
    with ThreadPoolExecutor(3) as threads:
        built = list(threads.map(lambda _: catalog.build(store), range(3)))
    assert len({tuple(one.views["cdrs"]) for one in built}) == 1
    assert ask(built[0].path, "SELECT count(*) FROM cdrs") == [[len(X)]]


def test_files_of_a_killed_builder_do_no_harm(store: Store) -> None:
    write_days(store)
    (store.root / ".staging" / "cdrs.duckdb").write_bytes(b"torn")
    (store.root / ".staging" / "cdrs.duckdb.wal").write_bytes(b"torn")
    assert ask(catalog.build(store).path, "SELECT count(*) FROM cdrs") == [[len(X)]]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (duckdb.IOException("IO Error: Could not write"), "Could not write"),
        (
            duckdb.TransactionException("TransactionContext Error: Failed to commit: Could not"),
            "Failed to commit: Could not",
        ),
    ],
)
def test_a_full_disk_leaves_the_old_catalog_and_says_what_to_do(
    error: duckdb.Error, message: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_days(store)
    before = catalog.build(store).path.read_bytes()

    def full(*_: object) -> list[str]:
        (store.staging / "cdrs.duckdb.wal").write_bytes(b"torn")
        raise error

    monkeypatch.setattr(catalog, "_definitions", full)
    with pytest.raises(CdrError) as failure:
        catalog.build(store)
    assert f"{failure.value}".startswith(f"{message}. What was stored is unchanged.")
    assert not list(store.staging.glob("*.wal"))
    assert "`cdr-pipeline rebuild` makes cdrs.duckdb" in f"{failure.value}"
    assert (store.root / "cdrs.duckdb").read_bytes() == before


def test_the_catalog_has_a_storage_version_that_duckdb_1_reads(store: Store) -> None:
    write_days(store)
    path = catalog.build(store).path
    # Bytes 12 to 20 of a DuckDB file are its storage version. 64 is the one of DuckDB 0.9 to 1.1.
    assert int.from_bytes(path.read_bytes()[12:20], "little") == 64


def test_without_duckdb_the_error_says_how_to_get_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "available", lambda: False)
    with pytest.raises(CdrError, match="uv sync --extra duckdb"):
        catalog.build(store)
    assert CDRS.name not in {one.name for one in store.root.glob("*")}
