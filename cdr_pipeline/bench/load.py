"""What it costs to load a day: the contestants take turns, several times, against one server."""

import ast
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from itertools import product
from pathlib import Path
from statistics import median
from typing import Final

from rich.table import Table

from cdr_pipeline.bench.calls import DAY, Corpus, make
from cdr_pipeline.bench.contest import Cost, apart, measure
from cdr_pipeline.bench.contestants import Job
from cdr_pipeline.bench.server import Serving, serving
from cdr_pipeline.bench.truth import Verdict, judge

CONTESTANTS: Final = ("ours", "dlt", "dlt:defaults", "naive", "floor")

#: The contestant whose output is not judged: it writes the frame that it was given.
_UNJUDGED: Final = "floor"


@dataclass(frozen=True)
class Run:
    """One run of a contestant. `verdict`: of its first run at each latency, else None."""

    contestant: str
    latency_ms: float
    cost: Cost
    server_cpu: float
    verdict: Verdict | None


def compare(
    corpus: Corpus,
    folder: Path,
    contestants: Sequence[str],
    latencies_ms: Iterable[float],
    repeat: int,
) -> Iterator[Run]:
    """Run every contestant `repeat` times at each latency; the contestants take turns."""
    warm(folder, contestants)
    frame = frame_of(corpus, folder) if "floor" in contestants else ""
    for latency in latencies_ms:
        with serving(corpus, latency / 1000) as server:
            for turn, name in product(range(repeat), contestants):
                module, job = module_of(name), _job(name, server, folder, frame)
                before = server.cost()["cpu"]
                cost = measure(module, job)
                server_cpu = server.cost()["cpu"] - before
                judged = turn == 0 and module != _UNJUDGED
                # In another process, so that this one stays small.
                verdict = apart(judge, module, job.folder, corpus) if judged else None
                yield Run(name, latency, cost, server_cpu, verdict)


def frame_of(corpus: Corpus, folder: Path) -> str:
    """A folder of the day's calls as this pipeline writes them, for the floor and for `read`."""
    target = fresh(folder / "frame")
    with serving(corpus) as server:
        measure("ours", Job(server.url, target, (DAY,)))
    return str(target / "data" / "cdrs")


def warm(folder: Path, contestants: Iterable[str]) -> None:
    """Let each contestant load a few calls, not measured: a first import compiles modules."""
    few = make(fresh(folder / "few"), 100)
    frame = frame_of(few, folder) if "floor" in contestants else ""
    with serving(few) as server:
        for name in contestants:
            measure(module_of(name), _job(name, server, folder, frame))


def module_of(contestant: str) -> str:
    """The module of a contestant: `dlt` for `dlt:defaults`, which only has other settings."""
    return contestant.partition(":")[0]


def _job(contestant: str, server: Serving, folder: Path, frame: str) -> Job:
    """The job to load the day into a new folder."""
    variant = contestant.partition(":")[2]
    return Job(server.url, fresh(folder / "run"), (DAY,), variant, frame)


def first_days(count: int) -> tuple[date, ...]:
    """The days of a corpus."""
    return tuple(DAY + timedelta(days=n) for n in range(count))


def fresh(folder: Path) -> Path:
    """The folder, after the files of an earlier run are deleted."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def empty_table(*columns: str, title: str, words: int = 1) -> Table:
    """A table without rows: `words` columns of text, then columns of figures, aligned right."""
    shown = Table(*columns, title=title)
    for column in shown.columns[words:]:
        column.justify = "right"
    return shown


def tried(contestant: str) -> str:
    """The docstring of a contestant's module: what settings were tried. Imports nothing."""
    module = Path(__file__).with_name("contestants") / f"{module_of(contestant)}.py"
    return ast.get_docstring(ast.parse(module.read_text())) or ""


def table(runs: Sequence[Run], latency_ms: float, records: int) -> Table:
    """The runs at one latency: medians, the least and the greatest, and ratios to ours.

    A ratio compares two runs of the same turn.
    """
    shown = empty_table(
        *("", "CPU s", "of it start", "x ours", "wall s", "x ours", "calls/s", "peak MB"),
        *("written MB", "wrong values", "server CPU s"),
        title=f"{records:,} calls, {latency_ms:g} ms",
    )
    turns: dict[str, list[Run]] = {}
    for run in runs:
        if run.latency_ms == latency_ms:
            turns.setdefault(run.contestant, []).append(run)
    for name, own in turns.items():
        costs = [run.cost for run in own]
        beside = [run.cost for run in turns.get("ours", [])]
        pairs = list(zip(costs, beside, strict=False))
        shown.add_row(
            name,
            spread((cost.cpu for cost in costs), ".1f"),
            f"{median(cost.start_cpu for cost in costs):.1f}",
            spread((one.cpu / two.cpu for one, two in pairs), ".2f") if pairs else "",
            spread((cost.wall for cost in costs), ".1f"),
            spread((one.wall / two.wall for one, two in pairs), ".2f") if pairs else "",
            f"{records / median(cost.wall for cost in costs):,.0f}",
            spread((cost.peak / 1e6 for cost in costs), ".0f"),
            f"{median(cost.written for cost in costs) / 1e6:.0f}",
            _wrong(own),
            f"{median(run.server_cpu for run in own):.2f}",
        )
    return shown


def spread(figures: Iterable[float], form: str) -> str:
    """The median of some figures, the least and the greatest: `10.1 (9.8-10.7)`; the median alone
    if that is all there is.
    """
    known = sorted(figures)
    middle, least, most = (format(one, form) for one in (median(known), known[0], known[-1]))
    return middle if least == most else f"{middle} ({least}-{most})"


def _wrong(runs: Sequence[Run]) -> str:
    verdict = next((run.verdict for run in runs if run.verdict), None)
    if verdict is None:
        return ""
    _, *kinds = asdict(verdict).items()
    told = ", ".join(f"{count:,} {kind}" for kind, count in kinds if count)
    return f"{verdict.wrong:,} of {verdict.values:,}" + (f"\n{told}" if told else "")
