"""How runs are started and ended, and how killed runs are recognised."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from socket import gethostname
from threading import Event

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.launcher.base import LaunchRunContext, WorkerStatus
from dagster._core.storage.tags import TagType, get_tag_type

from cdr_pipeline import home
from cdr_pipeline.launcher import GONE, Launcher, process_tags

(TAG,) = process_tags()


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    home.lasting_home()
    with dg.DagsterInstance.get() as instance:
        yield instance


def health(instance: dg.DagsterInstance, tags: Mapping[str, str]) -> tuple[WorkerStatus, str]:
    """(status, message) that the daemon gets for a run with these tags."""
    run = instance.create_run_for_job(dg.job(name="loading")(lambda: None), tags=tags)
    launcher = instance.run_launcher
    assert isinstance(launcher, Launcher)
    assert launcher.supports_check_run_worker_health
    result = launcher.check_run_worker_health(run)
    return result.status, result.msg or ""


def ended_process() -> int:
    """The id of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_a_run_is_alive_as_long_as_its_process(instance: dg.DagsterInstance) -> None:
    assert health(instance, process_tags()) == (WorkerStatus.RUNNING, "")
    gone = {TAG: f"{ended_process()}:@{gethostname()}"}
    assert health(instance, gone) == (WorkerStatus.FAILED, GONE)
    assert "only failed and missing partitions" in GONE


def test_the_tag_of_a_runs_process_is_hidden_in_the_ui() -> None:
    assert get_tag_type(TAG) is TagType.HIDDEN  # type: ignore[no-untyped-call]


def test_another_process_with_the_id_of_a_runs_process_is_not_the_run(
    instance: dg.DagsterInstance,
) -> None:
    """After a restart of a container, the run was taken for alive, and to end it would have ended
    the other process.
    """
    other = {TAG: f"{os.getpid()}:1@{gethostname()}"}
    assert health(instance, other) == (WorkerStatus.FAILED, GONE)
    run = instance.create_run_for_job(dg.job(name="other")(lambda: None), tags=other)
    assert not instance.run_launcher.terminate(run.run_id)


def test_a_run_whose_process_cannot_be_checked_counts_as_running(
    instance: dg.DagsterInstance,
) -> None:
    elsewhere = {TAG: f"{ended_process()}:1@another-host"}
    assert health(instance, elsewhere) == (WorkerStatus.RUNNING, "")
    assert health(instance, {}) == (WorkerStatus.RUNNING, "")


def test_the_daemon_monitors_runs_every_30_seconds(instance: dg.DagsterInstance) -> None:
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_poll_interval_seconds == 30


# runs that are really started

#: A module of a user: two jobs that end by themselves and one that waits.
JOBS = """
import os
import time
from pathlib import Path
import dagster as dg

@dg.op
def quick(): Path("quick").write_text(str(os.getpid()))

@dg.op
def shows(): Path("shows").write_text(os.environ["CDR_API_TOKEN"])

@dg.op
def slow():
    Path("slow").write_text(str(os.getpid()))
    time.sleep(600)

defs = dg.Definitions(jobs=[
    dg.JobDefinition(name=op.name + "_job", graph_def=dg.GraphDefinition(name=op.name + "_job",
    node_defs=[op]), executor_def=dg.in_process_executor) for op in (quick, shows, slow)
])
"""


def launch(instance: dg.DagsterInstance, folder: Path, name: str) -> str:
    """Start a job as the daemon does; return the run's id."""
    (folder / "jobs.py").write_text(JOBS)
    code = ReconstructableRepository.for_file(str(folder / "jobs.py"), "defs", str(folder))
    job = code.get_reconstructable_job(name)
    run = instance.create_run_for_job(job.get_definition(), job_code_origin=job.get_python_origin())
    instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))
    return run.run_id


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(1200):
        if true():
            return
        Event().wait(0.05)
    raise AssertionError("a minute has passed")


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run
    return run.status


def test_a_launched_run_succeeds_in_another_process(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    run_id = launch(instance, tmp_path, "quick_job")
    wait_until(lambda: status(instance, run_id) is dg.DagsterRunStatus.SUCCESS)
    run = instance.get_run_by_id(run_id)
    assert run
    process = (tmp_path / "quick").read_text()
    assert process != f"{os.getpid()}"
    assert run.tags[TAG].startswith(f"{process}:")
    assert not instance.run_launcher.terminate(run_id)


def test_the_next_run_uses_a_token_that_was_replaced_in_the_env_file(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token expired during a backfill. A new token was written to `.env` and "Failed and
    missing" was launched: all days failed again, by the token with which the daemon had started.
    """
    monkeypatch.setenv("CDR_API_TOKEN", "expired")  # Dagster sets it from `.env` at its start
    (tmp_path / ".env").write_text("CDR_API_TOKEN=new\n")
    run_id = launch(instance, tmp_path, "shows_job")
    wait_until(lambda: status(instance, run_id) is dg.DagsterRunStatus.SUCCESS)
    assert (tmp_path / "shows").read_text() == "new"


def test_a_run_can_be_ended_from_the_ui(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    run_id = launch(instance, tmp_path, "slow_job")
    wait_until((tmp_path / "slow").exists)
    assert instance.run_launcher.terminate(run_id)
    wait_until(lambda: status(instance, run_id) is dg.DagsterRunStatus.CANCELED)


def test_a_run_that_was_killed_is_found_dead(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    run_id = launch(instance, tmp_path, "slow_job")
    process = tmp_path / "slow"
    wait_until(lambda: process.exists() and process.read_text() != "")
    launcher = instance.run_launcher
    assert isinstance(launcher, Launcher)
    run = instance.get_run_by_id(run_id)
    assert run
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
    os.kill(int(process.read_text()), signal.SIGKILL)
    wait_until(lambda: launcher.check_run_worker_health(run).status is WorkerStatus.FAILED)
    assert launcher.check_run_worker_health(run).msg == GONE
