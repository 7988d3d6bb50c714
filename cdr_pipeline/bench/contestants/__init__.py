"""The contestants: ways to load a vendor's calls into Parquet. `contest` runs each in a process of
its own.

A module has `load(job)`, which is measured and may return figures of its own, and `written(folder,
keys)`, which returns what it wrote, for `truth`. `prepare(job)`, if there is one, runs first and is
not measured. The docstring says which settings were tried; the benchmark prints it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from cdr_pipeline.bench.calls import FIELDS


@dataclass(frozen=True)
class Job:
    """What a contestant is asked to do: fetch these days from `url`, write below `folder`.

    variant: the contestant's name for other settings than the best known ones.
    frame: Parquet of the finished calls, for the floor, which only writes them.
    days_per_run: how many days one Dagster run takes; 0 for all.
    """

    url: str
    folder: Path
    days: tuple[date, ...]
    variant: str = ""
    frame: str = ""
    page_size: int = 1000
    days_per_run: int = 0


@dataclass(frozen=True)
class Written:
    """What a contestant wrote: the columns that hold a field or a key, of which one has a value.

    raw: columns of JSON text, whose values are typed by what the text is.
    """

    frame: pl.DataFrame
    fields: Mapping[str, Sequence[str]]
    keys: Mapping[str, Sequence[str]]
    raw: Sequence[str] = ()


def named(frame: pl.DataFrame) -> dict[str, list[str]]:
    """The documented fields under their own names, as far as there are such columns."""
    fields = (name for name in FIELDS if name != "additional")
    return {name: [name] if name in frame.columns else [] for name in fields}
