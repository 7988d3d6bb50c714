"""The benchmark's commands, except the times that they measure."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from cdr_pipeline.bench import aggregates, cli

#: A command sets `no_proxy` in its process's environment; CliRunner restores it afterwards.
type_ = partial(CliRunner(env={"no_proxy": None}).invoke, cli.main)


def test_no_proxy_is_used_for_loopback() -> None:
    """This runs in another process: Python keeps the proxies that it found at the first request."""
    command = [sys.executable, "-c", "from cdr_pipeline.bench.cli import main; main()", "load"]
    size = ["--records", "50", "--latency", "0", "--repeat", "1", "--only", "naive"]
    dead = os.environ | {"http_proxy": "http://127.0.0.1:9"}
    done = subprocess.run([*command, *size], env=dead, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_cost_of_aggregates_is_measured_beside_that_of_loading(tmp_path: Path) -> None:
    (share,) = aggregates.shares(tmp_path, [50], days=2, repeat=1, seed=1)
    assert (share.records, share.days) == (50, 2)
    assert share.loading > 0 < share.aggregates
    assert share.peak >= share.loading_peak > 0


def test_a_backfill_is_measured_in_a_plain_loop_and_through_dagster() -> None:
    arguments = ["backfill", "--days", "3", "--calls", "50", "--days-per-run", "2"]
    result = type_(arguments)
    assert result.exit_code == 0, result.output
    assert "3 days of 50 calls" in result.output
    for line in ("a plain loop", "Dagster, 2 runs", "Dagster's part"):
        assert line in result.output


@pytest.mark.parametrize("arguments", [["--only", "nobody"], ["--latency", "fast"]])
def test_wrong_arguments_are_refused_before_anything_is_made(arguments: list[str]) -> None:
    result = type_(["load", *arguments])
    assert result.exit_code == 2
    assert arguments[1] in result.output
