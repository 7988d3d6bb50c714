"""Partitions on disk: typed, described, replaced as a whole or not at all, readable by others."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from itertools import cycle
from pathlib import Path
from threading import Barrier, Event
from typing import Never

import duckdb
import polars as pl
import pyarrow.dataset as pds
import pyarrow.parquet as pq
import pytest

from cdr_pipeline.errors import Damaged, SettingsError
from cdr_pipeline.tables.aggregates.daily import Day, campaign_daily, disposition_daily
from cdr_pipeline.tables.arrow import ROW_BYTES
from cdr_pipeline.tables.datasets import (
    CAMPAIGN_DAILY,
    CDRS,
    DATASETS,
    DISPOSITION_DAILY,
    RAW_PAGES,
    REJECTS,
    Dataset,
)
from cdr_pipeline.tables.footer import footer
from cdr_pipeline.tables.readers import lazy
from cdr_pipeline.tables.store import Store
from cdr_pipeline_tests.damage import full
from cdr_pipeline_tests.records import DAY, SAIGON, call, flat, page_of, pages_row

NEXT_DAY = DAY + timedelta(days=1)
CALLS = flat(
    call(
        "a", duration=5, campaign_uuid="c1", additional={"Số tiền": 7, "so_tien": "8", "vip": True}
    ),
    call("b", duration="abc", additional={"số": 1.5, "l": [1]}, note="NUL \0, 😀"),
)
NO_CALLS = flat()


def files(store: Store) -> list[str]:
    """Every file of the datasets and of the staging folder, except locks."""
    found = (path for path in store.root.rglob("*") if path.is_file() and path.suffix != ".lock")
    return sorted(str(path.relative_to(store.root)) for path in found)


# ---- what is written


def test_a_partition_is_read_back_as_it_was_written(store: Store) -> None:
    store.write(CDRS, DAY, CALLS.cdrs, CALLS.keys)
    assert store.read(CDRS, DAY).equals(CALLS.cdrs)
    assert store.read(CDRS, DAY).schema == CALLS.cdrs.schema
    assert store.lazy(CDRS, DAY).select("id").collect()["id"].to_list() == ["b", "a"]
    assert store.size(CDRS, DAY) == store.path(CDRS, DAY).stat().st_size
    assert files(store) == ["cdrs/date=2023-03-07/part-0.parquet"]


def test_the_name_of_the_data_folder_may_look_like_a_glob_pattern(tmp_path: Path) -> None:
    store = Store(tmp_path / "[data]*", SAIGON)
    store.write(CDRS, DAY, CALLS.cdrs, CALLS.keys)
    assert store.read(CDRS, DAY).equals(CALLS.cdrs)
    assert lazy(store, CDRS, [DAY]).collect().height == store.rows(CDRS, DAY) == 2
    assert store.lazy(CDRS, DAY).collect().equals(CALLS.cdrs)


def test_a_file_holds_descriptions_and_keys_of_its_columns(store: Store) -> None:
    store.write(CDRS, DAY, CALLS.cdrs, CALLS.keys)
    schema = pq.read_schema(store.path(CDRS, DAY))
    for column in CDRS.columns:
        assert schema.field(column.name).metadata[b"description"].decode() == column.description
    keys = {
        field.name: json.loads(field.metadata[b"keys"])
        for field in schema
        if b"keys" in field.metadata
    }
    assert keys == CALLS.keys
    assert {"Số tiền"} < {key for some in keys.values() for key in some}


def test_the_file_is_compressed_with_zstd(store: Store) -> None:
    store.write(CDRS, DAY, CALLS.cdrs)
    with store.writing_pages(DAY) as pages:
        pages.add(pages_row(1, page_of()))
    for dataset in (CDRS, RAW_PAGES):
        group = pq.read_metadata(store.path(dataset, DAY)).row_group(0)
        assert {group.column(n).compression for n in range(group.num_columns)} == {"ZSTD"}


def test_a_call_can_be_looked_up_without_reading_the_days_that_do_not_have_it(
    store: Store,
) -> None:
    calls = CALLS.cdrs.with_columns(to_number=pl.lit("0775702541"))
    store.write(CDRS, DAY, calls)
    path = str(store.path(CDRS, DAY))
    for column in ("id", "to_number"):
        stored = calls[column][0]
        passed_over = "SELECT bloom_filter_excludes FROM parquet_bloom_probe(?, ?, ?)"
        for value, excluded in ((stored, False), ("nobody's", True)):
            with duckdb.connect() as connection:
                found = connection.execute(passed_over, [path, column, value]).fetchall()
            assert found == [(excluded,)], column


def test_a_frame_with_another_schema_is_not_written(store: Store) -> None:
    store.write(CDRS, DAY, NO_CALLS.cdrs)
    with pytest.raises(TypeError, match="cdrs: note is Null"):
        store.write(CDRS, DAY, CALLS.cdrs.with_columns(note=None))
    assert store.read(CDRS, DAY).is_empty()


# ---- replaced as a whole or not at all


def write_fails(store: Store, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pq.ParquetWriter, "write_table", full)
    store.write(CDRS, DAY, CALLS.cdrs)


def rename_fails(store: Store, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Path, "replace", full)
    store.write(CDRS, DAY, CALLS.cdrs)


def pages_fail(store: Store, _: pytest.MonkeyPatch) -> None:
    with store.writing_pages(DAY) as pages:
        pages.add(pages_row(1, page_of(call("new"))))
        full()


@pytest.mark.parametrize("failing", [write_fails, rename_fails, pages_fail])
@pytest.mark.parametrize("written_before", [True, False])
def test_a_writer_that_fails_leaves_only_the_old_files(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    failing: Callable[[Store, pytest.MonkeyPatch], None],
    written_before: bool,
) -> None:
    if written_before:
        store.write(CDRS, DAY, NO_CALLS.cdrs)
        with store.writing_pages(DAY) as pages:
            pages.add(pages_row(1, page_of(call("old"))))
    before = {name: (store.root / name).read_bytes() for name in files(store)}
    with pytest.raises(OSError, match="No space left"):
        failing(store, monkeypatch)
    assert {name: (store.root / name).read_bytes() for name in files(store)} == before
    assert store.holds(CDRS, DAY) == written_before


def test_while_a_partition_is_written_readers_find_only_the_old_one(store: Store) -> None:
    with store.writing_pages(DAY) as pages:
        pages.add(pages_row(1, page_of(call("old"))))
    with store.writing_pages(DAY) as pages:
        pages.add(pages_row(1, page_of(call("new"))))
        pages.close()
        found = list((store.root / "raw_pages").glob("**/*.parquet"))
        assert found == [store.path(RAW_PAGES, DAY)]
        assert [page.body for page in store.pages(DAY)] == [page_of(call("old"))]
    assert [page.body for page in store.pages(DAY)] == [page_of(call("new"))]


def test_a_partition_that_is_replaced_meanwhile_is_read_whole_and_not_called_damaged(
    store: Store, tmp_path: Path
) -> None:
    both = [CALLS.cdrs, pl.concat([CALLS.cdrs, CALLS.cdrs.head(1)])]
    for day, frame in zip((DAY, NEXT_DAY), both, strict=True):
        store.write(CDRS, day, frame, CALLS.keys)
    contents = [store.path(CDRS, day).read_bytes() for day in (DAY, NEXT_DAY)]
    staged, over = tmp_path / "staged", Event()

    def replace() -> None:
        for content in cycle(contents):
            staged.write_bytes(content)
            staged.replace(store.path(CDRS, DAY))
            if over.is_set():
                return

    with ThreadPoolExecutor(1) as other:
        replacing = other.submit(replace)
        try:
            assert {len(store.read(CDRS, DAY)) for _ in range(500)} <= {2, 3}
        finally:
            over.set()
        replacing.result()


def test_a_partition_that_is_replaced_while_it_is_read_stays_the_old_one(
    store: Store,
) -> None:
    """A report's checks read a day several times. When the day was loaded again meanwhile, they
    used the row groups of the old file and missed odd calls, or Polars panicked.
    """
    store.write(CDRS, DAY, CALLS.cdrs, CALLS.keys)
    calls = store.lazy(CDRS, DAY)
    assert calls.select(pl.len()).collect().item() == 2
    store.write(CDRS, DAY, CALLS.cdrs.head(1).with_columns(id=pl.lit("c")), CALLS.keys)
    assert calls.filter(pl.col("id") == "a").collect()["id"].to_list() == ["a"]
    assert calls.collect().equals(CALLS.cdrs)
    assert store.lazy(CDRS, DAY).collect()["id"].to_list() == ["c"]


def test_files_of_a_killed_run_do_no_harm(store: Store) -> None:
    with store.writing_pages(DAY) as pages:
        pages.add(pages_row(1, page_of(call("half"))))
        (torn,) = (name for name in files(store) if name.endswith(".parquet"))
    assert not torn.startswith(tuple(DATASETS))
    (store.root / torn).write_bytes(b"PAR1 torn")
    assert store.days(RAW_PAGES) == [DAY]
    with store.writing_pages(DAY) as pages:
        pages.add(pages_row(1, page_of(call("whole"))))
    assert [page.body for page in store.pages(DAY)] == [page_of(call("whole"))]
    assert files(store) == ["raw_pages/date=2023-03-07/part-0.parquet"]


def test_stored_days_are_listed_in_order_without_other_folders(
    store: Store,
) -> None:
    assert store.days(CDRS) == []
    for day in (NEXT_DAY, date(2022, 12, 31), DAY):
        store.write(CDRS, day, NO_CALLS.cdrs)
    for name in ("date=2023-05-01", f"date={DAY}.bak", "date=soon", ".tmp", "date=2023-02-30"):
        (store.root / CDRS.name / name).mkdir()
    assert store.days(CDRS) == [date(2022, 12, 31), DAY, NEXT_DAY]
    assert not store.holds(CDRS, date(2023, 5, 1))
    assert store.days(REJECTS) == []


def test_a_folder_of_another_user_is_named_and_not_its_parent(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a root that two users may write, `.staging` belongs to the one who loaded days first."""

    def denied(**_: object) -> Never:
        raise PermissionError(errno.EACCES, "Permission denied", "a name by chance")

    store.prepare()
    monkeypatch.setattr("cdr_pipeline.tables.store.TemporaryFile", denied)
    with pytest.raises(SettingsError, match=rf"DATA_DIR: {store.staging} cannot be written: Perm"):
        store.prepare()


# ---- locks: one run at a time works on a day


def test_the_second_of_two_threads_on_one_day_waits(store: Store) -> None:
    together, events = Barrier(2), []

    def work(name: str) -> None:
        together.wait()
        with Store(store.root, SAIGON).locked(DAY):
            events.append(name)
            store.write(CDRS, DAY, flat(call(name)).cdrs)
            assert store.read(CDRS, DAY)["id"].to_list() == [name]
            events.append(name)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(work, ("first", "second")))
    assert events in (["first"] * 2 + ["second"] * 2, ["second"] * 2 + ["first"] * 2)


def test_days_do_not_wait_for_each_other(store: Store) -> None:
    with store.locked(DAY), store.locked(NEXT_DAY, given_up=lambda: True):
        pass


OTHER_RUN = """
import sys
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo
from cdr_pipeline.tables.datasets import CDRS
from cdr_pipeline.tables.store import Store

store, day = Store(Path(sys.argv[1]), ZoneInfo("Asia/Ho_Chi_Minh")), date(2023, 3, 7)
print("asking", flush=True)
with store.locked(day):
    print(*store.read(CDRS, day)["id"])
    store.write(CDRS, day, store.read(CDRS, day).clear())
"""


def test_another_process_on_the_same_day_waits_for_its_turn(store: Store) -> None:
    with store.locked(DAY):
        store.write(CDRS, DAY, flat(call("early")).cdrs)
        other = subprocess.Popen(
            [sys.executable, "-c", OTHER_RUN, str(store.root)], stdout=subprocess.PIPE, text=True
        )
        assert other.stdout
        assert other.stdout.readline() == "asking\n"
        store.write(CDRS, DAY, flat(call("late")).cdrs)
        assert store.read(CDRS, DAY)["id"].to_list() == ["late"]
    assert other.communicate(timeout=60)[0] == "late\n"
    assert other.returncode == 0
    assert store.read(CDRS, DAY).is_empty()


# ---- other readers


@pytest.fixture
def two_days(store: Store) -> Store:
    """A day of two calls and an empty day, with their aggregates."""
    for day, calls in ((DAY, CALLS), (NEXT_DAY, NO_CALLS)):
        store.write(CDRS, day, calls.cdrs, calls.keys)
        store.write(REJECTS, day, calls.rejects)
        store.write(
            CAMPAIGN_DAILY,
            day,
            campaign_daily(Day.of(calls.cdrs.lazy())).collect(engine="in-memory"),
        )
        store.write(DISPOSITION_DAILY, day, disposition_daily(Day.of(calls.cdrs.lazy())).collect())
        with store.writing_pages(day) as pages:
            pages.add(pages_row(1, page_of()))
    return store


@pytest.mark.parametrize(
    ("dataset", "rows"),
    [(CDRS, 2), (REJECTS, 1), (CAMPAIGN_DAILY, 2), (DISPOSITION_DAILY, 2), (RAW_PAGES, 2)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_duckdb_polars_and_pyarrow_read_every_dataset(
    two_days: Store, dataset: Dataset, rows: int
) -> None:
    folder = two_days.root / dataset.name
    glob = f"{folder}/**/*.parquet"
    with duckdb.connect() as db:
        found = db.sql(f"select * from read_parquet('{glob}', union_by_name = true)")
        assert len(found.fetchall()) == rows
        assert set(found.columns) >= {column.name for column in dataset.columns} | {"date"}
    scanned = pl.scan_parquet(
        glob, hive_partitioning=True, missing_columns="insert", extra_columns="ignore"
    )
    assert scanned.select("date").collect().height == rows
    assert scanned.collect_schema()["date"] == pl.Date
    assert pds.dataset(folder, partitioning="hive").count_rows() == rows


def test_duckdb_reads_the_cells_as_they_are(two_days: Store) -> None:
    glob = f"{two_days.root}/cdrs/**/*.parquet"
    with duckdb.connect() as db:
        rows = db.execute(
            "select date::varchar, id, epoch(time_started)::bigint, typeof(time_started), duration,"
            " note, additional_so_tien, additional_vip__bool, additional_so__float, key_pressed"
            f" from read_parquet('{glob}', union_by_name = true) order by id"
        ).fetchall()
    ten = int(datetime(2023, 3, 7, 3, tzinfo=UTC).timestamp())
    zoned = "TIMESTAMP WITH TIME ZONE"
    assert rows == [
        ("2023-03-07", "a", ten, zoned, 5, None, "8", True, None, None),
        ("2023-03-07", "b", ten, zoned, None, "NUL \0, 😀", None, None, 1.5, None),
    ]


@pytest.mark.parametrize("at_once", [1, 3, 9])
def test_a_row_group_of_large_rows_has_fewer_rows_however_many_come_at_a_time(
    store: Store, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr("cdr_pipeline.tables.store._ROW_GROUP", 4)
    notes = ["x" * ROW_BYTES * most for most in (0, 0, 0, 0, 0, 3, 2, 9, 0)]
    frame = flat(*(call(f"{at}", note=note) for at, note in enumerate(notes))).cdrs
    rows = frame.to_arrow()
    with store.writing(CDRS, DAY, frame.schema) as writer:
        for at in range(0, len(rows), at_once):
            writer.add(rows.slice(at, at_once))
    meta = pq.read_metadata(store.path(CDRS, DAY))
    groups = [meta.row_group(at).num_rows for at in range(meta.num_row_groups)]
    assert groups == [4, 2, 1, 1, 1]
    assert store.read(CDRS, DAY).equals(frame)


def test_a_file_that_this_user_may_not_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path) -> dict[str, str]:
        raise PermissionError(
            f"Permission denied (os error 13): {path}"
        )  # Polars' error has no errno

    def not_opened(path: Path, *_: str) -> Never:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    store = Store(tmp_path, SAIGON)
    store.write(CDRS, DAY, NO_CALLS.cdrs)
    monkeypatch.setattr(pl, "read_parquet_metadata", denied)
    monkeypatch.setattr(Path, "open", not_opened)
    monkeypatch.setattr("os.access", lambda _, mode: mode == os.F_OK)
    for look in (lambda: footer(store.path(CDRS, DAY)), lambda: store.read(CDRS, DAY)):
        with pytest.raises(Damaged, match=r"part-0\.parquet cannot be read by this user"):
            look()


def test_the_message_separates_files_that_may_not_be_read_from_damaged_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The message also forbade to delete the damaged file among them."""
    monkeypatch.setattr("os.access", lambda path, mode: path.name == "torn" or mode == os.F_OK)
    assert f"{Damaged(Path('a'), Path('torn'), Path('b'))}".startswith(
        "a, b cannot be read by this user. See that it may; do not delete such a file. torn cannot"
        " be read: damaged, or a part is missing. Delete such a file; "
    )
