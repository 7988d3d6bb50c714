"""What is kept of the records that came: their keys, and when each began."""

from datetime import datetime

import pytest

from cdr_pipeline.api.records import Records
from cdr_pipeline_tests.api.conftest import WINDOW


@pytest.mark.parametrize("at_once", [1, 2, 8_000])
def test_of_a_record_that_came_twice_the_later_beginning_stands(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdr_pipeline.api.records.READ_AT_ONCE", at_once)
    records = Records()
    records.add([1, 2], ["2023-03-07 10:00:00", "2023-03-07 11:00:00"])
    records.add([1], ["2023-03-07 12:00:00"])
    assert records.frame["key"].to_list() == [2, 1]
    records.add([2], ["2023-03-07 13:00:00"])
    assert records.frame["key"].to_list() == [1, 2]
    assert [began.hour for began in records.times()] == [12, 13]


def test_records_are_cut_where_they_began_and_those_of_unknown_beginning_stand_behind() -> None:
    records = Records()
    hours = [None, *(f"2023-03-07 {hour}:00:00" for hour in (12, 10, 11))]
    records.add([0, 12, 10, 11], hours)
    before, others = records.cut(datetime(2023, 3, 7, 11))
    assert before.frame["key"].to_list() == [10]
    assert others.frame["key"].to_list() == [0, 11, 12]
    assert [len(some) for some in others.cut(WINDOW.end)] == [2, 1]
    assert [len(some) for some in Records().cut(WINDOW.end)] == [0, 0]
