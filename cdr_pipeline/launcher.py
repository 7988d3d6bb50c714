"""How Dagster starts a run, and how it notices that a run has died.

`dagster.yaml` names `Launcher`. With Dagster's own launcher, the server of the code location starts
a process that first imports Dagster: 2 to 5 seconds, as long as loading twenty days of 1,000 calls.
This launcher forks a process that has already imported it (multiprocessing's `forkserver`, which
does nothing else). Our own modules, and Polars and Arrow, which start threads, are imported by each
run.

Dagster's own launcher cannot tell whether a run still lives: after a loss of power, or when the
daemon and the servers were killed, a run would count as started for ever and hold its place in the
queue, and its backfill would never end.
"""

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path
from socket import gethostname

from dagster import DagsterInstance, DagsterRun, DefaultRunLauncher
from dagster._cli.api import _execute_run_command_body
from dagster._core.instance.ref import InstanceRef
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.storage.tags import HIDDEN_TAG_PREFIX
from dagster._utils.interrupts import capture_interrupts

from cdr_pipeline.environment import read_dotenv_again

#: The message on the page of a run whose process has died.
GONE = (
    "The process of this run is gone: the machine or Dagster was stopped meanwhile. The days it"
    " finished stand; of the others each partition holds its old content or its new. Launch the"
    ' same days again with "Backfill only failed and missing partitions" ticked; `cdr-pipeline'
    " status` names what else is to be made."
)

# The prefix hides the tag in Dagster's UI: it means nothing to a person.
_PROCESS = f"{HIDDEN_TAG_PREFIX}cdr_pipeline_process"

#: Modules that every run needs, that start no thread, and that users do not edit.
_IMPORTED_BEFORE = (
    "dagster",
    "dagster._cli.api",
    "dagster._core.storage.sqlite_storage",
    "httpx",
    "pydantic_settings",
    "stamina",
)


def process_tags(process: int | None = None) -> dict[str, str]:
    """The tags of a run by which `Launcher` finds out whether its process lives.

    process: the process id; this process if not given.
    """
    number = process or os.getpid()
    return {_PROCESS: f"{number}:{_begun(number)}@{gethostname()}"}


def is_of_a_command(run: DagsterRun) -> bool:
    """Whether a command of ours started the run, in the command's own process."""
    return _PROCESS in run.tags and run.remote_job_origin is None


class Launcher(DefaultRunLauncher):
    """A faster launcher than Dagster's, which can tell whether a run still lives."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start the run in a forked process."""
        run_id = context.dagster_run.run_id
        # A daemon process: it ends with its parent, as with Dagster's own server.
        process = _nursery().Process(
            target=_execute,
            args=(run_id, self._instance.get_ref(), dict(os.environ)),
            daemon=True,
        )
        process.start()
        self._instance.add_run_tags(run_id, process_tags(process.pid))

    def terminate(self, run_id: str) -> bool:
        """Interrupt the run, as Ctrl-C would."""
        run = self._instance.get_run_by_id(run_id)
        process = _process_here(run.tags) if run else None
        if run is None or process is None:
            return bool(super().terminate(run_id))  # type: ignore[no-untyped-call]
        if run.is_finished or not _lives(run.tags):
            return False
        self._instance.report_run_canceling(run)
        try:
            os.kill(process, signal.SIGINT)
        except ProcessLookupError:
            return False
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Look for the run's process."""
        if _lives(run.tags):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, GONE)


@cache
def _nursery() -> ForkServerContext:
    context = get_context("forkserver")
    context.set_forkserver_preload(list(_IMPORTED_BEFORE))
    return context


def _execute(run_id: str, instance: InstanceRef, environment: dict[str, str]) -> None:
    """Execute a run in its own process: with the environment of the launching process, not of the
    fork server, and with `.env` as it is now, as under Dagster's own launcher.
    """
    os.environ.clear()
    os.environ.update(environment)
    read_dotenv_again()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    with capture_interrupts(), DagsterInstance.from_ref(instance) as own:
        _execute_run_command_body(run_id, own, lambda _: None, set_exit_code_on_failure=False)


def _process_here(tags: Mapping[str, str]) -> int | None:
    """The process id of a run, if it was started on this host; else None."""
    process, _, host = tags.get(_PROCESS, "").partition("@")
    return int(process.partition(":")[0]) if process and host == gethostname() else None


def _lives(tags: Mapping[str, str]) -> bool:
    """Whether the process of a run lives; True if this cannot be known.

    A restarted container gives the same process ids again: so the start time must be the same, too.
    """
    process = _process_here(tags)
    if process is None:
        return True
    with suppress(PermissionError):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
    return tags.items() >= process_tags(process).items()


def _begun(process: int) -> str:
    """When a process started, in the kernel's clock ticks; empty if /proc does not say."""
    try:
        told = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return ""
    return told.rpartition(")")[2].split()[19]
