"""The commands of `cdr-pipeline-bench`."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from cdr_pipeline.bench import aggregates as counting
from cdr_pipeline.bench import backfill as filling
from cdr_pipeline.bench import calls
from cdr_pipeline.bench import growth as growing
from cdr_pipeline.bench import load as loading
from cdr_pipeline.bench import read as reading
from cdr_pipeline.settings import Settings

#: Figures are never cut: a table of eleven with their spreads is wider than most terminals.
out = Console(width=max(Console().width, 150))
err = Console(stderr=True)

_seed = click.option("--seed", default=1, show_default=True, help="Another seed, other calls.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Measure on this machine what loading and reading cost, here and with other tools.

    \b
    Loading, against dlt and others:   cdr-pipeline-bench load --records 1000000
    Loading more and more:             cdr-pipeline-bench growth
    Aggregates beside loading:         cdr-pipeline-bench aggregates
    Dagster's part of a backfill:      cdr-pipeline-bench backfill
    Reading a year:                    cdr-pipeline-bench read

    Requests go to loopback only. Files are in a temporary folder, which is removed. CPU seconds are
    user and system time of a process and its children.
    """
    os.environ["no_proxy"] = "*"  # for the contestants, too: a proxy cannot reach our loopback


@contextmanager
def _folder() -> Iterator[Path]:
    """A temporary folder for one command. A RuntimeError is shown as its message alone."""
    with tempfile.TemporaryDirectory(prefix="cdr-bench-", ignore_cleanup_errors=True) as folder:
        try:
            yield Path(folder)
        except RuntimeError as error:
            raise click.ClickException(str(error)) from None


@main.command()
@click.option("--records", default=100_000, show_default=True, help="Calls of the one day.")
@click.option(
    "--latency",
    type=float,
    multiple=True,
    default=[0, 20],
    show_default=True,
    help="Milliseconds; again for another.",
)
@click.option("--repeat", type=click.IntRange(1), default=3, show_default=True)
@click.option(
    "--only",
    default=",".join(loading.CONTESTANTS),
    show_default=True,
    help="Contestants; `dlt:defaults` and `naive:struct` are the same with other settings.",
)
@_seed
def load(records: int, latency: tuple[float, ...], repeat: int, only: str, seed: int) -> None:
    """Load one day with this pipeline and with others.

    The others are dlt, a naive script, and the floor (the least that anyone can do). Each runs in a
    process of its own, in turn, and its output is compared with what was sent, value by value.
    Pages have 1,000 records; there is no budget of requests.
    """
    contestants = only.split(",")
    for name in contestants:
        if loading.module_of(name) not in map(loading.module_of, loading.CONTESTANTS):
            raise click.BadParameter(f"There is no {name}.", param_hint="--only")
    with _folder() as folder, err.status("Making up calls") as status:
        corpus = calls.make(folder / "corpus", records, seed=seed)
        status.update("The frame for the floor" if "floor" in contestants else "Loading")
        runs: list[loading.Run] = []
        for run in loading.compare(corpus, folder, contestants, latency, repeat):
            runs.append(run)
            status.update(f"{run.contestant} at {run.latency_ms:g} ms: {run.cost.cpu:.1f} CPU s")
    for one in latency:
        out.print(loading.table(runs, one, records))
    for name in dict.fromkeys(map(loading.module_of, contestants)):
        out.print(Text.from_markup(f"[bold]{name}[/]: {loading.tried(name)}\n"))


@main.command()
@click.option("--top", default=1_000_000, show_default=True, help="Calls a day at the most.")
@click.option(
    "--axis", type=click.Choice(list(growing.axes(1))), multiple=True, help="All, if none."
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw it here: .svg, .png or .html.",
)
@click.option("--latency", default=0.0, show_default=True, help="Milliseconds.")
@_seed
def growth(top: int, axis: tuple[str, ...], plot: Path | None, latency: float, seed: int) -> None:
    """Load more and more: calls a day, days, keys of the lead lists, campaigns.

    3,000,000 calls a day take about 4 GB of disk, and of memory for the page cache.
    """
    points: list[growing.Point] = []
    with _folder() as folder, err.status("Loading") as status:
        for name, sizes in growing.axes(top).items():
            if axis and name not in axis:
                continue
            for point in growing.grow(folder, name, sizes, seed, latency):
                points.append(point)
                status.update(f"{name}: {point.at:,} in {point.cost.cpu:.1f} CPU s")
    if plot:
        growing.plot(points, plot)
    out.print(growing.table(points))


@main.command()
@click.option(
    "--records",
    type=int,
    multiple=True,
    default=[100_000, 1_000_000],
    show_default=True,
    help="Calls a day; again for another size.",
)
@click.option("--days", type=click.IntRange(1), default=1, show_default=True)
@click.option("--repeat", type=click.IntRange(1), default=3, show_default=True)
@_seed
def aggregates(records: tuple[int, ...], days: int, repeat: int, seed: int) -> None:
    """Measure what a day's aggregates cost, compared with loading it.

    Loading is everything from the first request to `cdrs`.
    """
    shares: list[counting.Share] = []
    with _folder() as folder, err.status("Loading") as status:
        for share in counting.shares(folder, records, days, repeat, seed):
            shares.append(share)
            status.update(f"{share.records:,} calls: {share.ratio:.1%}")
    out.print(counting.table(shares))


@main.command()
@click.option("--days", type=click.IntRange(1), default=365, show_default=True)
@click.option("--calls", "records", default=1_000, show_default=True, help="Calls a day.")
@click.option(
    "--days-per-run",
    type=click.IntRange(0),
    default=Settings.model_fields["days_per_run"].default,
    show_default=True,
    help="CDR_DAYS_PER_RUN; 0 for all.",
)
@click.option("--live", is_flag=True, help="Launch it in Dagster's UI, too, for its daemon to run.")
@_seed
def backfill(days: int, records: int, days_per_run: int, live: bool, seed: int) -> None:
    """Measure what Dagster adds to a backfill.

    A plain loop and Dagster load the same days. Dagster's runs follow one another in one process.
    With `--live`, Dagster's daemon loads them as well: it starts a process for each run, two at the
    same time, and needs up to 30 s to start the first and to notice the end.
    """
    with _folder() as folder, err.status(f"Loading {days:,} days, again and again"):
        table = filling.compare(folder, days, records, days_per_run, seed, live=live)
    out.print(table)


@main.command()
@click.option("--days", default=365, show_default=True)
@click.option("--records", default=50_000, show_default=True, help="Calls a day.")
@_seed
def read(days: int, records: int, seed: int) -> None:
    """Query a year of calls, through our readers and directly.

    Compares `scan` and the DuckDB views with the same files read as they are. The year is made from
    one day that is really loaded: 50,000 calls on 365 days take some minutes and 2 GB.
    """
    with _folder() as folder, err.status("Making up a year") as status:
        store = reading.make(folder, days, records, seed)
        status.update("Asking")
        opened = reading.opening(store)
        answers = reading.ask(store.root, days)
    table = reading.table(answers, days, records)
    table.caption = "\n".join(f"{name}: {1000 * took:.0f} ms" for name, took in opened.items())
    out.print(table)
