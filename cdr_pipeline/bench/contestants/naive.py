"""The script that one would write first: httpx, a list of all records, `pl.from_dicts`, Parquet.

Each key of the lead lists becomes a column. The schema is inferred from every record: otherwise
late keys would be lost. Tried: `naive:struct` keeps `additional` as one column and infers the
schema from the first 100 records: a third less CPU, no columns of keys, no late keys. It also has
to remove `additional` where this is not an object: Polars refuses a column of objects and "".
"""

from pathlib import Path
from typing import Any

import httpx
import polars as pl

from cdr_pipeline.bench.contestants import Job, Written, named


def load(job: Job) -> None:
    """Load all days into one file."""
    records: list[dict[str, Any]] = []
    with httpx.Client(base_url=job.url, headers={"Authorization": "Bearer bench"}) as client:
        for day in job.days:
            received, total = 0, 1
            while received < total:
                query: dict[str, str | int] = {
                    "start_date": f"{day}",
                    "end_date": f"{day}",
                    "limit": job.page_size,
                }
                page = client.get("/v3/cdr", params=query | {"offset": received}).json()
                received, total = received + len(page["data"]), page["total"]
                records += page["data"]
    if job.variant == "struct":
        for record in records:
            record["additional"] = record.get("additional") or None
        frame = pl.from_dicts(records)
    else:
        frame = pl.from_dicts(map(_flat, records), infer_schema_length=None)
    frame.write_parquet(job.folder / "calls.parquet")


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    spread = record.pop("additional", None) or {}
    return record | {f"additional.{key}": value for key, value in spread.items()}


def written(folder: Path, keys: list[str]) -> Written:
    """A column a key; or a struct, which becomes that."""
    frame = pl.read_parquet(folder / "calls.parquet")
    if "additional" in frame.columns:
        spread = frame.get_column("additional").struct.unnest()
        frame = frame.hstack(spread.rename(lambda key: f"additional.{key}"))
    return Written(frame, named(frame), {key: [f"additional.{key}"] for key in keys})
