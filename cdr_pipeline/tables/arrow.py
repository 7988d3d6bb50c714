"""What lies between typed rows and their file: Polars' types in Arrow, memory, compression."""

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

#: What a row may take where many are held at once: of larger ones fewer are held, or long notes
#: would fill the memory. An ordinary call's JSON takes half of it, its row's text a quarter.
ROW_BYTES: Final = 2**11


def text_bytes() -> pl.Expr:
    """How much text each row has."""
    return pl.sum_horizontal(pl.lit(0), cs.string().str.len_bytes(), cs.binary().bin.size())


def arrow_schema(schema: Mapping[str, pl.DataType]) -> pa.Schema:
    """The types of rows in Arrow, by those that they have in Polars."""
    return pa.schema([(name, _arrow_type(dtype)) for name, dtype in schema.items()])


@cache
def _arrow_type(dtype: pl.DataType) -> pa.DataType:
    """Looked up once: a small day asks for that of some hundred columns."""
    return pl.Series(dtype=dtype).to_arrow().type


def in_columns(rows: Rows, fields: pa.Schema) -> Rows:
    """The columns of `fields`, which have its types; those that are not there are null."""
    there = set(rows.column_names)
    columns = [
        rows[field.name] if field.name in there else pa.nulls(len(rows), field.type)
        for field in fields
    ]
    return pa.Table.from_arrays(columns, schema=fields)


@contextmanager
def naming_damage(path: Path) -> Iterator[None]:
    """Raises Damaged where the file that is read within is no whole Parquet, or may not be read."""
    try:
        yield
    except (pl.exceptions.PolarsError, pa.ArrowInvalid, PermissionError) as error:
        raise Damaged(path) from error
    except OSError as error:
        if error.errno is None:  # PyArrow's, about what it has read
            raise Damaged(path) from error
        raise


def scan_file(path: Path) -> pl.LazyFrame:
    """One file, to be read as far as it is needed: its columns alone, whatever its path says.

    The file that stands there now, also where another takes its place before all is read. (By its
    name Polars opens it anew each time, and goes by the footer of the first: rows of the other are
    passed over, or their bytes taken for what they are not.)
    """
    with path.open("rb") as file:
        return pl.scan_parquet(file, hive_partitioning=False, glob=False)


def in_slices(rows: pl.LazyFrame, size: int) -> Iterator[pl.LazyFrame]:
    """All rows, `size` at a time, to be gone through in bounded memory; none are one slice."""
    count = rows.select(pl.len()).collect().item()
    return (rows.slice(at, size) for at in range(0, max(count, 1), size))


def give_back() -> None:
    """Give unused memory back, which Arrow keeps for its next table: what comes next needs it for
    Polars, or in another process.
    """
    pa.default_memory_pool().release_unused()
