"""What the commands share."""

import os
from pathlib import Path

import pytest
from rich.console import Console

from cdr_pipeline.cli import shared


def test_the_bar_moves_while_stderr_is_a_file_of_dagsters(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It stood at none of the days until the last one was loaded."""
    ours, terminal = os.openpty()
    with os.fdopen(terminal, "w", encoding="utf-8") as stderr, (tmp_path / "log").open("w") as log:
        monkeypatch.setattr(shared, "err", Console(file=stderr, width=80))
        with shared.progress() as bar:
            task = bar.add_task("Starting", total=2)
            kept = os.dup(terminal)
            os.dup2(log.fileno(), terminal)  # as Dagster does
            bar.update(task, advance=1, description="Loaded", refresh=True)
            os.dup2(kept, terminal)
            os.close(kept)
        shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "Loaded" in shown
    assert "1/2" in shown
    assert not (tmp_path / "log").read_text()
