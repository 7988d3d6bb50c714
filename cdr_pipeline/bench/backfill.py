"""What Dagster adds to a backfill: the same days loaded by a plain loop and by runs of Dagster.

    uv run python -m cdr_pipeline.bench.backfill --days 365 --calls 1000 --live

Both load the same days from the same vendor, one day after another, into folders of their own, and
do the same work for each: fetch, prove, keep, flatten, check, write, aggregate. The loop is one
process. Dagster's side does what the daemon does: it plans a run for every CDR_DAYS_PER_RUN days
and has the launcher of `dagster.yaml` start it in a process of its own, events in SQLite. CPU and
wall time are those of all these processes, their start included. The vendor is another process and
answers from memory, so that its cost is in neither.

What the daemon adds beyond that is waiting, and looking whether there is anything to do: up to 30 s
before the first run is launched, and as much until the end is noticed. `--live` has it do so, two
runs at once.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from rich.console import Console
from rich.table import Table
from starlette.types import Message, Receive, Scope, Send

from cdr_pipeline.bench.live import backfill
from cdr_pipeline.record import spans
from cdr_pipeline.settings import Settings
from cdr_pipeline.simulator import Tenant, Vendor, serve
from cdr_pipeline.tables.contract import DATASETS

FIRST_DAY = date(2023, 1, 1)

_TOKEN = "bench"


@dataclass(frozen=True)
class Cost:
    """What processes took, in seconds."""

    cpu: float
    wall: float


@click.command()
@click.option("--days", default=365, show_default=True, type=click.IntRange(min=1))
@click.option("--calls", default=1_000, show_default=True, help="Calls a day.")
@click.option(
    "--days-per-run",
    default=Settings.model_fields["days_per_run"].default,
    show_default=True,
    help="CDR_DAYS_PER_RUN; 0 for all.",
)
@click.option("--live", is_flag=True, help="Launch it in Dagster's UI, too, for its daemon to run.")
def main(days: int, calls: int, days_per_run: int, live: bool) -> None:
    """Load the same days by a plain loop and through Dagster, and compare."""
    out = Console()
    every = [FIRST_DAY + timedelta(days=number) for number in range(days)]
    runs = spans(every, days_per_run)
    with _vendor(calls) as url, TemporaryDirectory(prefix="backfill-") as folder:
        with out.status(f"Asking for {days} days once, so that the vendor knows its answers"):
            _cost("ask", runs, Path(folder, "asked"), url)
        with out.status("A plain loop"):
            loop = _cost("loop", runs, Path(folder, "loop"), url)
        with out.status(f"Dagster, {len(runs)} runs"):
            dagster = _cost("run", runs, Path(folder, "dagster"), url)
        out.print(_table(days, calls, len(runs), loop, dagster))
        out.print(_volume(Path(folder, "dagster"), days))
        if live:
            home = Path(folder, "live")
            environment = _environment(home, url) | {"CDR_DAYS_PER_RUN": str(days_per_run)}
            with out.status("Dagster's daemon"):
                out.print(str(backfill(every, list(DATASETS), environment, home)))


def _table(days: int, calls: int, runs: int, loop: Cost, dagster: Cost) -> Table:
    table = Table("", "CPU s", "wall s", "CPU ms a day", title=f"{days} days of {calls:,} calls")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, cost in {"plain loop": loop, f"Dagster, {runs} runs": dagster}.items():
        a_day = 1000 * cost.cpu / days
        table.add_row(name, f"{cost.cpu:.1f}", f"{cost.wall:.1f}", f"{a_day:.0f}")
    table.add_row("ratio", f"{dagster.cpu / loop.cpu:.2f}", f"{dagster.wall / loop.wall:.2f}", "")
    return table


def _volume(home: Path, days: int) -> str:
    """How much of it Dagster keeps."""
    stored = sum(path.stat().st_size for path in (home / "history").rglob("*.db*"))
    return f"Dagster's history: {stored / days / 1000:.0f} kB a day"


# the two sides, each in processes of its own


def _cost(task: str, runs: Sequence[tuple[date, date]], folder: Path, url: str) -> Cost:
    """What it takes this module, started again, to do `task` for the days of `runs`."""
    environment = _environment(folder, url)
    bounds = [f"{day}" for run in runs for day in run]
    command = [sys.executable, "-m", __spec__.name, task, *bounds]
    start = time.perf_counter()
    with Path(folder, "log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"a process of the measurement failed: {Path(log.name).read_text()}")
    return Cost(usage.ru_utime + usage.ru_stime, time.perf_counter() - start)


def _environment(folder: Path, url: str) -> dict[str, str]:
    """A vendor, and a place for data and history of its own."""
    home = folder / "history"
    home.mkdir(parents=True)
    return os.environ | {
        "CDR_API_BASE_URL": url,
        "CDR_API_TOKEN": _TOKEN,
        "CDR_DATA_DIR": str(folder / "data"),
        "CDR_REQUESTS_PER_SECOND": "0",
        "DAGSTER_HOME": str(home),
    }


def _days(bounds: Sequence[str]) -> list[date]:
    start, end = date.fromisoformat(bounds[0]), date.fromisoformat(bounds[-1])
    return [start + timedelta(days=number) for number in range((end - start).days + 1)]


def ask(*bounds: str) -> None:
    """Prove every day and keep nothing."""
    from cdr_pipeline.api.client import Client
    from cdr_pipeline.api.listing import Lister
    from cdr_pipeline.record import Window

    settings = Settings.load(vendor=True)
    with Client.from_settings(settings) as client, Lister.from_settings(client, settings) as lister:
        for day in _days(bounds):
            lister.prove(Window.of(day), lambda _: None)


def loop(*bounds: str) -> None:
    """Load every day without Dagster."""
    from contextlib import ExitStack

    from cdr_pipeline.assets import aggregates
    from cdr_pipeline.assets.begun import layers
    from cdr_pipeline.assets.daily import lister_for
    from cdr_pipeline.assets.layer import Loading, Work
    from cdr_pipeline.tables.store import Store

    settings = Settings.load(vendor=True)
    store = Store.of(settings)
    with ExitStack() as stack:
        lister = lister_for(stack, settings, Loading(), store)
        for day in _days(bounds):
            with store.locked(day):
                for _ in layers(Work(day, settings, store), set(DATASETS), lister):
                    pass
        for _ in aggregates.of_days_together(settings, store, _days(bounds), set(DATASETS)):
            pass


def run(*bounds: str) -> None:
    """Load the days in runs of Dagster, one after another, each from a first to a last day."""
    from multiprocessing.forkserver import _forkserver

    import dagster as dg
    from dagster._core.definitions.reconstruct import ReconstructableRepository
    from dagster._core.launcher.base import LaunchRunContext

    from cdr_pipeline.home import lasting_home

    lasting_home()
    datasets = frozenset(dg.AssetKey(name) for name in DATASETS)
    code = ReconstructableRepository.for_module("cdr_pipeline.definitions", "defs")
    job = code.get_reconstructable_job("__ASSET_JOB").get_subset(asset_selection=datasets)
    with dg.DagsterInstance.get() as instance:
        for first, last in zip(bounds[::2], bounds[1::2], strict=True):
            launched = instance.create_run_for_job(
                job.get_definition(),
                asset_selection=datasets,
                tags={
                    "dagster/asset_partition_range_start": first,
                    "dagster/asset_partition_range_end": last,
                },
                job_code_origin=job.get_python_origin(),
            )
            instance.run_launcher.launch_run(LaunchRunContext(launched, workspace=None))
            while not (now := instance.get_run_by_id(launched.run_id)) or not now.is_finished:
                time.sleep(0.5)
            if not now.is_success:
                raise SystemExit(f"{first} to {last}: {now.status.value}")
    _forkserver._stop()  # type: ignore[attr-defined]  # noqa: SLF001  its processes count when ended


# a vendor that has its answers ready


@contextmanager
def _vendor(calls: int) -> Iterator[str]:
    """The simulator in a process of its own; its URL."""
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(calls, there), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        here.send("end")
        process.join()


def _serve(calls: int, parent: Connection) -> None:
    with serve(_Remembering(calls)) as running:
        parent.send(running.base_url)
        parent.recv()


class _Remembering(Vendor):
    """A vendor that answers the same question from memory."""

    def __init__(self, calls: int) -> None:
        super().__init__(tenant=Tenant(calls_per_day=calls), token=_TOKEN)
        self._answers: dict[bytes, list[Message]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        question = scope["query_string"]
        if question not in self._answers:
            messages: list[Message] = []

            async def keep(message: Message) -> None:
                messages.append(message)

            await super().__call__(scope, receive, keep)
            self._answers[question] = messages
        for message in self._answers[question]:
            await send(message)


if __name__ == "__main__":
    tasks = {"ask": ask, "loop": loop, "run": run}
    if len(sys.argv) > 3 and sys.argv[1] in tasks:
        tasks[sys.argv[1]](*sys.argv[2:])
    else:
        main()
