"""What Dagster adds to a backfill: a plain loop, Dagster's runs and its daemon load the same days.

Each way loads the days from the same vendor into a folder of its own, and does the same work for
each day: fetch, prove, keep, flatten, check, write, aggregate. Dagster's runs follow one another in
one process; the daemon, which is optional, starts a process for each run, two at the same time.
"""

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


def compare(
    folder: Path, days: int, records: int, days_per_run: int, seed: int, *, live: bool
) -> Table:
    """Load the days once in each way, without latency; `live`: by the daemon as well.

    One line a way. What Dagster writes in addition is its history.
    """
    every = first_days(days)
    runs = len(spans(every, days_per_run))
    warm(folder, ["layers", "ours"])
    corpus = calls.make(folder / "corpus", records, days=days, seed=seed)
    with serving(corpus) as server:

        def cost(name: str) -> Cost:
            return measure(name, Job(server.url, folder / name, every, days_per_run=days_per_run))

        loop, dagster = cost("layers"), cost("ours")
        told = cost("daemon").told if live else None
    shown = empty_table(
        *("", "CPU s", "CPU ms a day", "wall s", "peak MB", "written MB"),
        title=f"{days:,} days of {records:,} calls",
    )
    if told:
        shown.caption = _BY_THE_DAEMON.format(**told)
    for name, one in {"a plain loop": loop, f"Dagster, {runs} runs": dagster}.items():
        shown.add_row(
            name,
            f"{one.cpu:.1f}",
            f"{1000 * one.cpu / days:.0f}",
            f"{one.wall:.1f}",
            f"{one.peak / 1e6:.0f}",
            f"{one.written / 1e6:.1f}",
        )
    shown.add_row("Dagster's part", f"{1 - loop.cpu / dagster.cpu:.0%}")
    return shown
