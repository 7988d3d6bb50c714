"""The keys and start times that are kept of received records."""

from datetime import datetime

import pytest

from cdr_pipeline.api.records import Records
from cdr_pipeline_tests.api.conftest import WINDOW


@pytest.mark.parametrize("at_once", [1, 2, 8_000])
def test_a_record_that_came_twice_keeps_its_later_start(
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


def test_records_are_cut_by_their_start_and_those_without_one_come_after_the_cut() -> None:
    records = Records()
    hours = [None, *(f"2023-03-07 {hour}:00:00" for hour in (12, 10, 11))]
    records.add([0, 12, 10, 11], hours)
    before, others = records.cut(datetime(2023, 3, 7, 11))
    assert before.frame["key"].to_list() == [10]
    assert others.frame["key"].to_list() == [0, 11, 12]
    assert [len(some) for some in others.cut(WINDOW.end)] == [2, 1]
    assert [len(some) for some in Records().cut(WINDOW.end)] == [0, 0]
