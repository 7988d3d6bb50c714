"""The commands, as far as a test may go that asserts no time."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from cdr_pipeline.bench import aggregates, cli

#: A command says for all of its process that no proxy is to be asked: so for as long as it works.
type_ = partial(CliRunner(env={"no_proxy": None}).invoke, cli.main)


def test_nobody_asks_a_proxy_for_loopback() -> None:
    """In a process of its own: Python keeps the proxies of the first question of all."""
    command = [sys.executable, "-c", "from cdr_pipeline.bench.cli import main; main()", "load"]
    size = ["--records", "50", "--latency", "0", "--repeat", "1", "--only", "naive"]
    dead = os.environ | {"http_proxy": "http://127.0.0.1:9"}
    done = subprocess.run([*command, *size], env=dead, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_aggregates_are_told_beside_the_loading_of_their_days(tmp_path: Path) -> None:
    (share,) = aggregates.shares(tmp_path, [50], days=2, repeat=1, seed=1)
    assert (share.records, share.days) == (50, 2)
    assert share.loading > 0 < share.aggregates
    assert share.peak >= share.loading_peak > 0


def test_a_backfill_is_told_by_a_plain_loop_and_through_dagster() -> None:
    arguments = ["backfill", "--days", "3", "--calls", "50", "--days-per-run", "2"]
    result = type_(arguments)
    assert result.exit_code == 0, result.output
    assert "3 days of 50 calls" in result.output
    for line in ("a plain loop", "Dagster, 2 runs", "Dagster's part"):
        assert line in result.output


@pytest.mark.parametrize("arguments", [["--only", "nobody"], ["--latency", "fast"]])
def test_what_cannot_be_measured_is_said_before_anything_is_made(arguments: list[str]) -> None:
    result = type_(["load", *arguments])
    assert result.exit_code == 2
    assert arguments[1] in result.output
