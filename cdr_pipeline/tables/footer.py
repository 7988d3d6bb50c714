"""What the footer of a partition's file tells, read once for as long as it is the same file."""

import base64
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from cdr_pipeline.record import RULES
from cdr_pipeline.tables.arrow import naming_damage
from cdr_pipeline.tables.contract import MARK, NO_MARK
from cdr_pipeline.tables.types import free_type

#: Under this name a file says which fetch of its day it was made of: when that was finished.
FETCHED: Final = "cdr_fetched"

#: Under this name what is made of `cdrs` says what those were made by.
CALLS: Final = "cdr_calls"

#: Under this name `cdrs` say by which version of our rules they were made; nothing where there was
#: none yet.
MADE_BY_RULES: Final = "cdr_rules"

#: All of a call's times are in one zone.
_BEGAN: Final = "time_started"

#: Under this name PyArrow and Polars keep a file's schema as they know it, and it is read in a
#: fifth of the time that Parquet's own takes.
_SCHEMA: Final = "ARROW:schema"


class MadeBy(NamedTuple):
    """What calls were made by: of the same pages and by equal ones come equal files.

    contract: its mark. zone: that of the times. rules: their version (`record.RULES`).
    """

    contract: str
    zone: str | None
    rules: int = RULES

    def __str__(self) -> str:
        by = f" by rules {self.rules}" if self.rules else ""
        return f"{self.contract} in {self.zone}{by}"


@dataclass(frozen=True)
class Footer:
    """What a file says of itself.

    columns: each column whose name may be a free one's -> the lead list's keys behind it; none
        behind a dataset's own.
    made_by: what its calls were made by.
    fetched: the fetch that it was made of; calls: what the `cdrs` that it was made of were made by.
        None where the file does not say.
    """

    columns: dict[str, tuple[str, ...]]
    made_by: MadeBy
    fetched: str | None
    calls: str | None


def footer(path: Path) -> Footer:
    """The footer of a file. Raises Damaged."""
    stat = path.stat()
    with naming_damage(path):
        return _footer(path, stat.st_mtime_ns, stat.st_size)


def keys_behind(paths: Iterable[Path]) -> dict[str, set[str]]:
    """The keys behind each column of the lead list in some files. Raises Damaged."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        for name, keys in footer(path).columns.items():
            if keys:
                found[name].update(keys)
    return found


@lru_cache(maxsize=20_000)
def _footer(path: Path, _mtime_ns: int, _size: int) -> Footer:
    about = pl.read_parquet_metadata(path)
    schema = about.get(_SCHEMA)
    columns, zone = _told(pq.read_schema(path)) if schema is None else _embedded(schema)
    made_by = MadeBy(about.get(MARK, NO_MARK), zone, int(about.get(MADE_BY_RULES, 0)))
    return Footer(columns, made_by, about.get(FETCHED), about.get(CALLS))


@lru_cache(maxsize=1_000)
def _embedded(schema: str) -> tuple[dict[str, tuple[str, ...]], str | None]:
    """Most days have the columns of another day."""
    return _told(pa.ipc.read_schema(pa.BufferReader(base64.b64decode(schema))))


def _told(schema: pa.Schema) -> tuple[dict[str, tuple[str, ...]], str | None]:
    """Columns as in `Footer`, and the zone of its calls' times."""
    columns = {
        field.name: tuple(json.loads((field.metadata or {}).get(b"keys", b"[]")))
        for field in schema
        if free_type(field.name)
    }
    began = schema.field(_BEGAN).type if _BEGAN in schema.names else None
    return columns, getattr(began, "tz", None)
