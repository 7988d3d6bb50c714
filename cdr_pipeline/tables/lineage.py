"""The columns of `cdrs` from which a measure is made, found by running its query over no rows."""

from collections.abc import Callable, Iterator

import polars as pl
from polars.io.plugins import register_io_source

_WHICH_COLUMNS = pl.QueryOptFlags.none(projection_pushdown=True)


def columns_asked_for(
    measure: Callable[[pl.LazyFrame], pl.LazyFrame], schema: pl.Schema
) -> dict[str, list[str]]:
    """Each column that `measure` makes -> the columns of a frame of `schema` it is made from.

    The measure is run over no rows, one output column at a time, and the columns that Polars reads
    from the source are noted: so the lineage cannot differ from the measure. Columns that all
    outputs need (keys and filters) are named only for outputs that need no others, such as counts.
    """
    asked: set[str] = set()

    def no_rows(
        columns: list[str] | None, predicate: pl.Expr | None, _rows: int | None, _size: int | None
    ) -> Iterator[pl.DataFrame]:
        wanted = list(schema) if columns is None else columns
        asked.update(wanted)
        frame = pl.DataFrame(schema={column: schema[column] for column in wanted})
        yield frame if predicate is None else frame.filter(predicate)

    made = measure(register_io_source(no_rows, schema=schema))
    found = {}
    for name in made.collect_schema().names():
        asked.clear()
        # Loading definitions waits for this. With all optimizations it takes four times as long.
        made.select(name).collect(engine="in-memory", optimizations=_WHICH_COLUMNS)
        found[name] = set(asked)
    by_all = set.intersection(*found.values()) if found else set()
    return {
        name: [name] if name in by_all else sorted(columns - by_all or by_all)
        for name, columns in found.items()
    }
