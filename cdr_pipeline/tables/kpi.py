"""Measures of calls as Polars expressions, each defined once, with its source.

Measures of one call take the columns of `cdrs`; counts and sums take the columns of a tally
(`tally`), ratios the columns of an aggregate. Shares lie between 0 and 1; every ratio is null if
its denominator is 0. Numerators and denominators are stored beside the ratios, so that days add up
to weeks and months. Medians, percentiles and counts of distinct values do not add up.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from cdr_pipeline.record import (
    CAUSE_DISPOSITIONS,
    CONGESTION_CAUSES,
    CONGESTION_STATUSES,
    SHORT_CALL_SECONDS,
    STATUS_DISPOSITIONS,
    Disposition,
)

_MOST_SECONDS: Final = 2**31

# ---- one call


def was_answered() -> pl.Expr:
    """Whether a call was answered: by time_answered or billsec (API.md). Null, which counts as not
    answered, if both are null.
    """
    return pl.col("time_answered").is_not_null() | (pl.col("billsec") > 0)


def disposition() -> pl.Expr:
    """Our class of a call, by answer, status and hangup cause (`record`'s tables; API.md).

    Answered comes first; then the vendor's status where it says more than the cause; then the
    cause. Columns in: time_answered, billsec, status, cause.
    """
    return pl.coalesce(
        pl.when(was_answered()).then(pl.lit(Disposition.ANSWERED.label)),
        _class_of("status", STATUS_DISPOSITIONS),
        _class_of("cause", CAUSE_DISPOSITIONS),
        pl.lit(Disposition.UNKNOWN.label),
    )


def is_of(which: Disposition) -> pl.Expr:
    """Whether a call is of one disposition."""
    return pl.col("disposition") == which.label


def seconds_of(column: str) -> pl.Expr:
    """The seconds in a column; null if they are more than 68 years (positive or negative), which no
    call takes: the sum of such values would overflow 64 bits.
    """
    return pl.when(pl.col(column).is_between(-_MOST_SECONDS, _MOST_SECONDS)).then(column)


def talk_seconds() -> pl.Expr:
    """Talk time (billsec) of an answered call; null for any other call."""
    return pl.when(is_of(Disposition.ANSWERED)).then(seconds_of("billsec"))


def key_delay() -> pl.Expr:
    """Seconds from the answer to the key press, if a key of 0 to 9 was pressed; else null."""
    return pl.when(pl.col("key_pressed").is_not_null()).then(seconds_of("presskey_delay"))


def more_often(column: str, times: int) -> pl.Expr:
    """Whether more than so many rows have the row's value; null for null."""
    # Collect in memory: the streaming engine of Polars 2.1 panics if `rle` gets two chunks.
    runs = pl.col(column).drop_nulls().sort().rle().struct
    often = runs.field("value").filter(runs.field("len") > times)
    return pl.col(column).is_in(often.implode())


def number_within(column: str) -> pl.Expr:
    """1, 2, 3, ... within each run of equal values; rows are sorted by this column first.

    Compares neighbours: a window over groups takes ten times as long if nearly every group is one
    call.
    """
    row = pl.int_range(pl.len(), dtype=pl.Int64)
    begins = (row == 0) | pl.col(column).ne_missing(pl.col(column).shift())
    first = pl.when(begins).then(row).forward_fill()
    return row - first + 1


def attempted() -> pl.Expr:
    """Whether a call was really attempted."""
    return ~is_of(Disposition.NOT_ATTEMPT)


def is_direction(which: str) -> pl.Expr:
    """Whether a call went one way, in whichever case the vendor writes it; outbound: we called."""
    return pl.col("direction").str.to_lowercase() == which


def in_64_bits(column: str, *within: str) -> pl.Expr:
    """The hash of a text (and of the texts `within`), the same within a process; null for null."""
    texts = pl.struct(column, *within) if within else pl.col(column)
    return pl.when(pl.col(column).is_not_null()).then(texts.hash())


# ---- counts and sums over a tally


def calls() -> pl.Expr:
    """Root legs: the tables count no other legs."""
    return pl.col("calls").sum()


def calls_if(holds: pl.Expr) -> pl.Expr:
    """Calls for which `holds` is true; null counts as false."""
    return pl.col("calls").filter(holds).sum()


def calls_of(which: Disposition) -> pl.Expr:
    """Calls of one disposition."""
    return calls_if(is_of(which))


def seizures() -> pl.Expr:
    """Calls that were really attempted (ITU-T E.425): all calls except not_attempt."""
    return calls_if(attempted())


def effective() -> pl.Expr:
    """NER's numerator (ITU-T E.425): calls answered, or ended by the far end, not the network."""
    return calls_if(
        pl.col("disposition").is_in([one.label for one in Disposition if one.effective])
    )


def short_calls() -> pl.Expr:
    """Answered calls shorter than `SHORT_CALL_SECONDS`: a burnt hotline, a script cut off."""
    return _talks(pl.col("talk_seconds") < SHORT_CALL_SECONDS)


def talks() -> dict[str, pl.Expr]:
    """Answered calls by talk time, in the buckets of the vendor's portal. Each bucket begins at the
    second where the one before ends; 30 s are in the third bucket (the last is "over 30 s").
    """
    seconds = pl.col("talk_seconds")
    return {
        "talks_under_5s": _talks(seconds < 5),
        "talks_5_to_15s": _talks((seconds >= 5) & (seconds < 15)),
        "talks_15_to_30s": _talks((seconds >= 15) & (seconds <= 30)),
        "talks_over_30s": _talks(seconds > 30),
    }


def rings() -> pl.Expr:
    """Calls with a known ringing time."""
    return calls_if(pl.col("ring_seconds").is_not_null())


def key_presses() -> pl.Expr:
    """Calls in which a key of 0 to 9 was pressed; the vendor's 127 is no key (API.md)."""
    return pl.col("key_presses").sum()


def presses_of(key: int) -> pl.Expr:
    """Calls in which `key` was the first key pressed."""
    return pl.col("key_presses").filter(pl.col("key_pressed") == key).sum()


def ended_by(side: str) -> pl.Expr:
    """Calls that one side ended, by sip_hangup_disposition (API.md): "send" is the system, which
    sent BYE, CANCEL or a refusal; "recv" is the far end.
    """
    return calls_if(pl.col("sip_hangup_disposition").str.starts_with(f"{side}_"))


def congestion() -> pl.Expr:
    """Network failures that are congestion or a blocked hotline, by status or cause (API.md)."""
    told = pl.col("status").is_in(CONGESTION_STATUSES) | pl.col("cause").is_in(CONGESTION_CAUSES)
    return calls_if(is_of(Disposition.NETWORK_FAILURE) & told)


def seconds(column: str, of: str = "calls") -> pl.Expr:
    """Sum of the seconds in `column` over the calls (or talks, or key presses: `of`)."""
    return (pl.col(column) * pl.col(of)).sum()


def ranked(column: str, by: Sequence[str], of: str = "calls") -> dict[str, pl.Expr]:
    """Columns that `spread` needs, added to a tally's rows before they are grouped: how many of the
    group's calls (or talks, or key presses: `of`) there are up to and including the row, in the
    order of `column`, and how many have known seconds.

    To sort each group while it is summed takes ten times as long if there are many groups.
    """
    known = pl.when(pl.col(column).is_not_null()).then(of)
    return {
        f"{column}_up_to": known.cum_sum().over(by, order_by=column),
        f"{column}_known": known.sum().over(by),
    }


def spread(name: str, column: str) -> dict[str, pl.Expr]:
    """Median and 95th percentile of the seconds in `column`, linearly interpolated between
    neighbours (as Excel's PERCENTILE.INC and SQL's percentile_cont); null over nothing, and not
    additive. The rows must be `ranked` by the column.
    """
    return {
        f"{name}_median_seconds": _percentile(column, 0.5),
        f"{name}_p95_seconds": _percentile(column, 0.95),
    }


def _percentile(column: str, share: float) -> pl.Expr:
    """The percentile `share` (0 to 1); exact, since a tally counts every value."""
    up_to = pl.col(f"{column}_up_to")
    place = share * (pl.col(f"{column}_known") - 1)
    below, above = (pl.when(up_to > at).then(column).min() for at in (place.floor(), place.ceil()))
    return below + (above - below) * (place - place.floor()).first()


def _talks(hold: pl.Expr) -> pl.Expr:
    return pl.col("talks").filter(hold).sum()


# ---- counts over calls


def count(holds: pl.Expr) -> pl.Expr:
    """Rows (one per call) for which `holds` is true; null counts as false."""
    return holds.sum().cast(pl.Int64)


def unique(column: str) -> pl.Expr:
    """The number of distinct values, without null; not additive."""
    return pl.col(column).drop_nulls().n_unique().cast(pl.Int64)


# ---- ratios over an aggregate's columns, before or after they are summed


@dataclass(frozen=True)
class Ratio:
    """One column of an aggregate over another."""

    numerator: str
    denominator: str
    description: str


#: Column -> the ratio that it holds.
RATIOS: Final = {
    "asr": Ratio(
        "answered", "seizures", "Answer-seizure ratio: answered / seizures (ITU-T E.411, E.425)."
    ),
    "ner": Ratio(
        "effective",
        "seizures",
        "Network effectiveness ratio: effective / seizures (ITU-T E.425).",
    ),
    "acd_seconds": Ratio(
        "billsec", "answered", "Average call duration in seconds: billsec / answered."
    ),
    "congestion_share": Ratio(
        "congestion", "seizures", "Calls lost to congestion: congestion / seizures."
    ),
}

#: The ratios of every dataset that counts calls by campaign, hotline or agent.
OF_CALLS: Final = ("asr", "ner", "acd_seconds")


def ratios(names: Iterable[str] = OF_CALLS) -> dict[str, pl.Expr]:
    """Some of `RATIOS`, each under its name."""
    return {name: ratio(RATIOS[name].numerator, RATIOS[name].denominator) for name in names}


def ratio(numerator: str, denominator: str) -> pl.Expr:
    """One column over another; null over nothing."""
    return pl.when(pl.col(denominator) > 0).then(pl.col(numerator) / pl.col(denominator))


def _class_of(column: str, classes: dict[str, Disposition]) -> pl.Expr:
    labels = [one.label for one in classes.values()]
    return pl.col(column).replace_strict(
        list(classes), labels, default=None, return_dtype=pl.String
    )
