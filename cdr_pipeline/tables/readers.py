"""Reading many days at once: one schema over any mix of old and new files.

A day's file has a column for each type that a key's values had on that day (`additional_x__int`,
`additional_x`), or for the type and name that a user declared (`amount__decimal`). Readers see one
column `additional_x` or `amount` over all days they ask for. This module unites the columns in
Polars, `catalog` does in SQL.
"""

import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Final

import polars as pl

from cdr_pipeline.errors import CdrError
from cdr_pipeline.record import ADDITIONAL
from cdr_pipeline.settings import Settings
from cdr_pipeline.tables.contract import Contract
from cdr_pipeline.tables.datasets import CDRS, DATASETS, DATE, Dataset
from cdr_pipeline.tables.footer import MadeBy, footer
from cdr_pipeline.tables.provenance import made_by, stale_in_words
from cdr_pipeline.tables.store import Store
from cdr_pipeline.tables.types import DECIMAL, INSTANT, as_written, type_of

#: Types of numbers -> the type that readers see; any other mixture of types is read as text.
_UNITED: Final[dict[frozenset[pl.DataType], pl.DataType]] = {
    frozenset({pl.Int64(), pl.Float64()}): pl.Float64(),
    frozenset({pl.Int64(), DECIMAL}): DECIMAL,
}


class AnotherContract(UserWarning):
    """Some of the days are stale (see `provenance`), or made in another way than the newest day."""


def scan(
    dataset: str,
    start: date | str | None = None,
    end: date | str | None = None,
    *,
    data_dir: Path | str | None = None,
) -> pl.LazyFrame:
    """The rows of a dataset from `start` to `end`, both included; None leaves that side open.

    The schema does not depend on single files: the columns of the data dictionary, `date` (the
    partition's local day), and for `cdrs` one `additional_<name>` for each key on these days. Its
    type is the one type of the values, Float64 if integers and decimals are mixed, else text. A key
    that CDR_CONTRACT declares has the name and the type declared there. Days made under another
    contract, or by another version of our rules, are read as they were made, with the warning
    `AnotherContract`. Reads only the columns and days that the query needs.

        scan("cdrs", "2023-03-01", "2023-03-07").filter(pl.col("disposition") == "answered")

    The data is in `data_dir`, or in CDR_DATA_DIR. Raises CdrError if the dataset does not exist or
    has no folder there, if the folder is below one with `=` in its name, or if `start` or `end` are
    no days or in the wrong order; for `cdrs`, whose columns are read from the files, also if a file
    is damaged.
    """
    settings = Settings.load()
    store = Store(Path(data_dir) if data_dir else settings.data_dir, settings.zone)
    if "=" in f"{store.root.absolute()}":  # Polars would add a column of that name
        raise CdrError(
            f"{store.root} stands below a folder with `=` in its name, which Polars takes for a"
            " partition. Give that folder another name."
        )
    known = DATASETS.get(dataset)
    if known is None:
        raise CdrError(f"There is no dataset {dataset!r}; there are {', '.join(DATASETS)}.")
    folder = store.root / known.name
    if not folder.is_dir():
        raise CdrError(
            f"There is no folder {folder}. CDR_DATA_DIR (or data_dir) names the folder that holds"
            " the datasets; load days into it with `cdr-pipeline run`."
        )
    first, last = _day(start, date.min), _day(end, date.max)
    if first > last:
        raise CdrError(f"The first day, {first}, is after the last, {last}.")
    days = store.days(known, first, last)
    if known is CDRS:
        _warn_of_stale_days(settings, store, days)
    return lazy(store, known, days)


def _warn_of_stale_days(settings: Settings, store: Store, days: Sequence[date]) -> None:
    """Warn of stale days. A reader may not have the contract: without CDR_CONTRACT, the other days
    are compared with the newest.
    """
    made = {day: made_by(store, day) for day in days}
    if not made:
        return
    in_force = MadeBy(Contract.of(settings).mark, store.zone.key)
    due = in_force if settings.contract else made[days[-1]]
    stale = [day for day in days if made[day] != due]
    if stale:
        warnings.warn(
            f"The columns of cdrs may differ, or what they say: {stale_in_words(stale)}",
            AnotherContract,
            stacklevel=3,
        )


def lazy(store: Store, dataset: Dataset, days: Sequence[date]) -> pl.LazyFrame:
    """These days of a dataset, as `scan` returns them; each day must be stored."""
    paths = [store.path(dataset, day) for day in days]
    shown = unite(additional_columns(dataset, paths))
    schema = pl.Schema({**dataset.schema(store.zone), DATE: pl.Date()})
    stored = {
        name: as_written(type_of(name), store.zone) for names in shown.values() for name in names
    }
    return _files(paths, {**schema, **stored}).select(
        *schema.names(), *(united(names).alias(name) for name, names in shown.items())
    )


def fixed(store: Store, dataset: Dataset, days: Sequence[date]) -> pl.LazyFrame:
    """These days of a dataset: the columns that every file has, and `date`; no free columns."""
    paths = [store.path(dataset, day) for day in days]
    return _files(paths, {**dataset.schema(store.zone), DATE: pl.Date()})


def additional_columns(dataset: Dataset, paths: Iterable[Path]) -> set[str]:
    """The lead list's columns in these files; reads each footer once per process."""
    if ADDITIONAL not in dataset.names:
        return set()
    return {name for path in paths for name in footer(path).columns}.difference(dataset.names)


def unite(columns: Iterable[str]) -> dict[str, list[str]]:
    """The name that readers see -> the columns behind it, each of another type; sorted."""
    names = defaultdict(list)
    for column in sorted(columns):
        names[column.partition("__")[0]].append(column)
    return dict(sorted(names.items()))


def united_type(columns: Iterable[str]) -> pl.DataType:
    """The type of the column that readers see for these columns of one name."""
    types = {type_of(column) for column in columns}
    return types.pop() if len(types) == 1 else _UNITED.get(frozenset(types), pl.String())


def united(columns: Sequence[str]) -> pl.Expr:
    """Columns of one name as one column; a row has a value in at most one of them."""
    if len(columns) == 1:  # without coalesce, so that Polars pushes predicates down to the file
        return pl.col(columns[0])
    dtype = united_type(columns)
    return pl.coalesce(_as(dtype, column) for column in columns)


def _as(dtype: pl.DataType, column: str) -> pl.Expr:
    own = type_of(column)
    if own == dtype:
        return pl.col(column)
    if dtype != pl.String():
        return pl.col(column).cast(dtype)
    if own == pl.Float64():
        return _float_text(pl.col(column))
    if own == DECIMAL:
        return pl.col(column).cast(pl.String).str.replace(r"\.?0+$", "")
    if own == INSTANT:
        local = pl.col(column).dt.strftime("%Y-%m-%d %H:%M:%S%.6f")
        return local.str.replace(r"\.000000$", "")
    return pl.col(column).cast(pl.String)


def _float_text(number: pl.Expr) -> pl.Expr:
    """The shortest text that reads back as the number, as Python and DuckDB write it.

    Polars writes 0.00001 and 1e-6 where they write 1e-05 and 1e-06.
    """
    return (
        number.cast(pl.String)
        .str.replace(r"^(-?)0\.0000([1-9])(\d*)$", "${1}${2}.${3}e-05")
        .str.replace(".e", "e", literal=True)
        .str.replace(r"e-(\d)$", "e-0${1}")
    )


def _files(paths: Sequence[Path], schema: Mapping[str, pl.DataType]) -> pl.LazyFrame:
    """The files read with the given schema, never with that of a file: a column that a file lacks
    is null there, and no column is cast to the type that another file has.
    """
    if not paths:
        return pl.LazyFrame(schema=pl.Schema(schema))
    return pl.scan_parquet(
        list(paths),
        schema=pl.Schema(schema),
        missing_columns="insert",
        extra_columns="ignore",
        hive_partitioning=True,
        hive_schema={DATE: pl.Date()},
        # Files written under another CDR_TIMEZONE have times in its zone: convert them.
        cast_options=pl.ScanCastOptions(datetime_cast="convert-timezone"),
        glob=False,
    )


def _day(given: date | str | None, default: date) -> date:
    if given is None:
        return default
    if isinstance(given, datetime):
        return given.date()
    if isinstance(given, date):
        return given
    try:
        return date.fromisoformat(given)
    except (TypeError, ValueError):
        raise CdrError(f"{given!r} is no day; write it as 2023-03-07.") from None
