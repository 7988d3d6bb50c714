"""`ui`: Dagster ends with the command that started it, and a home has one `ui`."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cdr_pipeline.cli.ui import only_one_in
from cdr_pipeline.errors import CdrError

#: Stands in for Dagster: a process and its daemon. It prints "begun", and ends only by SIGINT.
DAGSTER = f"""#!{sys.executable}
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
ready, tell = os.pipe()
daemon = os.fork() == 0
try:
    if daemon:
        os.write(tell, b".")
    else:
        os.read(ready, 1)  # the daemon is where a SIGINT makes it print
        open(__file__ + ".pid", "w").write(str(os.getpid()))
        print("begun", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    if daemon:
        print("the daemon ends", flush=True)
    raise SystemExit(7)
"""

UI = """
import signal, sys
from pathlib import Path
from cdr_pipeline.cli.ui import dagster_dev, only_one_in

signal.signal(signal.SIGHUP, signal.SIG_IGN if sys.argv[2:] else signal.SIG_DFL)
sys.executable = sys.argv[1]
with only_one_in(Path(sys.executable).parent) as held:
    sys.exit(dagster_dev(3000, held=[held]))
"""


@contextmanager
def begun(tmp_path: Path, *besides: str) -> Iterator[subprocess.Popen[str]]:
    """The running command, after Dagster has begun."""
    dagster = tmp_path / "dagster"
    dagster.write_text(DAGSTER)
    dagster.chmod(0o700)
    command = [sys.executable, "-c", UI, f"{dagster}", *besides]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "begun\n"
        yield process


def dagster_in(tmp_path: Path) -> int:
    """The process id of the stand-in for Dagster."""
    return int((tmp_path / "dagster.pid").read_text())


@pytest.mark.parametrize("one", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_the_command_ends_dagster(tmp_path: Path, one: signal.Signals) -> None:
    """After a terminal was closed, the daemon ran on and its port stayed taken."""
    with begun(tmp_path) as process:
        process.send_signal(one)
        assert process.wait(timeout=20) == 7


def test_under_nohup_dagster_outlives_the_terminal(tmp_path: Path) -> None:
    with begun(tmp_path, "nohup") as process:
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 7


def test_there_is_one_ui_for_a_home(tmp_path: Path) -> None:
    """Two daemons loaded every night twice, and sent each alert twice."""
    raised = pytest.raises(CdrError, match="runs already")
    with only_one_in(tmp_path), raised, only_one_in(tmp_path):
        pass
    with only_one_in(tmp_path):
        pass  # after the first has ended, another may begin


def test_a_home_in_which_no_file_can_be_locked_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Lustre without flock the message was only `Error: Function not implemented.`"""

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", no_locks)
    raised = pytest.raises(CdrError, match=r"ui\.lock cannot be locked: .* Set DAGSTER_HOME to")
    with raised, only_one_in(tmp_path):
        pass


def test_a_dagster_that_outlives_its_command_keeps_its_home(tmp_path: Path) -> None:
    """Only the command was killed, and a second daemon could be started beside the first."""
    with begun(tmp_path) as process:
        process.kill()
        process.wait()
        with pytest.raises(CdrError, match="or the Dagster that it began, runs already"):
            only_one_in(tmp_path).__enter__()
        os.killpg(dagster_in(tmp_path), signal.SIGKILL)


def test_the_daemon_ends_if_dagster_is_killed(tmp_path: Path) -> None:
    """The daemon ran on, and a new `ui` started a second daemon beside it."""
    with begun(tmp_path) as process:
        os.kill(dagster_in(tmp_path), signal.SIGKILL)
        process.wait(timeout=20)
        assert process.stdout
        assert process.stdout.read() == "the daemon ends\n"
