"""`simulate`: a server until it is interrupted."""

import signal
import subprocess
import sys
from pathlib import Path

from cdr_pipeline_tests.cli.typed import Type


def test_an_unknown_fault_is_answered_with_the_known_ones(type_: Type) -> None:
    done = type_("simulate", "--chaos", "locusts")
    assert done.exit_code == 2
    assert "drift" in done.output


def test_simulate_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from cdr_pipeline.cli import program; program()", "simulate"]
    with subprocess.Popen(
        [*command, "--port", "0", "--token", "[/t]"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    ) as process:
        assert process.stderr is not None
        assert "Serving" in process.stderr.readline()
        assert process.stderr.readline().endswith(" CDR_API_TOKEN=[/t]\n")  # exactly as typed
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) in (0, 1, -signal.SIGINT)
