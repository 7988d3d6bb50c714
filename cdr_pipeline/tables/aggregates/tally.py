"""A tally: groups of equal calls with their number, from which the sums of a day are made.

Aggregates need to know who made a call, how it ended, and how many seconds it took. By these, a
million calls are some thousand groups, and every measure (`kpi`) is made from the groups. Tallies
of parts of a day add up, so that a day is read some row groups at a time, in bounded memory; and
medians of whole seconds are exact.

A tally has the columns `BY` and three kinds of rows. Each kind has columns of its own, which are
null or zero in the others:
- calls: `calls` (how many), `ring_seconds`, `duration`, `billsec`, `first_call_at`, `last_call_at`;
- talks: `talks`, `talk_seconds`;
- key presses: `key_presses`, `key_pressed`, `key_delay`.
If each call has its own row (`singly`), a row is of all three kinds.
"""

from collections.abc import Iterator
from typing import Final

import polars as pl

from cdr_pipeline.tables import kpi
from cdr_pipeline.tables.arrow import in_slices

#: The columns by which calls are grouped: who made a call, and how it ended.
BY: Final = (
    *("campaign_uuid", "disposition", "status", "cause", "sip_hangup_disposition"),
    *("from_number", "direction", "extension"),
)

#: Calls read at a time: two row groups of a file.
PART: Final = 2**17


def roots(cdrs: pl.LazyFrame) -> pl.LazyFrame:
    """The calls that are counted: other legs of a transfer or a ring group are not."""
    return cdrs.filter("is_root")


def parts(cdrs: pl.LazyFrame) -> Iterator[pl.LazyFrame]:
    """The rows, some row groups at a time, to bound the memory."""
    return in_slices(cdrs, PART)


def singly(cdrs: pl.LazyFrame) -> pl.LazyFrame:
    """`cdrs` -> a tally with a row for each root leg, with `hour`."""
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
    """The same tally with equal rows of each kind summed into one, without `hour`."""
    calls = tally.group_by(*BY, "ring_seconds").agg(
        pl.col("calls", "duration", "billsec").sum(),
        pl.col("first_call_at").min(),
        pl.col("last_call_at").max(),
    )
    talks = tally.filter(pl.col("talks") > 0).group_by(*BY, "talk_seconds")
    presses = tally.filter(pl.col("key_presses") > 0).group_by(*BY, "key_pressed", "key_delay")
    kinds = calls, talks.agg(pl.col("talks").sum()), presses.agg(pl.col("key_presses").sum())
    return pl.concat(kinds, how="diagonal")
