"""Offsets of zones, windows, and ranges of days."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdr_pipeline.window import Window, ranges, spans, steady_offset
from cdr_pipeline_tests.records import NEW_YORK, SAIGON, read_time

# ---- offsets of zones


@given(st.sampled_from((SAIGON, NEW_YORK, ZoneInfo("Pacific/Apia"), ZoneInfo("UTC"))), st.data())
def test_a_steady_offset_turns_wall_clock_times_into_instants(
    zone: ZoneInfo, data: st.DataObject
) -> None:
    year = st.datetimes(datetime(2011, 1, 1), datetime(2012, 12, 31)).map(
        lambda one: one.replace(microsecond=0)
    )
    first = data.draw(year)
    last = first + data.draw(st.timedeltas(timedelta(0), timedelta(days=8)))
    between = first + (last - first) * data.draw(st.floats(0, 1))
    offset = steady_offset(first, last, zone)
    if offset is not None:
        text = f"{between:%Y-%m-%d %H:%M:%S}"
        utc = datetime.fromisoformat(text).replace(tzinfo=UTC) - offset
        assert read_time(text, zone) == utc


@pytest.mark.parametrize(
    ("zone", "first", "last", "hours"),
    [
        (SAIGON, datetime(2023, 3, 7), datetime(2023, 3, 8), 7),
        (SAIGON, datetime(2023, 3, 7), datetime(2024, 3, 7), None),  # too long to search
        (SAIGON, datetime(9999, 12, 31, 23), datetime(9999, 12, 31, 23, 59, 59), None),
        (NEW_YORK, datetime(2023, 3, 7), datetime(2023, 3, 8), -5),
        (NEW_YORK, datetime(2023, 3, 12, 2, 30), datetime(2023, 3, 12, 2, 30), None),
        (NEW_YORK, datetime(2023, 11, 5, 1, 30), datetime(2023, 11, 5, 1, 30), None),
        (ZoneInfo("Pacific/Apia"), datetime(2011, 12, 30, 12), datetime(2011, 12, 30, 12), None),
    ],
)
def test_the_offset_is_steady_unless_clocks_change(
    zone: ZoneInfo, first: datetime, last: datetime, hours: int | None
) -> None:
    expected = None if hours is None else timedelta(hours=hours)
    assert steady_offset(first, last, zone) == expected


# ---- windows


def test_a_window_holds_its_first_second_and_not_its_end() -> None:
    window = Window.of(date(2023, 3, 7))
    assert datetime(2023, 3, 7) in window
    assert datetime(2023, 3, 7, 23, 59, 59, 999_999) in window
    assert datetime(2023, 3, 8) not in window
    assert datetime(2023, 3, 6, 23, 59, 59) not in window
    assert str(window) == "2023-03-07 00:00:00 to 2023-03-08 00:00:00"


def test_a_window_of_a_day_is_24_hours_of_the_wall_clock() -> None:
    for day in (date(2023, 3, 12), date(2023, 11, 5)):  # 23 and 25 hours long in New York
        assert Window.of(day).length == timedelta(hours=24)


# ---- ranges of days


def days(*numbers: int) -> list[date]:
    """The days of March 2023 with these numbers."""
    return [date(2023, 3, number) for number in numbers]


def test_consecutive_days_become_one_range() -> None:
    assert spans(days(5, 1, 2, 9, 3)) == [tuple(days(1, 3)), tuple(days(5, 5)), tuple(days(9, 9))]
    assert spans([]) == []
    eve, new_year = date(2023, 12, 31), date(2024, 1, 1)
    assert spans([eve, new_year]) == [(eve, new_year)]


def test_a_range_is_no_longer_than_the_limit_of_a_run() -> None:
    assert spans(days(1, 2, 3, 4, 5), most=2) == [
        tuple(days(1, 2)),
        tuple(days(3, 4)),
        tuple(days(5, 5)),
    ]


@given(st.sets(st.integers(1, 31)), st.integers(0, 7))
def test_ranges_hold_each_day_once(numbers: set[int], most: int) -> None:
    held = [
        first + timedelta(days=ahead)
        for first, last in spans(days(*numbers), most)
        for ahead in range((last - first).days + 1)
    ]
    assert held == days(*sorted(numbers))


def test_days_are_written_as_ranges() -> None:
    assert ranges(days(9, 1, 2, 3, 5)) == "2023-03-01 to 2023-03-03, 2023-03-05, 2023-03-09"
    assert ranges([]) == ""
