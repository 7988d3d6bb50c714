"""What Dagster adds to a backfill: the same days by a plain loop, by Dagster's runs, by its daemon.

Each loads the same days from the same vendor, one after another, into a folder of its own, and does
the same work for each: fetch, prove, keep, flatten, check, write, aggregate. The runs follow one
another in one process; the daemon, if it is asked, begins a process for each, two at once.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.table import Table

from cdr_pipeline.bench import calls
from cdr_pipeline.bench.contest import Cost, measure
from cdr_pipeline.bench.contestants import Job
from cdr_pipeline.bench.load import empty_table, first_days, warm
from cdr_pipeline.bench.server import serving
from cdr_pipeline.window import spans

_BY_THE_DAEMON: Final = (
    "by the daemon: {runs} runs, the first after {began:.0f} s, the last done after {ended:.0f} s,"
    " the backfill after {done:.0f} s"
)


@dataclass(frozen=True)
class Backfill:
    """What so many days of so many calls cost. `live`: what `contestants.daemon` told of them."""

    days: int
    records: int
    runs: int
    loop: Cost
    dagster: Cost
    live: dict[str, float] | None


def compare(
    folder: Path, days: int, records: int, days_per_run: int, seed: int, *, live: bool
) -> Backfill:
    """Load them once each way, without latency; by the daemon as well, if it is to be `live`."""
    every = first_days(days)
    runs = len(spans(every, days_per_run))
    warm(folder, ["layers", "ours"])
    corpus = calls.make(folder / "corpus", records, days=days, seed=seed)
    with serving(corpus) as server:

        def cost(name: str) -> Cost:
            return measure(name, Job(server.url, folder / name, every, days_per_run=days_per_run))

        loop, dagster = cost("layers"), cost("ours")
        told = cost("daemon").told if live else None
    return Backfill(days, records, runs, loop, dagster, told)


def table(found: Backfill) -> Table:
    """A line a way; what is written more by Dagster is its history."""
    shown = empty_table(
        *("", "CPU s", "CPU ms a day", "wall s", "peak MB", "written MB"),
        title=f"{found.days:,} days of {found.records:,} calls",
    )
    if found.live:
        shown.caption = _BY_THE_DAEMON.format(**found.live)
    ways = {"a plain loop": found.loop, f"Dagster, {found.runs} runs": found.dagster}
    for name, cost in ways.items():
        shown.add_row(
            name,
            f"{cost.cpu:.1f}",
            f"{1000 * cost.cpu / found.days:.0f}",
            f"{cost.wall:.1f}",
            f"{cost.peak / 1e6:.0f}",
            f"{cost.written / 1e6:.1f}",
        )
    shown.add_row("Dagster's part", f"{1 - found.loop.cpu / found.dagster.cpu:.0%}")
    return shown
