"""A call's disposition, by the table of hangup causes in API.md."""

from datetime import datetime

import polars as pl
import pytest

from cdr_pipeline.tables.kpi import disposition
from cdr_pipeline_tests.tables.recount import BY_CAUSE, STATUS_WINS

STATUS_SAYS_NO_MORE = ("no-answered", "busy", "voicemail", "busy-line", "ivr", "drop", "Bận", None)
CAUSES = (*BY_CAUSE, None)


def disposition_of(**columns: object) -> str:
    """The disposition of one call."""
    given_ = {"time_answered": None, "billsec": 0, "status": None, "cause": None} | columns
    types = {
        "time_answered": pl.Datetime("us"),
        "billsec": pl.Int64(),
        **dict.fromkeys(("status", "cause"), pl.String()),
    }
    frame = pl.DataFrame({name: [value] for name, value in given_.items()}, schema=types)
    label: str = frame.select(disposition()).item()
    return label


@pytest.mark.parametrize(("cause", "label"), [*BY_CAUSE.items(), (None, "unknown")])
def test_a_cause_has_the_class_of_the_table_in_api_md(cause: str | None, label: str) -> None:
    for status in STATUS_SAYS_NO_MORE:
        assert disposition_of(cause=cause, status=status) == label


@pytest.mark.parametrize(("status", "label"), STATUS_WINS.items())
def test_a_status_that_says_more_than_the_cause_wins(status: str, label: str) -> None:
    assert {disposition_of(status=status, cause=cause) for cause in CAUSES} == {label}


def test_an_answer_decides_before_status_and_cause() -> None:
    for status, cause in ((None, None), ("failed", "LOSE_RACE"), ("busy", "USER_BUSY")):
        assert disposition_of(status=status, cause=cause, billsec=1) == "answered"
        answered = disposition_of(status=status, cause=cause, time_answered=datetime(2023, 3, 7))
        assert answered == "answered"


def test_a_status_or_cause_alone_never_makes_a_call_answered() -> None:
    assert disposition_of(status="answered", cause="NORMAL_CLEARING", billsec=0) == "unknown"
    assert disposition_of(status="answered", cause="NORMAL_CLEARING", billsec=None) == "unknown"
