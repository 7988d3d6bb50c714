"""The judge counts wrong values, and accepts other notations of right ones."""

from collections.abc import Mapping
from typing import Any

import polars as pl
import pytest

from cdr_pipeline.bench.contestants import Written
from cdr_pipeline.bench.truth import Verdict, verdict

TRUTH = pl.DataFrame(
    {
        "id": ["a", "b"],
        "billsec": ["5", "0"],
        "time_answered": ["2023-03-07 10:00:00", None],
        "additional.data1": ["i:1", "s:01"],
        "additional.Data1": [None, "s:HD"],
        "additional.hẹn": ['j:{"giờ":"8:30","phòng":7}', None],
    }
)
SENT = 7


def judged(**columns: Any) -> Verdict:
    """The verdict on a frame of right columns, some of which are replaced by `columns`."""
    right = {"id": ["a", "b"], "billsec": [5, 0], "time_answered": ["2023-03-07 10:00:00", ""]}
    keys = {"text": [None, "01"], "int": [1, None], "other": [None, "HD"], "hen": HEN}
    frame = pl.DataFrame({**right, **keys, **columns}, strict=False)
    fields = {name: [name] for name in ("id", "billsec", "time_answered")}
    return verdict(Written(frame, fields, KEYS, raw=["hen"]), [TRUTH])


HEN = ['{"giờ":"8:30","phòng":7}', None]
KEYS: Mapping[str, list[str]] = {"data1": ["text", "int"], "Data1": ["other"], "hẹn": ["hen"]}


def test_right_values_are_judged_right() -> None:
    assert judged() == Verdict(values=SENT)


@pytest.mark.parametrize(
    ("columns", "wrong"),
    [
        ({"int": [2, None]}, {"changed": 1}),
        ({"int": [None, None]}, {"lost": 1}),
        ({"int": [None, None], "text": ["1", "01"]}, {"mistyped": 1}),
        ({"int": [1.0, None]}, {"mistyped": 1}),
        ({"text": [None, "1"]}, {"changed": 1}),
        ({"other": ["HD", "HD"]}, {"invented": 1}),
        ({"hen": ['{"giờ":"8:30","phòng":8}', None]}, {"changed": 1}),
        ({"billsec": [5, 1]}, {"changed": 1}),
        ({"time_answered": ["2023-03-07 03:00:00", None]}, {"changed": 1}),
    ],
)
def test_wrong_values_are_counted_by_kind(columns: dict[str, Any], wrong: dict[str, int]) -> None:
    assert judged(**columns) == Verdict(values=SENT, **wrong)


def test_a_call_that_is_missing_or_there_twice_is_counted() -> None:
    fields = {"id": ["id"]}
    twice = pl.DataFrame({"id": ["a", "a"]})
    found = verdict(Written(twice, fields, {}), [TRUTH.select("id")])
    assert found == Verdict(calls=2)  # b is missing, a is there twice


def test_the_values_of_two_keys_in_one_column_are_lost() -> None:
    together = pl.DataFrame({"id": ["a", "b"], "data1": [None, "HD"]})
    truth = TRUTH.select("id", "additional.data1", "additional.Data1")
    written = Written(together, {"id": ["id"]}, {"data1": ["data1"], "Data1": ["data1"]})
    assert verdict(written, [truth]) == Verdict(values=3, lost=2)


def test_sentinels_and_empty_text_are_null() -> None:
    never = ["2023-03-07 10:00:00", "0001-01-01T00:00:00Z"]
    assert judged(time_answered=never, text=["", "01"]).wrong == 0
