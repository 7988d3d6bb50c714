"""What the aggregates of a day cost, compared with loading it (first request to `cdrs`)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from cdr_pipeline.bench import calls
from cdr_pipeline.bench.contest import measure
from cdr_pipeline.bench.contestants import Job
from cdr_pipeline.bench.load import empty_table, first_days, fresh, warm
from cdr_pipeline.bench.server import serving


@dataclass(frozen=True)
class Share:
    """One run: CPU seconds, and the most bytes of memory.

    peak: of the whole run. loading_peak: until `cdrs` of the last day was written.
    """

    records: int
    days: int
    loading: float
    aggregates: float
    peak: int
    loading_peak: float

    @property
    def ratio(self) -> float:
        """CPU time of the aggregates, divided by that of loading."""
        return self.aggregates / self.loading


def shares(
    folder: Path, sizes: Iterable[int], days: int, repeat: int, seed: int
) -> Iterator[Share]:
    """Load `days` days of each size without latency, `repeat` times."""
    warm(folder, ["layers"])
    for records in sizes:
        corpus = calls.make(fresh(folder / "corpus"), records, days=days, seed=seed)
        with serving(corpus) as server:
            for _ in range(repeat):
                job = Job(server.url, fresh(folder / "run"), first_days(days))
                cost = measure("layers", job)
                yield Share(records, days, peak=cost.peak, **cost.told)


def table(shares: Sequence[Share]) -> Table:
    """One line a run."""
    shown = empty_table(
        *("calls a day", "days", "loading, CPU s", "aggregates, CPU s", "ratio"),
        *("peak MB", "of loading alone"),
        title="Aggregates",
        words=0,
    )
    for one in shares:
        shown.add_row(
            f"{one.records:,}",
            f"{one.days:,}",
            f"{one.loading:.2f}",
            f"{one.aggregates:.2f}",
            f"{one.ratio:.1%}",
            f"{one.peak / 1e6:.0f}",
            f"{one.loading_peak / 1e6:.0f}",
        )
    return shown
