"""Decides which of the received records count, and in what order their rows are written.

Until this is known, a few dozen bytes are kept of each record: the ledger.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

import polars as pl

from cdr_pipeline.page import began_in
from cdr_pipeline.tables.arrow import ROW_BYTES
from cdr_pipeline.tables.flattening.runs import Runs
from cdr_pipeline.tables.versions import number_by_place, without_neighbours_copies
from cdr_pipeline.window import Window

#: About so many calls make a chunk: calls of one campaign and second always share a chunk.
CHUNK_ROWS: Final = 8_000

#: The columns that are kept of records that cannot be calls.
WHOLE: Final = {
    "_at": pl.Int64(),
    "_inside": pl.Boolean(),
    "_began": pl.Datetime("us"),
    "_key": pl.UInt64(),
    "_pass": pl.Int64(),  # null where `_key` stands for an id, as the next
    "_offset": pl.Int64(),
}

#: More seconds since 1970 than any time that is read.
_MOST_SECONDS: Final = 2**39


def ledger_rows(calls: pl.DataFrame, run: int, sizes: pl.Series) -> pl.DataFrame:
    """The ledger: the facts kept of every call until it is known which calls count.

    `sizes`: the bytes of text of each call. `_key`: a hash of the id; equal keys are the same call.
    If two ids had one hash, a call would be lost, and the blocking check `balance` would fail.
    """
    return calls.select(
        "_at",
        pl.col("id").hash().alias("_key"),
        pl.lit(run, pl.UInt32).alias("_run"),
        "_listed",
        pl.col("campaign_uuid").cast(pl.Categorical),
        "_began",
        sizes.alias("_bytes"),
    )


@dataclass(frozen=True)
class Counted:
    """Which records of a window count, and where they stand.

    dropped: `_at` of the records that do not count, in order.
    repeated: `_at` of the dropped calls of the window that came again later, in order.
    chunks: for each chunk, how many rows it takes from each run.
    whole_rejects: how many of the records that cannot be calls count.
    """

    dropped: pl.Series
    repeated: pl.Series
    chunks: list[list[int]]
    whole_rejects: int


def can_count(window: Window) -> pl.Expr:
    """Whether a call, of which `_began` and `_listed` are known, belongs to a window."""
    return began_in(pl.col("_began"), window) & pl.col("_listed")


def count(calls: pl.DataFrame, whole: pl.DataFrame, window: Window, runs: int) -> Counted:
    """Of the records of one call, the last one counts; records of another window do not count.

    `calls` as `ledger_rows`; `whole`: of the records that cannot be calls, as `told_apart`.
    """
    came_as = ("_at", "_key", "_began", "_listed")
    rejects = whole.rename({"_inside": "_listed"})
    records = pl.concat([calls.select(came_as), rejects.select(came_as)])
    arrived = without_neighbours_copies(records, ["_key", "_began"])
    owned = calls.lazy().filter(can_count(window)).select("_at").collect()
    counting, rejected = owned, whole.filter("_inside").select("_at")
    if arrived["_key"].n_unique() < len(arrived):
        last = arrived.group_by("_key").agg(pl.col("_at").max())
        counting, rejected = (some.join(last, on="_at", how="semi") for some in (owned, rejected))
    kept = pl.concat([counting["_at"], rejected["_at"]])
    came = pl.concat([calls["_at"], whole["_at"]])
    return Counted(
        dropped=_without(came, kept).sort(),
        repeated=_without(owned["_at"], counting["_at"]).sort(),
        chunks=_chunks(calls, runs),
        whole_rejects=len(rejected),
    )


def _without(came: pl.Series, kept: pl.Series) -> pl.Series:
    """The values of `came` that are not in `kept`: mostly none, which their number shows."""
    return came.filter(~came.is_in(kept.implode())) if len(kept) < len(came) else came.clear()


def _chunks(calls: pl.DataFrame, runs: int) -> list[list[int]]:
    """How many rows each chunk takes from each run, for calls ordered by campaign, then time.

    Sorts by one number made of campaign and second: this takes half the time and memory of sorting
    two columns.
    """
    campaigns = calls.select(pl.col("campaign_uuid").unique()).with_columns(
        _rank=pl.col("campaign_uuid").cast(pl.String).rank("dense").fill_null(0)
    )
    rank = calls.select("campaign_uuid").join(
        campaigns, on="campaign_uuid", how="left", nulls_equal=True, maintain_order="left"
    )["_rank"]
    second = pl.lit(rank).cast(pl.Int64) * _MOST_SECONDS + pl.col("_began").dt.epoch("s")
    return _in_turn(calls.select("_run", "_bytes", _turn=second), runs)


def by_arrival(rejects: Runs) -> list[list[int]]:
    """How many rows each chunk takes from each run, for rejects in the order they came."""
    turns = [
        run.select(
            pl.lit(number, pl.UInt32).alias("_run"),
            pl.col("_at").alias("_turn"),
            pl.col("payload").bin.size().alias("_bytes"),
        ).collect()
        for number, run in enumerate(rejects)
    ]
    return _in_turn(pl.concat(turns), len(turns)) if turns else []


def _in_turn(rows: pl.DataFrame, runs: int) -> list[list[int]]:
    """How many rows each chunk takes from each run; `rows`: `_run`, `_turn`, `_bytes`.

    Rows of one turn stay in one chunk. A chunk of large rows has fewer rows. This depends only on
    the rows' own text, so the chunks do not depend on the order in which rows came.
    """
    size = pl.max_horizontal("_bytes", ROW_BYTES).cast(pl.Int64).sum()
    turns = rows.group_by("_turn").agg(_end=size).sort("_turn")
    full = (pl.col("_end").cum_sum() - 1) // (CHUNK_ROWS * ROW_BYTES)
    starts = turns.filter(full.is_first_distinct())["_turn"]
    chunk = starts.search_sorted(rows["_turn"], side="right").alias("_chunk")
    counts = rows.select("_run", chunk).group_by("_chunk", "_run").len()
    chunks: dict[int, list[int]] = defaultdict(lambda: [0] * runs)
    for number, run, length in counts.sort("_chunk").iter_rows():
        chunks[number][run] = length
    return list(chunks.values())


def told_apart(whole: pl.DataFrame) -> pl.DataFrame:
    """`_at`, `_inside`, `_began` and `_key` of records that cannot be calls. A record without an id
    is identified by its bytes (the hash in `_key`) and its number, by offset, among equal records
    of its reading (`_pass`).
    """
    number = number_by_place("_pass", "_key", "_offset")
    numbered = pl.struct("_key", number).hash()
    return whole.select(
        "_at",
        "_inside",
        "_began",
        pl.when(pl.col("_pass").is_null()).then("_key").otherwise(numbered).alias("_key"),
    )


def that_count(rows: pl.LazyFrame, dropped: pl.Series) -> pl.LazyFrame:
    """The rows that count, in their order."""
    return rows.filter(~among(dropped)) if len(dropped) else rows


def among(some: pl.Series) -> pl.Expr:
    """Whether a row's `_at` is one of `some`, which is sorted and not empty.

    Uses a binary search: a join would read all of `some` for every few thousand rows.
    """
    place = pl.lit(some).search_sorted(pl.col("_at")).clip(0, len(some) - 1)
    return pl.lit(some).gather(place) == pl.col("_at")
