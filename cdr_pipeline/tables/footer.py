"""The footer of a partition's file, read once and cached until the file changes."""

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

#: Footer key: the fetch of the day from which a file was made, as the time at which it finished.
FETCHED: Final = "cdr_fetched"

#: Footer key of files made from `cdrs`: the `MadeBy` of those `cdrs`.
CALLS: Final = "cdr_calls"

#: Footer key of `cdrs`: the version of our rules (`record.RULES`); missing in files that are older
#: than the versions.
MADE_BY_RULES: Final = "cdr_rules"

#: The column that gives the zone of a file: all times of a call are in one zone.
_BEGAN: Final = "time_started"

#: Footer key under which PyArrow and Polars store the Arrow schema; it is read in a fifth of the
#: time of the Parquet schema.
_SCHEMA: Final = "ARROW:schema"


class MadeBy(NamedTuple):
    """By what `cdrs` were made: the same pages and an equal MadeBy give equal files.

    contract: the mark of the contract. zone: of the times. rules: the version (`record.RULES`).
    """

    contract: str
    zone: str | None
    rules: int = RULES

    def __str__(self) -> str:
        by = f" by rules {self.rules}" if self.rules else ""
        return f"{self.contract} in {self.zone}{by}"


@dataclass(frozen=True)
class Footer:
    """The metadata of a file.

    columns: each column whose name can be that of a free column -> the lead list's keys behind it;
        empty for a column of the dataset itself.
    made_by: by what its calls were made.
    fetched: the fetch from which it was made; calls: the `MadeBy` of the `cdrs` from which it was
        made. None if the file does not say.
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
    """`_told` of an embedded schema; cached, since most days have the columns of another day."""
    return _told(pa.ipc.read_schema(pa.BufferReader(base64.b64decode(schema))))


def _told(schema: pa.Schema) -> tuple[dict[str, tuple[str, ...]], str | None]:
    """`columns` as in `Footer`, and the zone of the times."""
    columns = {
        field.name: tuple(json.loads((field.metadata or {}).get(b"keys", b"[]")))
        for field in schema
        if free_type(field.name)
    }
    began = schema.field(_BEGAN).type if _BEGAN in schema.names else None
    return columns, getattr(began, "tz", None)
