"""What Dagster keeps its history in: SQLite under DAGSTER_HOME, or Postgres if a setting says so.

`dagster.yaml` names `History`; every process of Dagster's makes its own. Nothing here knows calls.

Dagster's own SQLite storage opens a new engine and a new connection for every event, 10 ms each,
which is more than a day of 1,000 calls costs to load. These differ in that alone: one engine a
file, 30 seconds of patience where another process writes, and no wait for the disk at each event.
Files, tables and migrations are Dagster's, so either can go on where the other stopped.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache, cached_property
from pathlib import Path
from threading import RLock
from typing import Any

from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationPlanned,
)
from dagster._core.events import DagsterEventType
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import (
    INDEX_SHARD_NAME,
    SqliteEventLogStorage,
)
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import SqliteScheduleStorage
from dagster._core.storage.sqlite_storage import (
    DagsterSqliteStorage,
    _event_logs_directory,
    _runs_directory,
    _schedule_directory,
)
from dagster._serdes import ConfigurableClassData
from filelock import FileLock
from sqlalchemy import Connection, Engine, create_engine, event, inspect
from sqlalchemy.exc import SQLAlchemyError

from cdr_pipeline.environment import note_dotenv
from cdr_pipeline.home import LOCK, cannot_be_used, postgres_url

#: Switches of Dagster's that `dagster.yaml` has no place for; what somebody set is left.
_SWITCHES = {
    # What a run plans, an event for each of its days and assets, is stored together.
    "DAGSTER_EVENT_BATCH_SIZE": "1000",
    # After a machine's sleep Dagster ends its code server and starts another: a backfill waits.
    "DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR": "1",
    # By itself the process that holds our code ends after 30 s without a sign of life, the one that
    # would start it again after 45 s. After a pause between these nothing ran any more.
    "DAGSTER_GRPC_PROXY_HEARTBEAT_TTL_SECONDS": "120",
}
for _name, _value in _SWITCHES.items():
    os.environ.setdefault(_name, _value)

# Under a plain `dagster dev` this is where its first process of all comes by.
note_dotenv()

#: How long one process waits for another that writes, in seconds.
_PATIENCE = 30

#: How many runs' files one process keeps open.
_OPEN_FILES = 16


class SqliteHistory(DagsterSqliteStorage):
    """Runs, events and schedules in files under `base_dir`, as Dagster lays them out."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        # Not the parent's, which would make storages of its own.
        DagsterStorage.__init__(self)  # type: ignore[no-untyped-call, arg-type]
        self.base_dir = base_dir
        with _alone_in(base_dir):
            self._run_storage = _Runs.from_local(_runs_directory(base_dir))
            self._event_log_storage = _Events(_event_logs_directory(base_dir))
            self._schedule_storage = _Schedules.from_local(_schedule_directory(base_dir))
        self._inst_data = inst_data

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> DagsterStorage:  # type: ignore[override]
        """As Dagster makes it, from `dagster.yaml`."""
        return cls.from_local(inst_data=inst_data, **config_value)


class History(SqliteHistory):
    """The same, or a Postgres database if CDR_DAGSTER_POSTGRES_URL names one."""

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> DagsterStorage:  # type: ignore[override]
        """Raises SettingsError where the database is not to be had."""
        url = postgres_url()
        if url is None:
            return super().from_config_value(inst_data, config_value)
        from dagster_postgres import DagsterPostgresStorage
        from dagster_postgres.utils import DagsterPostgresException

        try:
            with _alone_in(config_value["base_dir"]):
                return DagsterPostgresStorage(url, inst_data=inst_data)
        except (DagsterPostgresException, SQLAlchemyError) as error:
            raise cannot_be_used(error) from None


def _alone_in(base_dir: str) -> FileLock:
    """Held while tables may be made: two processes may come to a new home at once. (Dagster lets
    Postgres' "table exists" pass then, and not its "type exists".)
    """
    return FileLock(Path(base_dir) / LOCK)


class _OneEngine:
    """One engine for a storage's one file."""

    _conn_string: str

    @cached_property
    def _engine(self) -> Engine:
        return _engine(self._conn_string)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            yield connection

    def dispose(self) -> None:
        self._engine.dispose()


class _Runs(_OneEngine, SqliteRunStorage):
    pass


class _Schedules(_OneEngine, SqliteScheduleStorage):
    pass


class _Events(SqliteEventLogStorage):
    """The events: a file for each run, and one over all of them."""

    def __init__(self, base_dir: str) -> None:
        self._engines: dict[str, Engine] = {}
        self._begun: dict[str, Connection] = {}
        self._has_index_columns: bool | None = None
        super().__init__(base_dir)
        self._db_lock = RLock()  # type: ignore[assignment]

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock, ExitStack() as stack:
            begun = self._begun.get(shard)
            yield begun or stack.enter_context(self._engine(shard).begin())

    @contextmanager
    def _one_transaction(self, *shards: str) -> Iterator[None]:
        """Whatever is written to these files meanwhile is one transaction a file."""
        with self._db_lock, ExitStack() as stack:
            stack.callback(self._begun.clear)
            for shard in shards:
                self._begun[shard] = stack.enter_context(self._connect(shard))
            yield

    def _engine(self, shard: str) -> Engine:
        engine = self._engines.pop(shard, None) or _engine(self.conn_string_for_shard(shard))
        if shard not in self._initialized_dbs:
            self._initdb(engine)
            self._initialized_dbs.add(shard)
        self._engines[shard] = engine
        if len(self._engines) > _OPEN_FILES:
            self._engines.pop(next(iter(self._engines))).dispose()
        return engine

    def dispose(self) -> None:
        super().dispose()
        for engine in self._engines.values():
            engine.dispose()

    @cache  # noqa: B019  it lives as long as its process; the tables do not change meanwhile
    def has_table(self, table_name: str) -> bool:
        with self._engine(INDEX_SHARD_NAME).connect() as connection:
            return bool(inspect(connection).has_table(table_name))

    def _has_asset_key_index_cols_on_connection(self, conn: Connection) -> bool:
        # Looked up once: at each event of an asset it would cost as much as storing it.
        if self._has_index_columns is None:
            self._has_index_columns = super()._has_asset_key_index_cols_on_connection(conn)
        return self._has_index_columns

    def store_event(self, event: EventLogEntry) -> None:
        self.store_event_batch([event])

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        runs = {event.run_id for event in events}
        with self._one_transaction(*runs, INDEX_SHARD_NAME):
            for event in events:
                super().store_event(_planned_once(event))
        for run in runs:
            # A run's page in the UI watches this file for news. What is written to it stands in
            # the log beside it for as long as somebody has it open.
            Path(self.path_for_shard(run)).touch()


def _planned_once(event: EventLogEntry) -> EventLogEntry:
    """A check that a run plans, planned for the run and not for each of its days.

    So it is recorded; Dagster would show every day's as skipped.
    """
    told = event.dagster_event
    if told is None or told.event_type is not DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
        return event
    planned = told.asset_check_planned_data
    if planned.partitions_subset is None or len(planned.partitions_subset) == 1:
        return event
    once = AssetCheckEvaluationPlanned(asset_key=planned.asset_key, check_name=planned.check_name)
    return event._replace(dagster_event=told._replace(event_specific_data=once))


def _engine(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": _PATIENCE})

    @event.listens_for(engine, "connect")
    def _(connection: Any, _: object) -> None:
        # A loss of power may cost the newest events, never the file; the data have their own care.
        connection.execute("PRAGMA synchronous = NORMAL")

    return engine
