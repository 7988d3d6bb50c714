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
    read_time,
    steady_offset,
)

from .records import NEW_YORK, SAIGON

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


@pytest.mark.parametrize(
    "text",
    [
        *("", "0001-01-01T00:00:00Z", "0000-00-00 00:00:00", "0000-00-00", "1970-01-01 07:00:00"),
        *("1899-12-30 00:00:00", "0001-01-01 00:00:00 +0000 UTC"),
    ],
)
def test_empty_text_and_sentinels_name_no_time(text: str) -> None:
    assert read_time(text, SAIGON) is None


def test_a_time_is_the_vendors_wall_clock() -> None:
    read = read_time("2023-03-07 13:36:42", SAIGON)
    assert read is not None
    assert read.astimezone(UTC) == datetime(2023, 3, 7, 6, 36, 42, tzinfo=UTC)
    assert read.utcoffset() == timedelta(hours=7)


@pytest.mark.parametrize(
    "text",
    [
        *("hôm qua", "07/03/2023 13:36", "2023-02-30 10:00:00", "2023-13-07 00:00:00", "20230307"),
        *("2023-03-07 24:00:00", "2023-03-07 13:36:60", "12", "1678171002", " ", "2023-03-07"),
        *("2023-03-07T13:36:42", "2023-03-07T06:36:42Z", "2023-03-07 13:36:42+07:00"),
        *("2023-03-07 13:36:42\n", "\uff12023-03-07 13:36:42", "2023-03-07T13:36+07"),
    ],
)
def test_what_is_not_of_the_documented_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_time(text, SAIGON)


def test_of_a_wall_clock_time_that_comes_twice_the_earlier_is_meant() -> None:
    read = read_time("2023-11-05 01:30:00", NEW_YORK)
    assert read is not None
    assert read.astimezone(UTC) == datetime(2023, 11, 5, 5, 30, tzinfo=UTC)


def test_a_wall_clock_time_that_the_zone_skips_is_refused() -> None:
    with pytest.raises(ValueError, match="no such time in America/New_York"):
        read_time("2023-03-12 02:30:00", NEW_YORK)


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
