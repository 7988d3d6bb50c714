"""Calls that are alike, and how many of them: what the sums of a day are made from.

Aggregates ask of a call by whom it was made, how it ended, and how many seconds it took: a million
calls are some thousand rows of that, and every measure (`kpi`) takes those. Tallies of parts
of a day add up, so that a day is read some row groups at a time, in bounded memory; and medians of
whole seconds are exact.

A tally has the columns `BY` and three kinds of rows. Each kind has columns of its own, which are
null or zero in the others:
- calls: `calls` (how many), `ring_seconds`, `duration`, `billsec`, `first_call_at`, `last_call_at`;
- talks: `talks`, `talk_seconds`;
- key presses: `key_presses`, `key_pressed`, `key_delay`.
Where each call has a row of its own (`singly`), a row is of all three kinds.
"""

from collections.abc import Iterator
from typing import Final

import polars as pl

from cdr_pipeline.tables import kpi
from cdr_pipeline.tables.arrow import in_slices

#: By whom a call was made, and how it ended.
BY: Final = (
    *("campaign_uuid", "disposition", "status", "cause", "sip_hangup_disposition"),
    *("from_number", "direction", "extension"),
)

#: Calls read at a time: two row groups of a file.
PART: Final = 2**17


def roots(cdrs: pl.LazyFrame) -> pl.LazyFrame:
    """The calls that are counted: a transfer's or a ring group's other legs are no calls."""
    return cdrs.filter("is_root")


def parts(cdrs: pl.LazyFrame) -> Iterator[pl.LazyFrame]:
    """The rows, some row groups at a time: what is kept of each is then all that needs memory."""
    return in_slices(cdrs, PART)


def singly(cdrs: pl.LazyFrame) -> pl.LazyFrame:
    """`cdrs` -> a tally with a row for each root leg, and its `hour`."""
    one = pl.lit(1, pl.Int64)
    return roots(cdrs).select(
        *BY,
        "hour",
        kpi.seconds_of("ring_seconds"),
        kpi.seconds_of("duration"),
        kpi.seconds_of("billsec"),
        "key_pressed",
        calls=one,
        first_call_at="time_started",
        last_call_at="time_started",
        talk_seconds=kpi.talk_seconds(),
        talks=pl.when(kpi.talk_seconds().is_not_null()).then(one),
        key_delay=kpi.key_delay(),
        key_presses=pl.when(pl.col("key_pressed").is_not_null()).then(one),
    )


def alike(tally: pl.LazyFrame) -> pl.LazyFrame:
    """The same tally in few rows: those alike in one."""
    calls = tally.group_by(*BY, "ring_seconds").agg(
        pl.col("calls", "duration", "billsec").sum(),
        pl.col("first_call_at").min(),
        pl.col("last_call_at").max(),
    )
    talks = tally.filter(pl.col("talks") > 0).group_by(*BY, "talk_seconds")
    presses = tally.filter(pl.col("key_presses") > 0).group_by(*BY, "key_pressed", "key_delay")
    kinds = calls, talks.agg(pl.col("talks").sum()), presses.agg(pl.col("key_presses").sum())
    return pl.concat(kinds, how="diagonal")
