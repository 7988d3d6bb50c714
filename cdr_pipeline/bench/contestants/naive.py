"""The script that is written first: httpx, every record in a list, `pl.from_dicts`, `write_parquet`.

It has to say `or None` of `additional`: Polars refuses a column of objects and "". Tried: `careful`
looks at every record for the schema (`infer_schema_length=None`), so late keys stay, at more cost.
"""

from pathlib import Path
from typing import Any

import httpx
import polars as pl

from cdr_pipeline.bench.contestants import Job, Written, named


def load(job: Job) -> None:
    """All days in one file, as they came."""
    records: list[dict[str, Any]] = []
    with httpx.Client(base_url=job.url, headers={"Authorization": "Bearer bench"}) as client:
        for day in job.days:
            received, total = 0, 1
            while received < total:
                query = {"start_date": f"{day}", "end_date": f"{day}", "limit": job.page_size}
                page = client.get("/v3/cdr", params=query | {"offset": received}).json()
                received, total = received + len(page["data"]), page["total"]
                records += page["data"]
    for record in records:
        record["additional"] = record.get("additional") or None
    known = None if job.variant == "careful" else 100
    frame = pl.from_dicts(records, infer_schema_length=known)
    frame.write_parquet(job.folder / "calls.parquet")


def written(folder: Path, keys: list[str]) -> Written:
    """The lists' keys are the fields of a struct."""
    frame = pl.read_parquet(folder / "calls.parquet")
    spread = frame.get_column("additional").struct.unnest()
    spread = spread.rename(lambda key: f"additional.{key}")
    return Written(frame.hstack(spread), named(frame), {key: [f"additional.{key}"] for key in keys})
