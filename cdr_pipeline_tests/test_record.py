"""The facts of the documented record, held to the vendor's own words."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdr_pipeline.record import (
    ADDITIONAL,
    CAUSE_DISPOSITIONS,
    FIELDS,
    STATUS_SPELLINGS,
    STATUSES,
    Disposition,
    Field,
    Kind,
    Window,
    steady_offset,
)

from .records import NEW_YORK, SAIGON, read_time

DOCUMENTED = Path(__file__).parent / "tables" / "list_cdrs_response.json"


def test_the_fields_are_the_documented_ones_in_the_documented_order() -> None:
    sample = json.loads(DOCUMENTED.read_text(encoding="utf-8"))["data"][0]
    assert [field.name for field in FIELDS] == [name for name in sample if name != ADDITIONAL]


def test_numbers_and_times_are_where_the_vendor_documents_them_and_all_else_is_text() -> None:
    kinds = {kind: {one.label for one in FIELDS if one.kind is kind} for kind in Kind}
    assert kinds[Kind.COUNT] == {"duration", "billsec", "presskey_delay"}
    assert kinds[Kind.TIME] == {
        *("time_started", "time_ringing", "time_answered", "time_ended", "time_presskey"),
    }


def test_the_only_renamed_field_is_the_misspelt_one() -> None:
    renamed = {one.name: one.label for one in FIELDS if one.label != one.name}
    assert renamed == {"time_ringging": "time_ringing"}


@pytest.mark.parametrize(
    "name",
    [
        *("recording_url", "autocall_recording_url", "from_number", "to_number", "fullname"),
        *("email", "username", "customer_fullname", "customer_email", "digits", "note"),
    ],
)
def test_people_numbers_and_recordings_are_secret(name: str) -> None:
    assert next(one for one in FIELDS if one.name == name).secret


def test_every_field_is_described() -> None:
    assert all(isinstance(one, Field) and one.description.endswith(".") for one in FIELDS)


def test_statuses_are_the_documented_ones() -> None:
    documented = (
        "answered no-answered busy not-available cancel invalid-number phone-block congestion"
        " failed voicemail busy-line ivr drop telco-block fail-system"
    )
    assert set(documented.split()) == STATUSES
    assert set(STATUS_SPELLINGS.values()) <= STATUSES
    assert not STATUS_SPELLINGS.keys() & STATUSES


def test_a_cause_never_says_that_a_call_was_answered() -> None:
    assert not {Disposition.ANSWERED, Disposition.UNKNOWN} & set(CAUSE_DISPOSITIONS.values())


# ---- times


@given(st.sampled_from((SAIGON, NEW_YORK, ZoneInfo("Pacific/Apia"), ZoneInfo("UTC"))), st.data())
def test_where_clocks_stand_still_an_instant_is_so_much_before_the_wall_clock(
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
        (SAIGON, datetime(2023, 3, 7), datetime(2024, 3, 7), None),  # too long to look through
        (SAIGON, datetime(9999, 12, 31, 23), datetime(9999, 12, 31, 23, 59, 59), None),
        (NEW_YORK, datetime(2023, 3, 7), datetime(2023, 3, 8), -5),
        (NEW_YORK, datetime(2023, 3, 12, 2, 30), datetime(2023, 3, 12, 2, 30), None),
        (NEW_YORK, datetime(2023, 11, 5, 1, 30), datetime(2023, 11, 5, 1, 30), None),
        (ZoneInfo("Pacific/Apia"), datetime(2011, 12, 30, 12), datetime(2011, 12, 30, 12), None),
    ],
)
def test_clocks_stand_still_or_are_moved(
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


def test_by_the_wall_clock_every_day_has_24_hours() -> None:
    for day in (date(2023, 3, 12), date(2023, 11, 5)):  # 23 and 25 hours long in New York
        assert Window.of(day).length == timedelta(hours=24)
