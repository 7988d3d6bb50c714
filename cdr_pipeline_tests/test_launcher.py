"""A run that was killed is told from one that lives."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from socket import gethostname

import dagster as dg
import pytest
from dagster._core.launcher.base import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

from cdr_pipeline import home
from cdr_pipeline.launcher import GONE, Launcher, process_tags


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    home.lasting_home()
    with dg.DagsterInstance.get() as instance:
        yield instance


def health(instance: dg.DagsterInstance, tags: Mapping[str, str]) -> tuple[WorkerStatus, str]:
    """What the daemon is told of a run with these tags."""
    run = instance.create_run_for_job(dg.job(name="loading")(lambda: None), tags=tags)
    launcher = instance.run_launcher
    assert isinstance(launcher, Launcher)
    assert launcher.supports_check_run_worker_health
    told = launcher.check_run_worker_health(run)
    return told.status, told.msg or ""


def ended() -> int:
    """The number of a process that is no more."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_a_run_whose_server_is_gone_is_dead_and_the_message_says_what_to_do(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    server = json.dumps({"host": "localhost", "socket": str(tmp_path / "nobody-listens")})
    assert health(instance, {GRPC_INFO_TAG: server}) == (WorkerStatus.FAILED, GONE)
    assert "Failed and missing" in GONE


def test_a_run_in_a_process_of_its_own_lives_as_long_as_that(instance: dg.DagsterInstance) -> None:
    assert health(instance, process_tags()) == (WorkerStatus.RUNNING, "")
    gone = {name: f"{ended()}@{gethostname()}" for name in process_tags()}
    assert health(instance, gone) == (WorkerStatus.FAILED, GONE)


def test_where_nobody_can_know_a_run_is_left_alone(instance: dg.DagsterInstance) -> None:
    elsewhere = {name: f"{ended()}@another-host" for name in process_tags()}
    assert health(instance, elsewhere) == (WorkerStatus.RUNNING, "")
    assert health(instance, {}) == (WorkerStatus.RUNNING, "")


def test_the_daemon_looks_after_runs(instance: dg.DagsterInstance) -> None:
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_poll_interval_seconds == 30
