"""`<root>/cdrs.duckdb`: a view over the Parquet files of every dataset, for SQL.

The file holds views, comments and macros, and no data. So it is quickly made and replaced as a
whole: a reader that has the old file open keeps it, and blocks nobody. The views have the same
names and types as `readers`. A query finds the data folder when it runs (see `_FOLDER`), so the
data folder may be moved together with its catalog.

A view with a condition on `date` is slow if there are many days: DuckDB first lists the folders of
all days, which over 1,095 days takes ten times as long as a small query of one day. So each view
has a macro of its name, which takes a first and a last day and opens only their files. A macro
knows only the days that were stored when it was made.
"""

import hashlib
import importlib.util
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from typing import Final, Self
from zoneinfo import ZoneInfo

import polars as pl

from cdr_pipeline.errors import CdrError, shortened
from cdr_pipeline.tables import kpi
from cdr_pipeline.tables.arrow import arrow_schema
from cdr_pipeline.tables.contract import NO_CONTRACT, Contract
from cdr_pipeline.tables.datasets import CDRS, DATASETS, DATE, Dataset
from cdr_pipeline.tables.footer import keys_behind
from cdr_pipeline.tables.provenance import stale_days, stale_in_words
from cdr_pipeline.tables.readers import additional_columns, unite, united_type
from cdr_pipeline.tables.store import FILE, RowWriter, Store, replacing
from cdr_pipeline.tables.types import DECIMAL, INSTANT, WALL_CLOCK, type_of
from cdr_pipeline.window import spans

NAME: Final = "cdrs.duckdb"

#: The oldest storage that DuckDB writes: 1.4 and later can open it.
_STORAGE: Final = "v1.0.0"

#: DuckDB resolves relative paths from the working folder of the process, not from the catalog's. If
#: the catalog is opened by itself, DuckDB derives `temp_directory` from its path, which gives the
#: folder; if the catalog is attached to another database, a variable must give it.
_FOLDER: Final = r"""
    regexp_replace(
        coalesce(
            getvariable('cdr_data_dir'),
            nullif(regexp_extract(
                current_setting('temp_directory'), '^(.*)[/\\]cdrs\.duckdb\.tmp$', 1), ''),
            '.'),
        '([*?[])', '[\1]', 'g')
"""

#: The comment on the macro of each view.
_OF_DAYS: Final = (
    "The view of this name from first_day to last_day, both included (null: no bound), opening the"
    " files of these days alone. Knows the days that stood when the catalog was made."
)

#: Folder beside the catalog: for each dataset, an empty file with all columns of its view.
_TEMPLATES: Final = ".catalog"

#: The partition of a template: its `date` is read from the path, as that of every file.
_NO_DAY: Final = f"{DATE}=0001-01-01"

#: How long templates of older catalogs are kept, for readers that have one open.
_KEPT: Final = timedelta(days=7)

#: name -> parameters, definition, comment.
_MACROS: Final = {
    "data_folder": (
        "",
        _FOLDER,
        "Where the views look for the Parquet: the variable cdr_data_dir, else this file's folder"
        " if it was opened by itself, else the working folder.",
    ),
    **{
        name.removesuffix("_seconds"): (
            f"{one.numerator}, {one.denominator}",
            f"sum({one.numerator}) / nullif(sum({one.denominator}), 0)",
            f"{one.description} Over rows of an aggregate; null over nothing.",
        )
        for name, one in kpi.RATIOS.items()
    },
    "hours_since_previous": (
        "seconds_since_previous, attempt, calls",
        "sum(seconds_since_previous) / 3600 / nullif(sum(calls) FILTER (attempt > 1), 0)",
        "Mean hours since the lead's previous call, over rows of lead_attempts.",
    ),
}

#: Days from `first_day` to `last_day`, as the macros of the views take them.
_THESE_DAYS: Final = (
    "date BETWEEN coalesce(CAST(first_day AS DATE), DATE '-infinity')"
    " AND coalesce(CAST(last_day AS DATE), DATE 'infinity')"
)

#: The tables of the report, as macros over the views: name -> definition, comment.
_REPORTS: Final = {
    "report_campaigns": (
        f"""SELECT campaign_uuid, sum(calls) AS calls, sum(answered) AS answered,
            asr(answered, seizures) AS asr, ner(effective, seizures) AS ner,
            acd(billsec, answered) AS acd_seconds, sum(key_presses) AS key_presses,
            sum(short_calls) AS short_calls
        FROM campaign_daily WHERE {_THESE_DAYS}
        GROUP BY campaign_uuid ORDER BY calls DESC, campaign_uuid""",
        "The campaigns of the report, over some days, both included (null: no bound).",
    ),
    "report_hotlines": (
        f"""SELECT from_number, sum(calls) AS calls, asr(answered, seizures) AS asr,
            congestion_share(congestion, seizures) AS congestion_share,
            sum(network_failure) AS network_failure, sum(short_calls) AS short_calls
        FROM hotline_daily WHERE {_THESE_DAYS}
        GROUP BY from_number ORDER BY congestion_share DESC NULLS LAST, calls DESC""",
        "The hotlines of the report, over some days (null: no bound); numbers are whole.",
    ),
    "report_hours": (
        f"""SELECT hour, sum(calls) AS calls, sum(answered) AS answered,
            asr(answered, seizures) AS asr, max(peak_calls_all) AS peak_calls,
            max(peak_talks_all) AS peak_talks
        FROM campaign_hourly WHERE {_THESE_DAYS}
        GROUP BY hour ORDER BY hour""",
        "The hours of the report, over some days, both included (null: no bound).",
    ),
    "report_attempts": (
        f"""SELECT campaign_uuid, attempt, sum(calls) AS calls, sum(answered) AS answered,
            sum(answered) / sum(calls) AS answered_share,
            hours_since_previous(seconds_since_previous, attempt, calls) AS hours_since_previous
        FROM lead_attempts WHERE {_THESE_DAYS}
        GROUP BY campaign_uuid, attempt ORDER BY campaign_uuid, attempt""",
        "Which attempt reaches people, over some days, both included (null: no bound).",
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

#: How many characters of a key, and how many keys of a column, a comment shows.
_KEY_LENGTH, _KEYS = 60, 5


@dataclass(frozen=True)
class Catalog:
    """A written catalog: its file, and the columns of each view."""

    path: Path
    views: dict[str, list[str]]


def available() -> bool:
    """Whether DuckDB, an optional dependency, is installed."""
    return importlib.util.find_spec("duckdb") is not None


def build(store: Store, contract: Contract = NO_CONTRACT) -> Catalog:
    """Make the catalog of the stored datasets, and replace the old one.

    Comments hold the descriptions that `contract` declares, and name the days made under another
    contract. Raises CdrError if DuckDB is not installed or the file cannot be written.
    """
    if not available():
        raise CdrError(
            f"{NAME} needs DuckDB, which is not installed: `uv sync --extra duckdb`, or"
            " `pip install duckdb`. Everything else works without it."
        )
    with store.locked(NAME):
        with replacing(store.root / NAME, store.staging / NAME) as staged:
            staged.unlink(missing_ok=True)  # a killed run's
            try:
                views = _write(staged, store, contract)
            finally:  # after a failure, DuckDB leaves its write-ahead log
                staged.with_name(f"{NAME}.wal").unlink(missing_ok=True)
        _forget_templates(store)
    return Catalog(store.root / NAME, views)


@dataclass(frozen=True)
class _View:
    """A dataset for its view: the stored `days` and their `files`, and for each `shown` name of the
    lead list the columns of the files behind it.
    """

    dataset: Dataset
    days: list[date]
    files: list[Path]
    shown: dict[str, list[str]]

    @classmethod
    def of(cls, store: Store, dataset: Dataset) -> Self:
        """The view of the days stored now."""
        days = store.days(dataset)
        files = [store.path(dataset, day) for day in days]
        return cls(dataset, days, files, unite(additional_columns(dataset, files)))

    @property
    def columns(self) -> list[str]:
        """The columns of the view, in order."""
        return [*self.dataset.names, DATE, *self.shown]

    @property
    def stored(self) -> dict[str, pl.DataType]:
        """Column of the files -> its type."""
        free = {name: type_of(name) for names in self.shown.values() for name in names}
        return self.dataset.types | free


def _write(path: Path, store: Store, contract: Contract) -> dict[str, list[str]]:
    """Write the catalog to a file; return the columns of each view. Raises CdrError."""
    import duckdb  # noqa: PLC0415  optional

    views = [_View.of(store, dataset) for dataset in DATASETS.values()]
    try:
        with duckdb.connect() as connection:
            connection.execute(
                f"ATTACH {_text(str(path))} AS catalog_ (STORAGE_VERSION '{_STORAGE}')"
            )
            connection.execute("USE catalog_")
            connection.execute("SET VARIABLE cdr_data_dir = ?", [str(store.root)])
            connection.execute("BEGIN")
            for statement in _definitions(views, store, contract):
                connection.execute(statement)
            connection.execute("COMMIT")
            connection.execute("USE memory")
            connection.execute("DETACH catalog_")
    except (duckdb.IOException, duckdb.TransactionException) as error:
        # DuckDB reports a full disk in these errors, while it writes or commits.
        why = re.sub(r"^(IO|TransactionContext) Error: ", "", f"{error}")
        raise CdrError(
            f"{why}. What was stored is unchanged. See that there"
            " is room on its disk and that this user may write there; then `cdr-pipeline rebuild`"
            f" makes {NAME}."
        ) from error
    return {view.dataset.name: view.columns for view in views}


def _definitions(views: Sequence[_View], store: Store, contract: Contract) -> Iterator[str]:
    """The statements that make macros, views and comments; later ones use earlier ones."""
    for name, (parameters, definition, comment) in _MACROS.items():
        yield f"CREATE MACRO {name}({parameters}) AS {definition}"
        yield f"COMMENT ON MACRO {name} IS {_text(comment)}"
    for view in views:
        yield from _definition(view, store, contract)
    for name, (definition, comment) in _REPORTS.items():
        yield from _macro_of_days(name, definition, comment)


def _definition(view: _View, store: Store, contract: Contract) -> Iterator[str]:
    """The statements for a dataset's view, the macro of the same name, and their comments."""
    dataset, name = view.dataset, _name(view.dataset.name)
    selected = _selected(view, store.zone)
    of_days = _files_of(view, _template(store, view))
    all_files = _all_files(view) if view.days else of_days
    yield f"CREATE VIEW {name} AS SELECT {selected} FROM {all_files} AS files"
    yield from _macro_of_days(name, f"SELECT {selected} FROM {of_days} AS files", _OF_DAYS)
    about = f"{dataset.description} A row is {dataset.row}.{_stale(dataset, store, contract)}"
    yield f"COMMENT ON VIEW {name} IS {_text(about)}"
    for column, comment in _comments(view, contract).items():
        yield f"COMMENT ON COLUMN {name}.{_name(column)} IS {_text(comment)}"


def _macro_of_days(name: str, definition: str, comment: str) -> Iterator[str]:
    """The statements for a table macro with the parameters first_day and last_day."""
    yield f"CREATE MACRO {name}(first_day, last_day) AS TABLE {definition}"
    yield f"COMMENT ON MACRO TABLE {name} IS {_text(comment)}"


def _stale(dataset: Dataset, store: Store, contract: Contract) -> str:
    """The addition to the comment on `cdrs` if there are stale days."""
    stale = stale_days(store, contract.mark) if dataset is CDRS else []
    return f" {stale_in_words(stale)}" if stale else ""


def _selected(view: _View, zone: ZoneInfo) -> str:
    """The select list of the columns that readers see, over `files` with their `filename`.

    `date` is taken from the file name: so DuckDB can skip files before it opens them.
    """
    day = f"CAST(left(right(filename, {len(FILE) + 11}), 10) AS DATE)"
    return ", ".join(
        (
            *map(_name, view.dataset.names),
            f"{day} AS {_name(DATE)}",
            *(f"{_united(names, zone)} AS {_name(name)}" for name, names in view.shown.items()),
        )
    )


def _all_files(view: _View) -> str:
    """The SQL of all files that are stored when the query runs.

    The schema is given: DuckDB would otherwise cast every file to the columns of the first, or read
    the footer of every file before each query (`union_by_name`).
    """
    schema = ", ".join(
        f"{_text(name)}: {{name: {_text(name)}, type: {_text(_TYPES[dtype])}, default_value: NULL}}"
        for name, dtype in view.stored.items()
    )
    paths = _text(f"/{view.dataset.name}/{DATE}=*/{FILE}")
    return f"read_parquet(data_folder() || {paths}, schema = MAP {{{schema}}}, filename = true)"


def _files_of(view: _View, template: str) -> str:
    """The SQL of the files from `first_day` to `last_day`, as far as these days are stored, and of
    the template, which has no rows.

    Here DuckDB reads the footers first (`union_by_name`): they are few, and a given schema costs
    more, since DuckDB parses each column's type for each query.
    """
    days = view.days
    files = f"[{_text(f'/{_TEMPLATES}/{template}/{_NO_DAY}/{FILE}')}]"
    if days:
        asked = (
            f"generate_series(greatest(CAST(first_day AS DATE), DATE '{days[0]}'),"
            f" least(CAST(last_day AS DATE), DATE '{days[-1]}'), INTERVAL 1 DAY)"
        )
        stored = (f"day BETWEEN DATE '{first}' AND DATE '{last}'" for first, last in spans(days))
        asked = f"list_filter({asked}, lambda day: {' OR '.join(stored)})"
        path = _text(f"/{view.dataset.name}/{DATE}=%Y-%m-%d/{FILE}")
        files += f" || list_transform({asked}, lambda day: strftime(day, {path}))"
    return (
        f"read_parquet(list_transform({files}, lambda file: data_folder() || file),"
        " union_by_name = true, hive_partitioning = false, filename = true)"
    )


def _template(store: Store, view: _View) -> str:
    """The name of a folder with an empty file that has the view's columns; made if it is missing.
    An older catalog that is still open has its own template.
    """
    digest = hashlib.sha256(f"{view.stored}".encode()).hexdigest()[:8]
    folder = store.root / _TEMPLATES / f"{view.dataset.name}-{digest}"
    file = folder / _NO_DAY / FILE
    if not file.exists():
        with replacing(file, store.staging / f"{folder.name}.parquet") as staged:
            RowWriter(staged, arrow_schema(view.stored)).close()
    os.utime(folder)
    return folder.name


def _forget_templates(store: Store) -> None:
    """Delete templates that no catalog has used for `_KEPT`."""
    for folder in (store.root / _TEMPLATES).iterdir():
        used = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
        if datetime.now(UTC) - used > _KEPT:
            rmtree(folder, ignore_errors=True)


def _united(columns: Sequence[str], zone: ZoneInfo) -> str:
    """As `readers.united`, in SQL; DuckDB writes numbers as text the same way."""
    if len(columns) == 1:
        return _of_files(columns[0])
    dtype = united_type(columns)
    return f"coalesce({', '.join(_as(dtype, one, zone) for one in columns)})"


def _as(dtype: pl.DataType, column: str, zone: ZoneInfo) -> str:
    own, name = type_of(column), _of_files(column)
    if dtype == pl.String() and own == DECIMAL:
        return rf"regexp_replace(CAST({name} AS VARCHAR), '\.?0+$', '')"
    if dtype == pl.String() and own == INSTANT:
        local = f"strftime({name} AT TIME ZONE {_text(zone.key)}, '%Y-%m-%d %H:%M:%S.%f')"
        return rf"regexp_replace({local}, '\.000000$', '')"
    return f"CAST({name} AS {_TYPES[dtype]})"


def _of_files(column: str) -> str:
    """A column of `files` as SQL: without `files.`, it could be a parameter of a macro."""
    return f"files.{_name(column)}"


def _comments(view: _View, contract: Contract) -> dict[str, str]:
    """Column of a view, in order -> its comment."""
    keys = keys_behind(view.files) if view.shown else {}
    return {
        **{column.name: column.description for column in view.dataset.columns},
        DATE: "Local day of the partition, from its path.",
        **{name: _from_lead_list(names, keys, contract) for name, names in view.shown.items()},
    }


def _from_lead_list(columns: Sequence[str], keys: dict[str, set[str]], contract: Contract) -> str:
    """The comment on a lead list's column: its keys, shortened, their types and descriptions."""
    known = sorted({key for column in columns for key in keys.get(column, ())})
    told = [shortened(key, _KEY_LENGTH) for key in known[:_KEYS]]
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
