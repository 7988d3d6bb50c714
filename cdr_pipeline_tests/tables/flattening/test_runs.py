"""A day stored as runs in files, since it is too large for memory, equals the day in memory."""

from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import polars as pl
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from cdr_pipeline.tables.flattening import counting, runs
from cdr_pipeline.tables.flattening import records as reading
from cdr_pipeline.tables.flattening.flatten import flatten
from cdr_pipeline.tables.flattening.typed import Rules
from cdr_pipeline.tables.raw_pages import StoredPage
from cdr_pipeline.window import Window
from cdr_pipeline_tests.records import DAY, ENTRY, SAIGON, everything, flat, page_of


@given(st.lists(ENTRY, max_size=12), st.integers(1, 3), st.integers(1, 6))
def test_a_day_with_runs_in_files_equals_the_day_in_memory(
    records: list[bytes], rows: int, run_rows: int
) -> None:
    kept = flat(*records)
    pages = [StoredPage(1, page_of(record), offset=at) for at, record in enumerate(records)]
    with (
        TemporaryDirectory() as folder,
        patch.object(reading, "BATCH_ROWS", rows),
        patch.object(runs, "_RUN_ROWS", run_rows),
        patch.object(counting, "CHUNK_ROWS", rows),
    ):
        aside = flatten(pages, Rules(Window.of(DAY), SAIGON), Path(folder))
        assert everything(aside) == everything(kept)
        chunks = [
            set(pl.DataFrame(chunk).select("campaign_uuid", "time_started").rows())
            for chunk in aside.calls()
        ]
    seconds = [second for chunk in chunks for second in chunk]
    assert len(seconds) == len(set(seconds))


def test_a_run_of_large_rows_ends_by_its_bytes(tmp_path: Path) -> None:
    frame = pl.DataFrame({"text": ["x" * 1_000] * 100})
    with patch.object(runs, "_RUN_BYTES", 250_000):
        made = runs.Runs(tmp_path)
        assert [made.add(frame) for _ in range(7)] == [0, 0, 0, 1, 1, 1, 2]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_run_in_a_file_is_read_in_small_parts(tmp_path: Path) -> None:
    frame = pl.DataFrame({"at": range(48)})
    with patch.object(runs, "_RUN_ROWS", 48):
        made = runs.Runs(tmp_path)
        made.add(frame)
    (path,) = tmp_path.iterdir()
    with pa.ipc.open_file(path) as file:
        assert [len(file.get_batch(at)) for at in range(file.num_record_batches)] == [3] * 16
