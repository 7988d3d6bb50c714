"""Versions of one record: which of several copies counts, and what changed between two fetches."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

import polars as pl

from cdr_pipeline import page
from cdr_pipeline.tables.raw_pages import StoredPage
from cdr_pipeline.window import Window

_SEEN: Final[dict[str, pl.DataType]] = {
    "key": pl.Int64(),
    "nameless": pl.Boolean(),
    "began": pl.Datetime("us"),
    "_listed": pl.Boolean(),
    "digest": pl.Int64(),
    "pass": pl.Int64(),
    "offset": pl.Int64(),
}


def number_by_place(reading: str, key: str, offset: str) -> pl.Expr:
    """The number of a record among equal records of its reading. By offset, since overlapping pages
    bring the same record twice.
    """
    return pl.col(offset).rank("dense").over(reading, key).cast(pl.Int64)


def without_neighbours_copies(records: pl.DataFrame, call: list[str]) -> pl.DataFrame:
    """Drop a call that a neighbouring window listed, if the window in which it began listed it too.

    `_listed`: whether a record began in the window of its page. `call`: the columns by which two
    records are the same call with the same beginning.
    """
    if records["_listed"].all():
        return records
    listed = records.filter("_listed")
    copies = records.filter(~pl.col("_listed")).join(listed, on=call, how="anti")
    return pl.concat([listed, copies])


def versions(pages: Iterable[StoredPage], window: Window) -> pl.DataFrame:
    """The last version of each record of a window: `key`, `number`, and `digest` of the bytes.

    Keys and digests are valid only within one process. The key of a record without an id stands for
    its bytes; `number` is its number among equal records of its reading, by their offsets.
    """
    inside = page.began_in(pl.col("began"), window) & pl.col("_listed")
    came = pl.concat([pl.DataFrame(schema=_SEEN), *map(_seen, pages)]).with_row_index("at")
    named = came.filter(~pl.col("nameless")).with_columns(number=pl.lit(0, pl.Int64))
    number = number_by_place("pass", "key", "offset")
    records = pl.concat([named, came.filter("nameless").with_columns(number=number)])
    return (
        without_neighbours_copies(records, ["key", "number", "began"])
        .sort("at")
        .unique(["key", "number"], keep="last", maintain_order=True)
        .filter(inside | pl.col("began").is_null())
        .select("key", "number", "digest")
    )


def _seen(stored: StoredPage) -> pl.DataFrame:
    """The records of one page, in its order: `_SEEN`."""
    seen = page.see(stored.body)
    began, nameless = seen.began, set(seen.nameless)
    return pl.DataFrame(
        {
            "key": seen.keys,
            "nameless": [at in nameless for at in range(len(seen))],
            "began": began,
            "_listed": page.began_in(began, stored.window).fill_null(True),
            "digest": [hash(text) for text in page.split(stored.body)],
            "pass": [stored.pass_] * len(seen),
            "offset": range(stored.offset, stored.offset + len(seen)),
        },
        schema=_SEEN,
    )


@dataclass(frozen=True)
class Difference:
    """The calls of one fetch compared with the fetch before: columns of `cdr_receipts`."""

    new_calls: int
    changed_calls: int
    gone_calls: int

    @classmethod
    def between(cls, old: pl.DataFrame, new: pl.DataFrame) -> Self:
        """Compare two results of `versions`."""
        both = old.join(new, on=["key", "number"], suffix="_new")
        return cls(
            new_calls=len(new) - len(both),
            changed_calls=both.filter(pl.col("digest") != pl.col("digest_new")).height,
            gone_calls=len(old) - len(both),
        )
