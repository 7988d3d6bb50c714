"""A table too large to hold, in runs: written as they come, read again slice by slice.

A run is some thousand rows in their final order. What lies in order across all runs is a slice of
each, so a day's rows are put in order a chunk at a time, whatever the day's size. Each run is
written once and read once, from its beginning to its end.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

import polars as pl
import pyarrow as pa

#: A table of no more rows is not written.
_ROWS_IN_MEMORY: Final = 16_000

#: Rows of a run that are read at once; a chunk has some of every run.
_ROWS_READ: Final = 500


class Runs:
    """Frames in a folder, or in memory where there is none.

    They need not have the same columns, and come back with all. A column without a value is not
    laid aside.
    """

    def __init__(self, folder: Path | None = None, name: str = "run") -> None:
        self._folder = folder
        self._name = name
        self._rows = 0
        self._schema: dict[str, pl.DataType] = {}
        self._runs: list[pl.DataFrame | Path] = []

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[pl.LazyFrame]:
        for run in self._runs:
            rows = run.lazy() if isinstance(run, pl.DataFrame) else pl.scan_ipc(run)
            yield rows.match_to_schema(self._schema, missing_columns="insert")

    def add(self, frame: pl.DataFrame) -> None:
        """Another run."""
        self._rows += len(frame)
        self._schema |= frame.schema
        filled = frame.select(one for one in frame if not len(one) or one.null_count() < len(one))
        if self._folder is None or self._rows <= _ROWS_IN_MEMORY:
            self._runs.append(filled)
            return
        path = self._folder / f"{self._name}-{len(self._runs)}.arrow"
        filled.write_ipc(path, record_batch_size=_ROWS_READ)
        self._runs.append(path)

    def slices(self, lengths: Iterable[Sequence[int]]) -> Iterator[pl.DataFrame]:
        """Consecutive rows of every run together; `lengths`: how many of each, chunk by chunk."""
        with ExitStack() as stack:
            ends = [stack.enter_context(_Unread(run)) for run in self._runs]
            for chunk in lengths:
                parts = [
                    run.take(length) for run, length in zip(ends, chunk, strict=True) if length
                ]
                table = pa.concat_tables(parts, promote_options="default")
                frame = pl.from_arrow(table)
                assert isinstance(frame, pl.DataFrame)
                yield frame.match_to_schema(self._schema, missing_columns="insert")


class _Unread:
    """The rows of a run that have not been taken yet; of those in a file a few are in memory."""

    def __init__(self, run: pl.DataFrame | Path) -> None:
        self._run = run
        self._source = ExitStack()

    def __enter__(self) -> Self:
        if isinstance(self._run, pl.DataFrame):
            self._batches: Iterator[pa.RecordBatch] = iter(())
            self._rows = self._run.to_arrow(compat_level=pl.CompatLevel.newest())  # as in files
        else:
            file = self._source.enter_context(pa.OSFile(str(self._run)))
            reader = self._source.enter_context(pa.ipc.open_file(file))
            self._batches = map(reader.get_batch, range(reader.num_record_batches))
            self._rows = reader.schema.empty_table()
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()

    def take(self, length: int) -> pa.Table:
        """The next rows."""
        parts = [self._rows]
        while sum(map(len, parts)) < length:
            parts.append(pa.Table.from_batches([next(self._batches)]))
        rows = pa.concat_tables(parts)
        self._rows = rows.slice(length)
        return rows.slice(0, length)
