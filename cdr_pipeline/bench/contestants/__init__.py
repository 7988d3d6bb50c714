"""Ways to bring a vendor's calls into Parquet; each is run by `contest` in a process of its own.

A module has `load(job)`, which is measured; `prepare(job)`, if it is there, is not. `tried()` says
which of its settings were tried and which are used.
"""

from dataclasses import dataclass
from datetime import date
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """What a contestant is asked to do: fetch these days from `url`, write below `folder`.

    frame: a Parquet file of the calls as they should come out, for those who need not work it out.
    """

    url: str
    folder: Path
    days: tuple[date, ...]
    frame: Path | None = None
    page_size: int = 1000
    connections: int = 4
