"""The messages of a failed run, for the person who must act."""

import errno
import re
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from cdr_pipeline.assets.failures import (
    causes,
    days_failed,
    failing_in_words,
    in_words,
    not_together,
    summary,
)
from cdr_pipeline.errors import Damaged, Unauthorized, Unavailable
from cdr_pipeline.tables.values import read_value

MONDAY, TUESDAY = date(2023, 3, 6), date(2023, 3, 7)
FULL = OSError(errno.ENOSPC, "No space left on device")


def test_a_cause_names_its_days_as_ranges() -> None:
    """With a full disk, an aggregate over several days fails last, and for the first day."""
    (text,) = summary(causes({TUESDAY: FULL, MONDAY: FULL}))
    assert text == (
        "2023-03-06 to 2023-03-07: a file in CDR_DATA_DIR could not be read or written: No space"
        " left on device. Every partition holds its old content or its new. Make room on its disk,"
        " then try again."
    )


def test_a_cause_that_stopped_no_day_names_none() -> None:
    assert summary({"the catalog broke": []}) == ["the catalog broke"]


def test_the_failure_of_a_step_counts_its_days_and_names_each_cause_once() -> None:
    failure = days_failed({MONDAY: FULL, TUESDAY: FULL}, ["2023-03-06", "2023-03-07", "2023-03-08"])
    assert failure.description is not None
    counted, cause = failure.description.split("\n")
    assert counted == "2 of 3 days failed"
    assert cause.startswith(
        "2023-03-06 to 2023-03-07: a file in CDR_DATA_DIR could not be read or written"
    )
    assert not failure.allow_retries


def test_aggregates_over_several_days_are_named_when_only_they_failed() -> None:
    failure = not_together({"campaign_hourly": FULL, "lead_attempts": FULL})
    (line,) = summary(causes({MONDAY: failure, TUESDAY: failure}))
    assert line.startswith(
        "2023-03-06 to 2023-03-07: campaign_hourly and lead_attempts: a file in CDR_DATA_DIR"
    )
    assert line.endswith("All else of these days is made.")


def test_an_error_that_a_person_must_mend_is_shown_in_its_own_words_and_not_retried() -> None:
    with (
        pytest.raises(dg.Failure, match=r"part-0\.parquet cannot be read") as failed,
        failing_in_words(),
    ):
        raise Damaged(Path("part-0.parquet"))
    assert not failed.value.allow_retries


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Unavailable("it did not answer."), ["did not answer", "What was stored is unchanged."]),
        (Unauthorized("no token."), ["no token. What was stored is unchanged."]),
        (OSError(errno.ENOSPC, "Error writing bytes. [errno 28]"), [": No space left on device."]),
        (FileNotFoundError(errno.ENOENT, "gone", "a.parquet"), ["a.parquet is missing"]),
        (pl.exceptions.ComputeError("parquet: no footer"), ["cannot be read", "rebuild --all"]),
        (OSError(errno.EROFS, "Read-only file system"), ["Read-only", "may read and write there"]),
        (OSError(errno.EXDEV, "Invalid cross-device link", "a"), ["a could", "one file system"]),
        (KeyError("a"), ["KeyError", "please report it"]),
    ],
)
def test_every_error_says_what_happened_and_what_to_do(error: Exception, words: list[str]) -> None:
    assert [word for word in words if word not in in_words(error)] == []


def test_a_fault_of_the_pipeline_names_its_line_and_shows_no_data() -> None:
    with pytest.raises(ValueError, match="0912345678") as raised:
        read_value(b"-0912345678x")
    assert re.fullmatch(
        r"ValueError, a fault of this pipeline \(tables/values\.py, line \d+\): please report it\.",
        in_words(raised.value),
    )
