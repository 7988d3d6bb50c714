"""A table too large to hold, in runs: written as they come, read again slice by slice.

A run is some thousand rows in their final order. What lies in order across all runs is a slice of
each, so a day's rows are put in order a chunk at a time, whatever the day's size.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import polars as pl

#: A table of no more rows is not written.
_ROWS_IN_MEMORY: Final = 32_000

#: Rows of a run that are read at once; a chunk has some of every run.
_SLICE_ROWS: Final = 250


class Runs:
    """Frames in a folder, or in memory where there is none."""

    def __init__(self, folder: Path | None = None, name: str = "run") -> None:
        self._folder = folder
        self._name = name
        self._rows = 0
        self._runs: list[pl.LazyFrame] = []

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[pl.LazyFrame]:
        return iter(self._runs)

    def add(self, frame: pl.DataFrame) -> None:
        """Another run."""
        self._rows += len(frame)
        if self._folder is None or self._rows <= _ROWS_IN_MEMORY:
            self._runs.append(frame.lazy())
            return
        path = self._folder / f"{self._name}-{len(self._runs)}.arrow"
        frame.write_ipc(path, record_batch_size=_SLICE_ROWS)
        self._runs.append(pl.scan_ipc(path))

    def slices(self, lengths: Iterable[Sequence[int]]) -> Iterator[pl.DataFrame]:
        """Consecutive rows of every run together; `lengths`: how many of each, chunk by chunk.

        Columns that only some runs have are null in the others.
        """
        at = [0] * len(self._runs)
        for chunk in lengths:
            parts = [
                run.slice(start, length)
                for run, start, length in zip(self._runs, at, chunk, strict=True)
                if length
            ]
            at = [start + length for start, length in zip(at, chunk, strict=True)]
            # One after another, for reading them all at once takes far more memory.
            yield pl.concat([part.collect() for part in parts], how="diagonal", rechunk=True)
