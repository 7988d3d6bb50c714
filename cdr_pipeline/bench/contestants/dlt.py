"""dlt's `rest_api` source to Parquet, with its `filesystem` destination.

Used: no compression of intermediate files, no `iso_timestamp` detection (together a third less CPU
than the defaults, and times stay as sent), `max_table_nesting` 2. `dlt:defaults` uses none of
these. Tried without gain on two cores: two normalize workers over files of 20,000 records (more
CPU), buffers of 1,000 and 50,000 items, `additional` declared as json and kept whole. dlt requests
one page after the other: `parallelized` works over resources, not over pages.
"""

import os
from pathlib import Path
from typing import Any, Final

import dlt
import polars as pl
from dlt.common.normalizers.naming.snake_case import NamingConvention
from dlt.destinations import filesystem
from dlt.sources.rest_api import rest_api_source

from cdr_pipeline.bench.contestants import Job, Written, named

_QUICKER: Final = {
    "NORMALIZE__DATA_WRITER__DISABLE_COMPRESSION": "true",
    "SOURCES__DATA_WRITER__DISABLE_COMPRESSION": "true",
}


def load(job: Job) -> None:
    """Load each day as a resource, all into the table `cdrs`."""
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    if job.variant != "defaults":
        os.environ |= _QUICKER
    source = rest_api_source(
        {
            "client": {"base_url": job.url, "auth": {"type": "bearer", "token": "bench"}},
            "resources": [_resource(job, f"{day}") for day in job.days],
        }
    )
    if job.variant != "defaults":
        source.schema.remove_type_detection("iso_timestamp")
    pipeline = dlt.pipeline(
        "bench",
        pipelines_dir=str(job.folder / "working"),
        destination=filesystem(bucket_url=(job.folder / "data").as_uri()),
        dataset_name="calls",
    )
    pipeline.run(source, loader_file_format="parquet")


def _resource(job: Job, day: str) -> Any:
    resource: dict[str, Any] = {
        "name": f"cdrs_{day}",
        "table_name": "cdrs",
        "write_disposition": "append",
        "endpoint": {
            "path": "v3/cdr",
            "params": {"start_date": day, "end_date": day},
            "data_selector": "data",
            "paginator": {
                "type": "offset",
                "limit": job.page_size,
                "offset": 0,
                "total_path": "total",
            },
        },
    }
    if job.variant != "defaults":
        resource["max_table_nesting"] = 2
    return resource


def written(folder: Path, keys: list[str]) -> Written:
    """`additional__<name>`; `__v_` columns for its further types, more columns for an object."""
    files = sorted((folder / "data" / "calls" / "cdrs").glob("*.parquet"))
    frame = pl.concat([pl.read_parquet(file) for file in files], how="diagonal_relaxed")
    name_of = NamingConvention()
    columns = {}
    for key in keys:
        name = name_of.normalize_path(f"additional__{key}")
        spread = [c for c in frame.columns if c.startswith(f"{name}__") and "__v_" not in c]
        if spread:
            there = pl.any_horizontal(pl.col(spread).is_not_null())
            frame = frame.with_columns(pl.when(there).then(pl.struct(spread)).alias(name))
        columns[key] = _variants(frame, name)
    fields = {name: _variants(frame, name) for name in named(frame)}
    return Written(frame, fields, columns)


def _variants(frame: pl.DataFrame, name: str) -> list[str]:
    return [c for c in frame.columns if c == name or c.startswith(f"{name}__v_")]
