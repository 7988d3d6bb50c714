"""`cdr-pipeline-bench`: commands, tables and JSON."""

import tempfile
from pathlib import Path

import click
from rich.console import Console

from cdr_pipeline.bench import calls
from cdr_pipeline.bench import load as loading

out = Console()
err = Console(stderr=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """What loading and reading cost."""


@main.command()
@click.option("--records", default=100_000, show_default=True)
@click.option("--latency", default="0,20", show_default=True, help="Milliseconds, with commas.")
@click.option("--repeat", default=3, show_default=True)
@click.option("--only", default=",".join(loading.CONTESTANTS), show_default=True)
@click.option("--seed", default=1, show_default=True)
def load(records: int, latency: str, repeat: int, only: str, seed: int) -> None:
    """Contestants in turn."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = calls.make(Path(folder) / "corpus", records, seed=seed)
        loading.compare(
            corpus,
            Path(folder),
            only.split(","),
            [float(one) for one in latency.split(",")],
            repeat,
            on_run=lambda run: out.print(run),
        )


if __name__ == "__main__":
    main()
