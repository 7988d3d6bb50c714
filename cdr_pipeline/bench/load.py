"""What it costs to load days: contestants in turn, again and again, against one server."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final

from cdr_pipeline.bench.calls import DAY, Corpus
from cdr_pipeline.bench.contest import Cost, measure
from cdr_pipeline.bench.contestants import Job
from cdr_pipeline.bench.server import serving

CONTESTANTS: Final = ("ours", "dlt", "naive", "floor")


@dataclass(frozen=True)
class Run:
    """One contestant's one run at one latency."""

    contestant: str
    latency_ms: float
    cost: Cost
    server_cpu: float
    requests: int
    received: int
    wrong: dict[str, int] | None = None


def frame_of(corpus: Corpus, folder: Path, days: int) -> Path:
    """The calls as they should be written, for those who need not work them out."""
    with serving(corpus) as server:
        measure("ours", _job(server.url, folder / "frame", days))
    return folder / "frame" / "data" / "cdrs"


def _job(url: str, folder: Path, days: int, frame: Path | None = None) -> Job:
    return Job(url, folder, tuple(DAY + timedelta(days=n) for n in range(days)), frame)


def compare(
    corpus: Corpus,
    folder: Path,
    contestants: Sequence[str],
    latencies_ms: Iterable[float],
    repeat: int,
    *,
    days: int = 1,
    on_run: Callable[[Run], None] = lambda _: None,
) -> list[Run]:
    """Every contestant `repeat` times at each latency, one after the other in turn."""
    frame = frame_of(corpus, folder, days) if "floor" in contestants else None
    runs = []
    for latency in latencies_ms:
        with serving(corpus, latency / 1000) as server:
            for _ in range(repeat):
                for name in contestants:
                    target = folder / name
                    shutil.rmtree(target, ignore_errors=True)
                    before = server.cost()
                    cost = measure(name, _job(server.url, target, days, frame))
                    spent = {key: value - before[key] for key, value in server.cost().items()}
                    run = Run(name, latency, cost, spent["cpu"], spent["requests"], spent["bytes"])
                    runs.append(run)
                    on_run(run)
    return runs
