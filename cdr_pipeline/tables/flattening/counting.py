"""Which of the records that came count, and in what order their rows are written.

Of each record a few dozen bytes are kept until that is known: the ledger.
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

#: Calls of a chunk, more or less: those of one campaign and second are never torn.
CHUNK_ROWS: Final = 8_000

#: What is kept of records that cannot be calls.
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
    """What is remembered of every call until it is known which ones count; `sizes`: the bytes of
    each one's text.

    `_key`: equal keys, same call; a hash, which could lose a call only in sight of the blocking
    check `balance`.
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

    dropped: `_at` of the records that do not, in order.
    repeated: `_at` of those among them that are calls of the window and came again, in order.
    chunks: how many rows of each run every chunk takes.
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
    """Of records that came more than once the last one counts; of another window none does.

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
    """Those that came and are not kept: of an ordinary day none, which their number tells."""
    return came.filter(~came.is_in(kept.implode())) if len(kept) < len(came) else came.clear()


def _chunks(calls: pl.DataFrame, runs: int) -> list[list[int]]:
    """How many rows of each run every chunk takes, where calls stand by campaign, then time.

    Campaign and second as one number, which takes half the time and memory of two columns to sort.
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
    """How many rows of each run every chunk takes, where rejects stand as they came."""
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
    """How many rows of each run every chunk takes; `rows`: `_run`, `_turn`, `_bytes`.

    Rows of one turn stay in one chunk. It takes fewer rows where they are larger, by their own text
    alone: so chunks do not depend on the order in which rows came.
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
    """`_at`, `_inside`, `_began` and `_key` of records that cannot be calls. One without an id is
    told apart by its bytes, which its `_key` stands for, and by its number among equals of its
    reading (`_pass`), by their offsets.
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
    """Those rows that count, in their order."""
    return rows.filter(~among(dropped)) if len(dropped) else rows


def among(some: pl.Series) -> pl.Expr:
    """Whether a row's `_at` is one of `some`, of which there are any, in order.

    By looking it up: a join would take all of them in hand for every few thousand rows.
    """
    place = pl.lit(some).search_sorted(pl.col("_at")).clip(0, len(some) - 1)
    return pl.lit(some).gather(place) == pl.col("_at")
