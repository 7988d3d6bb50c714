"""`ui`: Dagster ends with the command that began it."""

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

#: In place of Dagster: a process and its daemon; says that it has begun, and ends by Ctrl-C alone.
DAGSTER = f"""#!{sys.executable}
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
daemon = os.fork() == 0
try:
    if not daemon:
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
    """The command, once Dagster has begun."""
    dagster = tmp_path / "dagster"
    dagster.write_text(DAGSTER)
    dagster.chmod(0o700)
    command = [sys.executable, "-c", UI, f"{dagster}", *besides]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "begun\n"
        yield process


def dagster_in(tmp_path: Path) -> int:
    """Its process."""
    return int((tmp_path / "dagster.pid").read_text())


@pytest.mark.parametrize("one", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whoever_ends_the_command_ends_dagster(tmp_path: Path, one: signal.Signals) -> None:
    """A terminal was closed: the daemon went on for nobody to end, and its port was taken."""
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
    """Two daemons loaded every night twice, and told of each failure twice."""
    raised = pytest.raises(CdrError, match="runs already")
    with only_one_in(tmp_path), raised, only_one_in(tmp_path):
        pass
    with only_one_in(tmp_path):
        pass  # the first has ended


def test_a_home_where_nothing_can_be_locked_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It read `Error: Function not implemented.`, as of Lustre without flock."""

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", no_locks)
    raised = pytest.raises(CdrError, match=r"ui\.lock cannot be locked: .* Set DAGSTER_HOME to")
    with raised, only_one_in(tmp_path):
        pass


def test_a_dagster_that_outlives_its_command_keeps_its_home(tmp_path: Path) -> None:
    """The command alone was killed, and a second daemon began beside the first."""
    with begun(tmp_path) as process:
        process.kill()
        process.wait()
        with pytest.raises(CdrError, match="or the Dagster that it began, runs already"):
            only_one_in(tmp_path).__enter__()
        os.killpg(dagster_in(tmp_path), signal.SIGKILL)


def test_where_dagster_is_killed_its_daemon_ends(tmp_path: Path) -> None:
    """It went on, and a `ui` that was started again began a second one beside it."""
    with begun(tmp_path) as process:
        os.kill(dagster_in(tmp_path), signal.SIGKILL)
        process.wait(timeout=20)
        assert process.stdout
        assert process.stdout.read() == "the daemon ends\n"
