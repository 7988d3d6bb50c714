"""Hive-partitioned Parquet on a file system: `<root>/<dataset>/date=YYYY-MM-DD/part-0.parquet`.

A partition is one file, so that one rename replaces it: a reader finds the old content or the new.
A file is written in `<root>/.staging`, outside of every dataset, under the name of its partition. A
lock per day keeps two runs of the same day apart, and the next run overwrites the files that a
killed run left.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import date
from itertools import product
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, Final, Self
from zoneinfo import ZoneInfo

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from cdr_pipeline.errors import SettingsError, way_out
from cdr_pipeline.record import ADDITIONAL, RULES
from cdr_pipeline.tables.arrow import (
    COMPRESSION,
    ROW_BYTES,
    arrow_schema,
    give_back,
    naming_damage,
    scan_file,
    text_bytes,
)
from cdr_pipeline.tables.contract import MARK, NO_CONTRACT, Contract
from cdr_pipeline.tables.datasets import CDRS, DATE, RAW_PAGES, Dataset, schema_faults
from cdr_pipeline.tables.footer import MADE_BY_RULES
from cdr_pipeline.tables.raw_pages import OnGroup, Pages, PageWriter

if TYPE_CHECKING:
    from cdr_pipeline.settings import Settings  # slow to import; see `contract`

FILE: Final = "part-0.parquet"

#: The folder of a partition; any other folder in a dataset's folder is ignored.
_DAY_FOLDER: Final = re.compile(rf"{DATE}=(\d{{4}}-\d\d-\d\d)")

_ROW_GROUP: Final = 2**16

#: The most bytes of a cell in Arrow, without its text.
_CELL_BYTES: Final = 8

#: Text columns in which nearly every row has its own value: to build their dictionaries takes a
#: sixth of the writing time, and Parquet discards them in the end.
_DISTINCT: Final = frozenset(
    {"id", "parent_id", "sip_call_id", "lead_uuid", "recording_url", "autocall_recording_url"}
    | {ADDITIONAL}
)

#: A column whose dictionary grows beyond this goes on without one. At 1 MB, the default, a
#: dictionary of 50,000 values in a row group is kept and saves nothing; at 64 KB a dictionary of
#: 3,000 uuids is not kept: they take four times the bytes, and twice the time to group by.
_DICTIONARY_BYTES: Final = 2**18

#: Columns by which single calls are looked up. Each has a Bloom filter, a hundredth of the file, by
#: which DuckDB skips days without the value: a phone number in 60 days takes 34 ms, not 91.
_LOOKED_UP: Final = ("id", "to_number")


class Store:
    """The datasets under one folder."""

    def __init__(self, root: Path, zone: ZoneInfo) -> None:
        self.root = root
        self.zone = zone

    @classmethod
    def of(cls, settings: "Settings") -> Self:
        """The datasets in CDR_DATA_DIR, with times in CDR_TIMEZONE."""
        return cls(settings.data_dir, settings.zone)

    @property
    def staging(self) -> Path:
        """The folder of locks and of files that are being written; made if it is missing."""
        folder = self.root / ".staging"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def path(self, dataset: Dataset, day: date) -> Path:
        """The path of a partition, whether it exists or not."""
        return self.root / dataset.name / f"{DATE}={day}" / FILE

    def holds(self, dataset: Dataset, day: date) -> bool:
        """Whether the partition has been written."""
        return self.path(dataset, day).exists()

    def days(self, dataset: Dataset, first: date = date.min, last: date = date.max) -> list[date]:
        """The days from `first` to `last`, both included, that have been written, in order."""
        folder = self.root / dataset.name
        # Not iterdir: to make a Path of each name takes longer than the listing.
        names = os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208
        dates = (one[1] for one in map(_DAY_FOLDER.fullmatch, names) if one)
        asked = (text for text in dates if f"{first}" <= text <= f"{last}")
        days = sorted(day for text in asked if (day := _day(text)))
        return [day for day in days if self.holds(dataset, day)]

    def written_at(self, dataset: Dataset, day: date) -> int:
        """When a stored partition was written, in nanoseconds."""
        return self.path(dataset, day).stat().st_mtime_ns

    def prepare(self) -> None:
        """Raises SettingsError if nothing can be written here, before anything is fetched."""
        folder = self.root
        try:
            folder = self.staging  # may belong to another user, in a root that is writable
            with TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise SettingsError(
                f"CDR_DATA_DIR: {folder.resolve()} cannot be written: {error.strerror}. Nothing"
                f" was changed, and the vendor was not asked. {way_out(error)}".rstrip()
            ) from None

    @contextmanager
    def locked(
        self, work: date | str, given_up: Callable[[], bool] | None = None
    ) -> Iterator[None]:
        """Hold the lock of one day, or of other `work` by name; other runs wait for it.

        Raises TimeoutError if `given_up` becomes true while this run waits.
        """
        # Not thread-local: one thread begins a day, another finishes it.
        lock = FileLock(self.staging / f"{work}.lock", thread_local=False)
        with lock.acquire(cancel_check=given_up):
            yield

    def write(
        self,
        dataset: Dataset,
        day: date,
        frame: pl.DataFrame,
        keys: Mapping[str, Sequence[str]] | None = None,
        contract: Contract = NO_CONTRACT,
        about: Mapping[str, str] | None = None,
    ) -> None:
        """Replace a partition by `frame`, whole or not at all; see `writing`."""
        with self.writing(dataset, day, frame.schema, keys, contract, about) as rows:
            rows.add(frame.to_arrow())

    @contextmanager
    def writing(
        self,
        dataset: Dataset,
        day: date,
        schema: pl.Schema,
        keys: Mapping[str, Sequence[str]] | None = None,
        contract: Contract = NO_CONTRACT,
        about: Mapping[str, str] | None = None,
    ) -> Iterator["RowWriter"]:
        """Write a partition some rows at a time; it is replaced at the end.

        After an exception the partition is as it was. The footer gets `keys` (the lead list's keys
        behind each column), `about` (any other metadata), the mark of the declared `contract` and
        its descriptions of the keys, and in `cdrs` the version of our rules. Raises TypeError if
        the schema is not the dataset's.
        """
        faults = schema_faults(dataset, schema, self.zone, own=keys or ())
        if faults:
            raise TypeError(f"{dataset.name}: {'; '.join(faults)}")
        arrow = arrow_schema(schema)
        marked = dict(about or {})
        if dataset is CDRS:
            marked[MADE_BY_RULES] = f"{RULES}"
        if contract.keys:
            marked[MARK] = contract.mark
        described = _described(dataset, arrow, keys or {}, contract).with_metadata(marked or None)
        with self._replacing(dataset, day) as path, closing(RowWriter(path, described)) as rows:
            yield rows

    @contextmanager
    def writing_pages(self, day: date, on_group: OnGroup | None = None) -> Iterator[PageWriter]:
        """Write `raw_pages` of a day as they arrive; the partition is replaced at the end.

        After an exception the partition is as it was. `on_group` is called with each row group that
        is written.
        """
        schema = _described(RAW_PAGES, arrow_schema(RAW_PAGES.schema(self.zone)), {})
        with (
            self._replacing(RAW_PAGES, day) as path,
            closing(PageWriter(path, schema, on_group)) as pages,
        ):
            yield pages

    def read(self, dataset: Dataset, day: date, columns: list[str] | None = None) -> pl.DataFrame:
        """One partition, or some of its columns. Raises Damaged."""
        path = self.path(dataset, day)
        # By its name, Polars would open the file twice, and it may be replaced in between.
        with naming_damage(path), path.open("rb") as file:
            return pl.read_parquet(file, columns=columns)

    def rows(self, dataset: Dataset, day: date) -> int:
        """How many rows a partition has, by its footer alone. Raises Damaged."""
        path = self.path(dataset, day)
        with naming_damage(path):
            return int(pq.read_metadata(path).num_rows)

    def size(self, dataset: Dataset, day: date) -> int:
        """The bytes of a partition."""
        return self.path(dataset, day).stat().st_size

    def about(self, dataset: Dataset, day: date) -> dict[str, str]:
        """The metadata in the footer of a partition (see `writing`). Raises Damaged."""
        path = self.path(dataset, day)
        with naming_damage(path):
            return pl.read_parquet_metadata(path)

    def lazy(self, dataset: Dataset, day: date) -> pl.LazyFrame:
        """One partition as a lazy frame."""
        return scan_file(self.path(dataset, day))

    @contextmanager
    def naming_damage(self, datasets: Iterable[Dataset], days: Iterable[date]) -> Iterator[None]:
        """Raises Damaged, with the file, if a scan inside fails because of one of these partitions:
        the error of a scan of several files does not name the file.
        """
        try:
            yield
        except pl.exceptions.PolarsError:
            for dataset, day in product(datasets, days):
                if self.holds(dataset, day):
                    self.read(dataset, day)
            raise

    def pages(self, day: date) -> Pages:
        """The responses of a day that count, in the order in which they were kept."""
        return Pages(self.path(RAW_PAGES, day))

    @contextmanager
    def workspace(self, day: date) -> Iterator[Path]:
        """An empty folder for temporary files while a day is made; deleted afterwards."""
        folder = self.staging / f"{day}"
        rmtree(folder, ignore_errors=True)  # a killed run's
        folder.mkdir()
        try:
            yield folder
        finally:
            rmtree(folder, ignore_errors=True)

    @contextmanager
    def _replacing(self, dataset: Dataset, day: date) -> Iterator[Path]:
        """A path to write to; its file becomes the partition if no exception is raised."""
        target = self.path(dataset, day)
        staged = self.staging / f"{dataset.name}-{day}.parquet"
        try:
            with replacing(target, staged):
                yield staged
        except pa.ArrowInvalid as error:
            # Closing a file that could not be written fails too, and would hide the first error.
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None


def _day(text: str) -> date | None:
    """The day in the name of a folder; None for a date that does not exist, as 30 February."""
    with suppress(ValueError):
        return date.fromisoformat(text)
    return None


class RowWriter:
    """Writes rows to a file; its row groups do not depend on how many rows are added at a time."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path = path
        self._schema = schema
        self._file: pq.ParquetWriter | None = None
        self._rows = schema.empty_table()
        self._bytes = 0  # of `_rows`; to sum them at each `add` takes a tenth of the writing time

    def add(self, rows: pa.Table) -> None:
        """Add the next rows, which have the columns of the partition."""
        self._rows = pa.concat_tables([self._rows, rows])
        self._bytes += rows.nbytes
        while full := self._full():
            self._write(self._rows.slice(0, full), _ROW_GROUP)
            self._rows = self._rows.slice(full)
            self._bytes = self._rows.nbytes

    def close(self) -> None:
        """Write the last rows and close the file."""
        if self._file is None or self._file.is_open:
            self._write(self._rows, len(self._rows)).close()
            self._rows = self._schema.empty_table()
            give_back()

    def written(self) -> pl.LazyFrame:
        """The rows of the closed file."""
        return scan_file(self._path)

    def _full(self) -> int:
        """How many of the rows fill a row group; 0 if they do not fill one yet."""
        rows, most = self._rows, _ROW_GROUP * ROW_BYTES
        # The size of the table, which is known, bounds its text: the rest is some bytes per cell.
        if self._bytes - _CELL_BYTES * len(rows) * rows.num_columns > most // 2:
            first = rows.slice(0, _ROW_GROUP)
            sizes = pl.zeros(len(first), pl.Int64, eager=True)
            for name in first.column_names:  # all at once, Polars takes 16 bytes more for each cell
                sizes += pl.DataFrame(first.select([name])).select(text_bytes()).to_series()
            ends = sizes.cum_sum()
            if ends[-1] > most:
                return max(1, ends.search_sorted(most, side="right"))
        return _ROW_GROUP if len(rows) >= _ROW_GROUP else 0

    def _write(self, rows: pa.Table, most: int) -> pq.ParquetWriter:
        """Write rows; open the file before the first, with filters for `most` rows per group."""
        if self._file is None:
            layout = _layout(self._schema, most)
            self._file = pq.ParquetWriter(self._path, self._schema, **COMPRESSION, **layout)
        if len(rows):
            self._file.write_table(rows, row_group_size=_ROW_GROUP)
        return self._file


def _layout(schema: pa.Schema, rows: int) -> dict[str, Any]:
    """PyArrow's options for row groups of so many rows: dictionaries and Bloom filters."""
    names = schema.names
    filters = {name: {"ndv": max(rows, 1), "fpp": 0.05} for name in _LOOKED_UP if name in names}
    return {
        "use_dictionary": [name for name in names if name not in _DISTINCT],
        "dictionary_pagesize_limit": _DICTIONARY_BYTES,
        "bloom_filter_options": filters,
    }


def _described(
    dataset: Dataset,
    schema: pa.Schema,
    keys: Mapping[str, Sequence[str]],
    contract: Contract = NO_CONTRACT,
) -> pa.Schema:
    """The schema with each column's description, and the keys behind a lead list's column."""
    descriptions = {column.name: column.description for column in dataset.columns}
    fields = []
    for field in schema:
        metadata = {"description": descriptions.get(field.name, "From the lead list.")}
        if field.name in keys:
            metadata["keys"] = json.dumps(list(keys[field.name]), ensure_ascii=False)
            described = contract.described(keys[field.name])
            metadata["description"] = f"{metadata['description']} {described}".rstrip()
            if contract.personal(keys[field.name]):
                metadata["pii"] = "true"
        fields.append(field.with_metadata(metadata))
    return pa.schema(fields)


@contextmanager
def replacing(path: Path, staged: Path) -> Iterator[Path]:
    """Replace the file `path` by `staged`, which the caller writes, if no exception is raised. At
    any time `path` is the old file or the new one, whole. `staged` must be on the same disk.
    """
    try:
        yield staged
        _sync(staged)
        path.parent.mkdir(parents=True, exist_ok=True)
        staged.replace(path)
        _sync(path.parent)
    finally:
        staged.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
