"""A table too large for memory, as sorted runs: written as they come, read again slice by slice.

A run is some thousand rows in their final order. The rows that come next, of all runs together, are
the next few of each run. So a day's rows are put in order a chunk at a time, whatever the day's
size. Each run is written once and read once, from its beginning to its end; in Arrow, which gathers
text from many places in half the time that Polars takes.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from cdr_pipeline.tables.arrow import Rows, text_bytes

#: A run ends at so many rows, or bytes of their text (an ordinary day's has 8 MB). While it is
#: sorted and written, memory holds it three times. What is less than one run is not written.
_RUN_ROWS: Final = 16_000
_RUN_BYTES: Final = 2**24

#: A run is read in so many pieces: one piece of every run is in memory while a chunk is sorted.
_PIECES: Final = 16

#: A run's columns are thousands of small buffers, which are written to its file so many bytes at
#: once: to write each by itself takes twice as long.
_WRITE_BYTES: Final = 2**18


class Runs:
    """Frames in a folder, or in memory where there is none; each run sorted by `order`.

    Frames need not have the same columns. A column without a value is not laid aside.
    """

    def __init__(
        self, folder: Path | None = None, name: str = "run", order: Sequence[str] = ()
    ) -> None:
        self._folder = folder
        self._name = name
        self._order = list(order)
        self.schema: dict[str, pl.DataType] = {}
        self._runs: list[pl.DataFrame | Path] = []
        self._coming: list[pl.DataFrame] = []
        self._rows = self._bytes = 0  # of these

    def __len__(self) -> int:
        return len(self._runs) + bool(self._coming)

    def __iter__(self) -> Iterator[pl.LazyFrame]:
        for run in self.ended():
            rows = run.lazy() if isinstance(run, pl.DataFrame) else pl.scan_ipc(run)
            yield rows.match_to_schema(self.schema, missing_columns="insert")

    def add(self, frame: pl.DataFrame, size: int | None = None) -> int:
        """Add rows and return the number of their run. `size`: the bytes of their text, if
        they are known.
        """
        number = len(self._runs)
        self.schema |= frame.schema
        self._coming.append(frame)
        self._rows += len(frame)
        self._bytes += frame.select(text_bytes().sum()).item() if size is None else size
        if self._rows >= _RUN_ROWS or self._bytes >= _RUN_BYTES:
            self._end_run(self._folder)
        return number

    def ended(self) -> list[pl.DataFrame | Path]:
        """All runs; call it when no more rows come."""
        if self._coming:
            self._end_run(self._folder if self._runs else None)
        return self._runs

    def append(self, others: "Runs") -> None:
        """Append the runs of `others` to these. After this, neither may be added to."""
        self.schema |= others.schema
        self._runs += others.ended()

    def slices(self, lengths: Iterable[Sequence[int]]) -> Iterator[Rows]:
        """Consecutive rows of every run together, in order; `lengths`: how many of each, chunk by
        chunk. A column without a value is not in it.
        """
        with ExitStack() as stack:
            ends = [_Unread(run, stack) for run in self.ended()]
            for chunk in lengths:
                parts = [
                    pa.Table.from_batches(run.take(length))
                    for run, length in zip(ends, chunk, strict=True)
                    if length
                ]
                yield self._in_order(parts)

    def _end_run(self, folder: Path | None) -> None:
        """Make a run of the rows since the last one: sorted, and written if there is a folder."""
        rows = pl.concat(self._coming, how="diagonal")
        self._coming, self._rows, self._bytes = [], 0, 0
        if self._order:
            rows = rows.sort(self._order)
        filled = rows.select(one for one in rows if not len(one) or one.null_count() < len(one))
        if folder is None:
            self._runs.append(filled)
            return
        path = folder / f"{self._name}-{len(self._runs)}.arrow"
        table = filled.to_arrow()
        with (
            pa.OSFile(str(path), "wb") as raw,
            pa.BufferedOutputStream(raw, _WRITE_BYTES) as sink,
            pa.ipc.new_file(sink, table.schema) as file,
        ):
            file.write_table(table, max_chunksize=max(1, len(table) // _PIECES))
        self._runs.append(path)

    def _in_order(self, parts: Sequence[Rows]) -> Rows:
        rows = pa.concat_tables(parts, promote_options="default")
        if len(parts) == 1:
            return rows
        order = [
            (name, "ascending", "at_start") for name in self._order if name in rows.column_names
        ]
        return rows.take(pc.sort_indices(rows, sort_keys=order))


class _Unread:
    """The rows of a run that have not been taken yet. Of a run in a file (which `stack` closes), a
    few rows are in memory.
    """

    def __init__(self, run: pl.DataFrame | Path, stack: ExitStack) -> None:
        if isinstance(run, pl.DataFrame):
            table = run.to_arrow()
            self._batches = iter(table.to_batches())
            schema = table.schema
        else:
            file = stack.enter_context(pa.OSFile(str(run)))
            reader = stack.enter_context(pa.ipc.open_file(file))
            self._batches = map(reader.get_batch, range(reader.num_record_batches))
            schema = reader.schema
        self._rows = pa.RecordBatch.from_pylist([], schema)

    def take(self, length: int) -> Iterator[pa.RecordBatch]:
        """Take the next rows."""
        while length:
            if not len(self._rows):
                self._rows = next(self._batches)
            rows = self._rows.slice(0, length)
            self._rows = self._rows.slice(len(rows))
            length -= len(rows)
            yield rows
