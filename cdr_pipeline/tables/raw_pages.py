"""A day's `raw_pages`: writes responses as they arrive, and reads those that count."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate, count
from pathlib import Path
from typing import Any, Final, TypeAlias

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from cdr_pipeline.page import split_and_total
from cdr_pipeline.tables.arrow import COMPRESSION, give_back, naming_damage, scan_file
from cdr_pipeline.window import Window

#: A row group holds about this many bytes of bodies, which bounds the memory of a day.
_BODY_BYTES: Final = 8 * 2**20

#: The columns that decide which responses count.
_ASKED: Final = ["pass", "window_start", "window_end"]

#: The window of a response that was asked for without one: every call began in it.
ALWAYS: Final = Window(datetime.min, datetime.max)


@dataclass(frozen=True)
class StoredPage:
    """One response: the number of its reading (0: asked only for a total), its bytes, the requested
    window and offset, and its place among all responses of the day, in the order of arrival.

    A record counts if it began in the window; the vendor also lists records of the second before
    and after, for which the reading of the neighbouring window counts.
    """

    pass_: int
    body: bytes
    window: Window = ALWAYS
    place: int = 0
    offset: int = 0


#: Called with a row group of `raw_pages`: its number in the file, and its responses.
OnGroup: TypeAlias = Callable[[int, Sequence[StoredPage]], None]


class PageWriter:
    """Writes rows of `raw_pages` to a file, in row groups of bounded size."""

    def __init__(self, path: Path, schema: pa.Schema, on_group: OnGroup | None = None) -> None:
        self._path = path
        self._schema = schema
        self._on_group = on_group
        # No statistics of `body`: its minimum and maximum are of no use.
        told = [name for name in schema.names if name != "body"]
        self._file = pq.ParquetWriter(
            path, schema, use_dictionary=False, write_statistics=told, **COMPRESSION
        )
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0
        self._groups = self._places = 0

    def add(self, row: dict[str, Any]) -> None:
        """Add one response, as the columns of `raw_pages`."""
        self._rows.append(row)
        self._bytes += len(row["body"])
        if self._bytes >= _BODY_BYTES:
            self._flush()

    def close(self, about: Mapping[str, str] | None = None) -> None:
        """Write the last rows and close the file. `about`: footer metadata, as `Store.writing`."""
        if self._file.is_open:
            self._flush()
            self._file.add_key_value_metadata(dict(about or {}))
            self._file.close()
            give_back()

    def written(self) -> "Pages":
        """The responses of the closed file."""
        return Pages(self._path)

    def _flush(self) -> None:
        if self._rows:
            columns = [
                _column([row[field.name] for row in self._rows], field.type)
                for field in self._schema
            ]
            self._file.write_table(pa.Table.from_arrays(columns, schema=self._schema))
            pages = [*map(_as_page, self._rows, count(self._places))]
            self._groups += 1
            self._places += len(pages)
            self._rows, self._bytes = [], 0
            if self._on_group:
                self._on_group(self._groups - 1, pages)


def _as_page(row: Mapping[str, Any], place: int) -> StoredPage:
    window = Window(row["window_start"], row["window_end"])
    return StoredPage(row["pass"], row["body"], window, place, row["offset"])


@dataclass(frozen=True)
class Pages:
    """The responses in a file of `raw_pages` that count; may be iterated again. `groups`: only
    these row groups. Every method raises Damaged if the file is not whole.
    """

    path: Path
    groups: Sequence[int] | None = None

    def __iter__(self) -> Iterator[StoredPage]:
        with naming_damage(self.path), pq.ParquetFile(self.path) as file:
            counting = _counting(file)
            groups = range(file.num_row_groups) if self.groups is None else self.groups
            places = _places(file)
            for group in groups:
                rows = file.read_row_group(group, columns=[*_ASKED, "offset", "body"])
                asked = (rows[name].to_pylist() for name in (*_ASKED, "offset"))
                cells = zip(places[group], *asked, rows["body"], strict=True)
                for place, number, start, end, offset, body in cells:
                    if number in counting:
                        window = Window(start, end)
                        yield StoredPage(number, body.as_py(), window, place, offset)

    def totals(self) -> dict[Window, int]:
        """Window of each part in which the day was proved -> the vendor's total at that time."""
        with naming_damage(self.path):
            pages = scan_file(self.path)
            counting = in_force(pages.select(_ASKED).collect().iter_rows())
            first = pages.filter(pl.col("pass").is_in(counting), pl.col("offset") == 0).collect()
        return {
            Window(row["window_start"], row["window_end"]): split_and_total(row["body"])[1]
            for row in first.iter_rows(named=True)
        }

    def readings(self) -> list[set[int]]:
        """For each row group, the readings that count and have responses in it."""
        with naming_damage(self.path), pq.ParquetFile(self.path) as file:
            counting, passes = _counting(file), file.read(["pass"])["pass"].to_pylist()
            return [{passes[place] for place in group} & counting for group in _places(file)]


def _places(file: pq.ParquetFile) -> list[range]:
    """For each row group, the places of its rows among all rows."""
    lengths = [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)]
    return [
        range(end - length, end) for length, end in zip(lengths, accumulate(lengths), strict=True)
    ]


def groups_to_come(first: StoredPage) -> float:
    """How many row groups of `raw_pages` a day will take, estimated from its first response."""
    records, total = split_and_total(first.body)
    return total / max(len(records), 1) * len(first.body) / _BODY_BYTES


def _counting(file: pq.ParquetFile) -> set[int]:
    """The readings in a file of `raw_pages` that count."""
    asked = file.read(_ASKED)
    return in_force(zip(*(column.to_pylist() for column in asked.columns), strict=True))


def in_force(readings: Iterable[tuple[int, datetime, datetime]]) -> set[int]:
    """The readings that count: no later reading overlaps their window.

    `readings`: pass, window_start and window_end of the rows of raw_pages. Pass 0 asked only for a
    total and never counts.
    """
    counting: set[int] = set()
    later: list[tuple[datetime, datetime]] = []
    for number, start, end in sorted({one for one in readings if one[0]}, reverse=True):
        if not any(start < last and first < end for first, last in later):
            counting.add(number)
        later.append((start, end))
    return counting


def _column(cells: Sequence[Any], dtype: pa.DataType) -> pa.Array:
    """As `pa.array(cells, dtype)`; for bytes at half the cost, since each is copied only once."""
    if not pa.types.is_large_binary(dtype):
        return pa.array(cells, dtype)
    ends = [pa.array([0, len(cell)], pa.int64()).buffers()[1] for cell in cells]
    return pa.concat_arrays(
        pa.Array.from_buffers(dtype, 1, [None, end, pa.py_buffer(cell)])
        for end, cell in zip(ends, cells, strict=True)
    )
