"""How Dagster starts a run, and how it notices that one has died.

`dagster.yaml` names `Launcher`. Runs are started as Dagster's own launcher does it, by the server
of the code location. That launcher cannot be asked for a run's health: after a loss of power, or
when the daemon and the servers were killed, such a run would count as started for ever, hold its
place in the queue, and its backfill would never end.
"""

import os
from collections.abc import Mapping
from socket import gethostname

from dagster import DagsterRun, DefaultRunLauncher
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value

#: What the run's page says then.
GONE = (
    "The process of this run is gone: the machine or Dagster was stopped meanwhile. The days it"
    ' finished stand, no other was touched. Launch the rest with "Failed and missing".'
)

_SECONDS_TO_ANSWER = 10

_PROCESS = "cdr_pipeline/process"


def process_tags() -> dict[str, str]:
    """What a run that no server starts is to be tagged with, so that it can be found dead."""
    return {_PROCESS: f"{os.getpid()}@{gethostname()}"}


class Launcher(DefaultRunLauncher):
    """Dagster's own launcher, which can be asked whether a run still lives."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Ask the server that started the run; where there is none, there is no run."""
        client = self._get_grpc_client_for_termination(run.run_id)  # type: ignore[no-untyped-call]
        if client is None:
            return _health(_lives(run.tags))
        try:
            answer = deserialize_value(
                client.can_cancel_execution(
                    CanCancelExecutionRequest(run_id=run.run_id), timeout=_SECONDS_TO_ANSWER
                ),
                CanCancelExecutionResult,
            )
        except DagsterUserCodeUnreachableError:
            return _health(False)
        return _health(answer.can_cancel)


def _health(lives: bool) -> CheckRunHealthResult:
    if lives:
        return CheckRunHealthResult(WorkerStatus.RUNNING)
    return CheckRunHealthResult(WorkerStatus.FAILED, GONE)


def _lives(tags: Mapping[str, str]) -> bool:
    """Whether the process of a run without a server is there; yes, where nobody can know."""
    process, _, host = tags.get(_PROCESS, "").partition("@")
    if not process or host != gethostname():
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
