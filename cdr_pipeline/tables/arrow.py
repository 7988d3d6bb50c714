"""Between typed rows and their file: Polars types as Arrow types, memory, compression."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final, TypeAlias

import polars as pl
import polars.selectors as cs
import pyarrow as pa

from cdr_pipeline.errors import Damaged

#: Rows in Arrow, on their way to a file.
Rows: TypeAlias = pa.Table

#: zstd level 1: level 3 costs half as much again for no smaller a file.
COMPRESSION: Final = {"compression": "zstd", "compression_level": 1}

#: Bytes of an average row where many rows are held in memory: of larger rows fewer are held, so
#: that long notes do not fill the memory. An ordinary call's JSON has half as many bytes, the text
#: of its row a quarter.
ROW_BYTES: Final = 2**11


def text_bytes() -> pl.Expr:
    """Bytes of text and binary in each row."""
    return pl.sum_horizontal(pl.lit(0), cs.string().str.len_bytes(), cs.binary().bin.size())


def arrow_schema(schema: Mapping[str, pl.DataType]) -> pa.Schema:
    """The Arrow schema of rows with a Polars schema."""
    return pa.schema([(name, _arrow_type(dtype)) for name, dtype in schema.items()])


@cache
def _arrow_type(dtype: pl.DataType) -> pa.DataType:
    """The Arrow type of a Polars type; cached, since a small day asks for some hundred columns."""
    return pl.Series(dtype=dtype).to_arrow().type


def in_columns(rows: Rows, fields: pa.Schema) -> Rows:
    """The rows with the columns of `fields`; a column that is missing is null."""
    present = set(rows.column_names)
    columns = [
        rows[field.name] if field.name in present else pa.nulls(len(rows), field.type)
        for field in fields
    ]
    return pa.Table.from_arrays(columns, schema=fields)


@contextmanager
def naming_damage(path: Path) -> Iterator[None]:
    """Raises Damaged if the file read inside is not whole Parquet, or this user may not read it."""
    try:
        yield
    except (pl.exceptions.PolarsError, pa.ArrowInvalid, PermissionError) as error:
        raise Damaged(path) from error
    except OSError as error:
        if error.errno is None:  # an error of PyArrow about the content, not of the system
            raise Damaged(path) from error
        raise


def scan_file(path: Path) -> pl.LazyFrame:
    """One file as a lazy frame: the columns of the file, without those of its path.

    Reads the file that is there now, even if another file replaces it during the scan. (By its name
    Polars would open the path again each time, and read the new file by the footer of the old one:
    rows would be missing or wrong.)
    """
    with path.open("rb") as file:
        return pl.scan_parquet(file, hive_partitioning=False, glob=False)


def in_slices(rows: pl.LazyFrame, size: int) -> Iterator[pl.LazyFrame]:
    """All rows in slices of `size`, to bound the memory; one empty slice if there are no rows."""
    count = rows.select(pl.len()).collect().item()
    return (rows.slice(at, size) for at in range(0, max(count, 1), size))


def give_back() -> None:
    """Release the unused memory that Arrow keeps for its next table: Polars or another process
    needs it next.
    """
    pa.default_memory_pool().release_unused()
