"""`<root>/cdrs.duckdb`: a view over the Parquet for every dataset, for people who think in SQL.

The file holds no data, only views, comments and macros, so it is made anew in a moment and swapped
in whole: whoever has the old one open keeps it, and blocks nobody. The views show what `readers`
shows, under the same names and types.

Where the data is, the views find out when they are asked (see `_FOLDER`), so the data folder may
be moved, catalog and all.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import polars as pl
from filelock import FileLock

from cdr_pipeline.errors import CdrError
from cdr_pipeline.tables.contract import (
    CDRS,
    DATASETS,
    DATE,
    DECIMAL,
    INSTANT,
    WALL_CLOCK,
    Dataset,
)
from cdr_pipeline.tables.declared import NO_CONTRACT, Contract
from cdr_pipeline.tables.made_under import WAY_OUT, in_words, stale_days
from cdr_pipeline.tables.readers import additional_columns, type_of, unite, united_type
from cdr_pipeline.tables.store import FILE, Store, additional_keys, sync

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

NAME: Final = "cdrs.duckdb"

#: The oldest storage that DuckDB writes: 1.4 and later can open it.
_STORAGE: Final = "v1.0.0"

#: DuckDB takes relative paths from the process' working folder, not from the catalog's own. Of a
#: database opened by itself it derives `temp_directory` from its path, and that tells the folder;
#: where the catalog is attached to another database, a variable has to.
_FOLDER: Final = r"""
    regexp_replace(
        coalesce(
            getvariable('cdr_data_dir'),
            nullif(regexp_extract(
                current_setting('temp_directory'), '^(.*)[/\\]cdrs\.duckdb\.tmp$', 1), ''),
            '.'),
        '([*?[])', '[\1]', 'g')
"""

#: name -> parameters, definition, comment.
_MACROS: Final = {
    "data_folder": (
        "",
        _FOLDER,
        "Where the views look for the Parquet: the variable cdr_data_dir, else this file's folder"
        " if it was opened by itself, else the working folder.",
    ),
    "asr": (
        "answered, seizures",
        "sum(answered) / nullif(sum(seizures), 0)",
        "Answer-seizure ratio over rows of campaign_daily (ITU-T E.411); null over nothing.",
    ),
    "ner": (
        "effective, seizures",
        "sum(effective) / nullif(sum(seizures), 0)",
        "Network effectiveness ratio over rows of campaign_daily (ITU-T E.425).",
    ),
    "acd": (
        "billsec, answered",
        "sum(billsec) / nullif(sum(answered), 0)",
        "Average call duration in seconds over rows of campaign_daily.",
    ),
    "congestion_share": (
        "congestion, seizures",
        "sum(congestion) / nullif(sum(seizures), 0)",
        "Calls lost to congestion of those attempted, over rows of hotline_daily.",
    ),
    "hours_since_previous": (
        "seconds_since_previous, attempt, calls",
        "sum(seconds_since_previous) / 3600 / nullif(sum(calls) FILTER (attempt > 1), 0)",
        "Mean hours since the lead's previous call, over rows of lead_attempts.",
    ),
}

#: The same, of tables over the views: what the report shows of some days.
_REPORTS: Final = {
    "report_campaigns": (
        "first_day, last_day",
        """SELECT campaign_uuid, sum(calls) AS calls, sum(answered) AS answered,
            asr(answered, seizures) AS asr, ner(effective, seizures) AS ner,
            acd(billsec, answered) AS acd_seconds, sum(key_presses) AS key_presses,
            sum(short_calls) AS short_calls
        FROM campaign_daily WHERE date BETWEEN CAST(first_day AS DATE) AND CAST(last_day AS DATE)
        GROUP BY campaign_uuid ORDER BY calls DESC, campaign_uuid""",
        "The campaigns of the report, over some days, both included.",
    ),
    "report_hotlines": (
        "first_day, last_day",
        """SELECT from_number, sum(calls) AS calls, asr(answered, seizures) AS asr,
            congestion_share(congestion, seizures) AS congestion_share,
            sum(network_failure) AS network_failure, sum(short_calls) AS short_calls
        FROM hotline_daily WHERE date BETWEEN CAST(first_day AS DATE) AND CAST(last_day AS DATE)
        GROUP BY from_number ORDER BY congestion_share DESC NULLS LAST, calls DESC""",
        "The hotlines of the report, over some days, both included; numbers are whole.",
    ),
    "report_hours": (
        "first_day, last_day",
        """SELECT hour, sum(calls) AS calls, sum(answered) AS answered,
            asr(answered, seizures) AS asr, max(peak_calls_all) AS peak_calls,
            max(peak_talks_all) AS peak_talks
        FROM campaign_hourly WHERE date BETWEEN CAST(first_day AS DATE) AND CAST(last_day AS DATE)
        GROUP BY hour ORDER BY hour""",
        "The hours of the report, over some days, both included.",
    ),
    "report_attempts": (
        "first_day, last_day",
        """SELECT campaign_uuid, attempt, sum(calls) AS calls, sum(answered) AS answered,
            sum(answered) / sum(calls) AS answered_share,
            hours_since_previous(seconds_since_previous, attempt, calls) AS hours_since_previous
        FROM lead_attempts WHERE date BETWEEN CAST(first_day AS DATE) AND CAST(last_day AS DATE)
        GROUP BY campaign_uuid, attempt ORDER BY campaign_uuid, attempt""",
        "Which attempt reaches people, over some days, both included.",
    ),
}

_TYPES: Final[dict[pl.DataType, str]] = {
    pl.String(): "VARCHAR",
    pl.Int64(): "BIGINT",
    pl.Int8(): "TINYINT",
    pl.Float64(): "DOUBLE",
    pl.Boolean(): "BOOLEAN",
    pl.Binary(): "BLOB",
    pl.Date(): "DATE",
    DECIMAL: "DECIMAL(38, 9)",
    INSTANT: "TIMESTAMP WITH TIME ZONE",
    WALL_CLOCK: "TIMESTAMP",
}

#: How much of a key, and how many keys of a column, a comment tells.
_KEY_LENGTH, _KEYS = 60, 5


@dataclass(frozen=True)
class Catalog:
    """A catalog as it was written: its file, and each view's columns."""

    path: Path
    views: dict[str, list[str]]


def available() -> bool:
    """Whether DuckDB, an optional dependency, is installed."""
    return importlib.util.find_spec("duckdb") is not None


def build(store: Store, contract: Contract = NO_CONTRACT) -> Catalog:
    """Make the catalog of what is stored now, and put it in the place of the old one.

    Comments tell what `contract` declares, and which days were made under another. Raises CdrError
    where DuckDB is not installed.
    """
    if not available():
        raise CdrError(
            f"{NAME} needs DuckDB, which is not installed: `uv sync --extra duckdb`, or"
            " `pip install duckdb`. Everything else works without it."
        )
    import duckdb  # noqa: PLC0415  optional

    staging = store.root / ".staging"
    staging.mkdir(parents=True, exist_ok=True)
    staged = staging / NAME
    with FileLock(staging / f"{NAME}.lock"):
        staged.unlink(missing_ok=True)
        with duckdb.connect() as connection:
            connection.execute(
                f"ATTACH {_text(str(staged))} AS catalog_ (STORAGE_VERSION '{_STORAGE}')"
            )
            connection.execute("USE catalog_")
            connection.execute("SET VARIABLE cdr_data_dir = ?", [str(store.root)])
            views = _define(connection, store, contract)
            connection.execute("USE memory")
            connection.execute("DETACH catalog_")
        sync(staged)
        staged.replace(store.root / NAME)
        sync(store.root)
    return Catalog(store.root / NAME, views)


def _define(
    connection: "DuckDBPyConnection", store: Store, contract: Contract
) -> dict[str, list[str]]:
    """Macros, views and comments; the columns of each view."""
    connection.execute("BEGIN")
    for name, (parameters, definition, comment) in _MACROS.items():
        connection.execute(f"CREATE MACRO {name}({parameters}) AS {definition}")
        connection.execute(f"COMMENT ON MACRO {name} IS {_text(comment)}")
    views = {}
    for dataset in DATASETS.values():
        paths = [store.path(dataset, day) for day in store.days(dataset)]
        shown = unite(additional_columns(dataset, paths))
        connection.execute(_view(dataset, shown, store.zone, empty=not paths))
        comments = _comments(dataset, shown, paths, contract)
        view = _name(dataset.name)
        about = f"{dataset.description} A row is {dataset.row}.{_stale(dataset, store, contract)}"
        connection.execute(f"COMMENT ON VIEW {view} IS {_text(about)}")
        for column, comment in comments.items():
            connection.execute(f"COMMENT ON COLUMN {view}.{_name(column)} IS {_text(comment)}")
        views[dataset.name] = list(comments)
    for name, (parameters, definition, comment) in _REPORTS.items():
        connection.execute(f"CREATE MACRO {name}({parameters}) AS TABLE {definition}")
        connection.execute(f"COMMENT ON MACRO TABLE {name} IS {_text(comment)}")
    connection.execute("COMMIT")
    return views


def _stale(dataset: Dataset, store: Store, contract: Contract) -> str:
    """What a reader of `cdrs` must know while days of another contract are among them."""
    stale = stale_days(store, contract.mark) if dataset is CDRS else []
    if not stale:
        return ""
    return f" {in_words(stale)} were made under another contract (CDR_CONTRACT): {WAY_OUT}."


def _view(dataset: Dataset, shown: dict[str, list[str]], zone: ZoneInfo, *, empty: bool) -> str:
    """The view of a dataset.

    The files' schema is given: DuckDB would otherwise cast every file to the first one's columns,
    or read the footer of every file before each query (`union_by_name`). `filename` comes with it,
    of which DuckDB knows how to leave out files before opening them.
    """
    stored = {column.name: _TYPES[column.dtype] for column in dataset.columns}
    stored |= {name: _TYPES[type_of(name)] for names in shown.values() for name in names}
    day = f"CAST(left(right(filename, {len(FILE) + 11}), 10) AS DATE)"
    columns = [
        *(_name(column.name) for column in dataset.columns),
        f"{day} AS {_name(DATE)}",
        *(f"{_united(names, zone)} AS {_name(name)}" for name, names in shown.items()),
    ]
    source = _no_rows(stored) if empty else _files(dataset, stored)
    return f"CREATE VIEW {_name(dataset.name)} AS SELECT {', '.join(columns)} FROM {source}"


def _files(dataset: Dataset, stored: dict[str, str]) -> str:
    schema = ", ".join(
        f"{_text(name)}: {{name: {_text(name)}, type: {_text(dtype)}, default_value: NULL}}"
        for name, dtype in stored.items()
    )
    paths = _text(f"/{dataset.name}/date=*/{FILE}")
    return f"read_parquet(data_folder() || {paths}, schema = MAP {{{schema}}}, filename = true)"


def _no_rows(stored: dict[str, str]) -> str:
    """In place of files, of which `read_parquet` wants at least one."""
    columns = [f"CAST(NULL AS {dtype}) AS {_name(name)}" for name, dtype in stored.items()]
    return f"(SELECT {', '.join(columns)}, CAST(NULL AS VARCHAR) AS filename WHERE false)"


def _united(columns: Sequence[str], zone: ZoneInfo) -> str:
    """As `readers.united`, in SQL; DuckDB writes numbers as text the same way."""
    if len(columns) == 1:
        return _name(columns[0])
    dtype = united_type(columns)
    return f"coalesce({', '.join(_as(dtype, one, zone) for one in columns)})"


def _as(dtype: pl.DataType, column: str, zone: ZoneInfo) -> str:
    own, name = type_of(column), _name(column)
    if dtype == pl.String() and own == DECIMAL:
        return rf"regexp_replace(CAST({name} AS VARCHAR), '\.?0+$', '')"
    if dtype == pl.String() and own == INSTANT:
        local = f"strftime({name} AT TIME ZONE {_text(zone.key)}, '%Y-%m-%d %H:%M:%S.%f')"
        return rf"regexp_replace({local}, '\.000000$', '')"
    return f"CAST({name} AS {_TYPES[dtype]})"


def _comments(
    dataset: Dataset, shown: dict[str, list[str]], paths: Sequence[Path], contract: Contract
) -> dict[str, str]:
    """Each column of a view, in order, and what it holds."""
    keys = additional_keys(paths) if shown else {}
    return {
        **{column.name: column.description for column in dataset.columns},
        DATE: "Local day of the partition, from its path.",
        **{name: _from_lead_list(names, keys, contract) for name, names in shown.items()},
    }


def _from_lead_list(columns: Sequence[str], keys: dict[str, set[str]], contract: Contract) -> str:
    """What is behind a column: the lead list's keys, shortened, and their types."""
    known = sorted({key for column in columns for key in keys.get(column, ())})
    told = [key if len(key) <= _KEY_LENGTH else f"{key[:_KEY_LENGTH]}..." for key in known[:_KEYS]]
    more = f" and {len(known) - _KEYS:,} more" if len(known) > _KEYS else ""
    types = ", ".join(_TYPES[type_of(column)] for column in columns)
    # A DuckDB text may hold anything but NUL.
    named = ", ".join(told).replace("\0", "\\0")
    described = contract.described(known).replace("\0", "\\0")
    return f"From the lead list: {named}{more}. Values came as {types}. {described}".rstrip()


def _text(value: str) -> str:
    """A text as SQL."""
    return "'" + value.replace("'", "''") + "'"


def _name(value: str) -> str:
    """An identifier as SQL."""
    return '"' + value.replace('"', '""') + '"'
