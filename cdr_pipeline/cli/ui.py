"""`ui`: Dagster's UI and daemon."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from cdr_pipeline.cli.shared import PORT, err
from cdr_pipeline.errors import CdrError


@click.command()
@click.option("--port", type=PORT, default=3000, show_default=True, help="Port of the UI.")
def ui(port: int) -> None:
    """Start Dagster's UI and daemon, and keep the history of runs.

    The history is kept in DAGSTER_HOME, in ./.dagster if that is not set, or in Postgres
    (CDR_DAGSTER_POSTGRES_URL). The UI has no password, so only this machine can reach it.
    """
    from cdr_pipeline.home import kept_in, lasting_home

    see_that_it_is_free(port)
    home = lasting_home()
    with only_one_in(home) as held:
        told = f"Dagster keeps its history in {kept_in(home)}."
        err.print(told, soft_wrap=True, markup=False)
        sys.exit(dagster_dev(port, held=[held]))


def see_that_it_is_free(port: int) -> None:
    """Raises CdrError if the port is in use: Dagster would go on without its UI."""
    try:
        with socket.create_server(("127.0.0.1", port)):
            pass
    except OSError as error:
        raise CdrError(
            f"Cannot listen on port {port}: {error.strerror}. Is the UI running already? Else take"
            " another one with --port."
        ) from None


@contextmanager
def only_one_in(home: Path) -> Iterator[int]:
    """Raises CdrError if another `ui` uses this home: each of two daemons would start the runs that
    are due, and every night would be loaded twice.

    Yields the descriptor that holds the lock, for Dagster to keep open as well: Dagster lives on if
    only this process is killed.
    """
    from filelock import lock_descriptor

    with (home / "ui.lock").open("ab") as file:
        try:
            free = lock_descriptor(file.fileno(), blocking=False)
        except OSError as error:  # not every file system supports locks
            raise CdrError(
                f"{file.name} cannot be locked: {error.strerror}. Set DAGSTER_HOME to a folder on a"
                " disk of this machine."
            ) from None
        if not free:
            raise CdrError(
                f"`cdr-pipeline ui`, or the Dagster that it began, runs already with DAGSTER_HOME"
                f" {home}: open that one, or end it first."
            )
        yield file.fileno()


def dagster_dev(port: int, folder: Path | None = None, held: Sequence[int] = ()) -> int:
    """Run `dagster dev` until it ends or is interrupted, in `folder` if given, with the descriptors
    `held` open; return its exit code.
    """
    from cdr_pipeline.environment import note_dotenv
    from cdr_pipeline.home import LOCATION

    note_dotenv()
    command = [
        sys.executable,
        "-W",
        "ignore:Function `dev_command` is superseded",  # by a tool that wants another layout
        "-m",
        "dagster",
        "dev",
        "--module-name",
        LOCATION,
        "--port",
        str(port),
    ]
    err.print(f"Dagster will be at http://127.0.0.1:{port} within a minute. Ctrl-C ends it.")
    # A background job of a shell ignores SIGINT by default, and `dagster dev` ends only by SIGINT.
    # In its own session, it gets only the SIGINT that we send, not also that of the terminal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, start_new_session=True, cwd=folder, pass_fds=held)
    for ended in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(ended) is not signal.SIG_IGN:  # as under nohup
            signal.signal(ended, lambda *_: process.send_signal(signal.SIGINT))
    try:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                process.send_signal(signal.SIGINT)
    finally:
        # If `dagster dev` was killed, it has not ended its own processes: end them here.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
