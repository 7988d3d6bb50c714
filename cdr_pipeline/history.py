"""The storage of Dagster's history: SQLite under DAGSTER_HOME, or Postgres if a setting names one.

`dagster.yaml` names `History`; every process of Dagster's makes its own. Knows no calls.

Dagster's own SQLite storage opens a new engine and a new connection for every event, 10 ms each,
which is more than it costs to load a day of 1,000 calls. The storages here differ only in this: one
engine per file, up to 30 seconds of waiting while another process writes, and no wait for the disk
at each event. Files, tables and migrations are Dagster's, so the two kinds are interchangeable.
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

#: Settings of Dagster's that exist only as environment variables; a variable that is set is kept.
_SWITCHES = {
    # Store the events that a run plans (one for each day and asset) in batches.
    "DAGSTER_EVENT_BATCH_SIZE": "1000",
    # After the machine slept, Dagster restarts its code server: let a backfill wait for it.
    "DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR": "1",
    # After a pause of 30 to 45 seconds, the process with our code ended itself, but its parent,
    # whose limit is 45 seconds, did not start another: no run was started any more.
    "DAGSTER_GRPC_PROXY_HEARTBEAT_TTL_SECONDS": "120",
}
for _name, _value in _SWITCHES.items():
    os.environ.setdefault(_name, _value)

# Under a plain `dagster dev`, this is the first of our modules that its first process imports.
note_dotenv()

#: How long one process waits for another that writes, in seconds.
_PATIENCE = 30

#: How many runs' files one process keeps open.
_OPEN_FILES = 16


class SqliteHistory(DagsterSqliteStorage):
    """Runs, events and schedules in files under `base_dir`, in Dagster's own layout."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        # Not the parent's __init__, which would make Dagster's storages.
        DagsterStorage.__init__(self)  # type: ignore[no-untyped-call, arg-type]
        self.base_dir = base_dir
        with _alone_in(base_dir):
            self._run_storage = _Runs.from_local(_runs_directory(base_dir))
            self._event_log_storage = _Events(_event_logs_directory(base_dir))
            self._schedule_storage = _Schedules.from_local(_schedule_directory(base_dir))
        self._inst_data = inst_data

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> DagsterStorage:  # type: ignore[override]
        """Called by Dagster with the values of `dagster.yaml`."""
        return cls.from_local(inst_data=inst_data, **config_value)


class History(SqliteHistory):
    """SqliteHistory, or a Postgres database if CDR_DAGSTER_POSTGRES_URL names one."""

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> DagsterStorage:  # type: ignore[override]
        """Called by Dagster. Raises SettingsError if the database cannot be used."""
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
    """The lock to hold while tables may be made: two processes may open a new home at once. (Of
    Postgres' errors in this case, Dagster handles "table exists", but not "type exists".)
    """
    return FileLock(Path(base_dir) / LOCK)


class _OneEngine:
    """One engine for a storage that has one file."""

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
    """The events: a file for each run, and an index file over all runs."""

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
        """Make all writes to these files inside this context one transaction per file."""
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
            # The page of a run in the UI watches this file for changes. While the file is open,
            # SQLite writes to the log beside it, and does not touch the file itself.
            Path(self.path_for_shard(run)).touch()


def _planned_once(event: EventLogEntry) -> EventLogEntry:
    """The event of a planned check, for the run as a whole instead of for each of its days.

    The run records the check as a whole; Dagster would show the check of every day as skipped.
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
        # A loss of power may lose the newest events, but never damages the file. The datasets are
        # synced separately (`tables.store`).
        connection.execute("PRAGMA synchronous = NORMAL")

    return engine
