"""Typed fields: times as instants of a zone, one spelling of a status, our own columns."""

import json
from datetime import UTC, date, datetime
from unittest.mock import patch
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdr_pipeline import page
from cdr_pipeline.settings import Settings
from cdr_pipeline.tables.flattening.typed import MOST_COLUMNS, first_key
from cdr_pipeline_tests.records import NEW_YORK, SAIGON, call, flat, read_time, rejects_of, the_call

# ---- times


@pytest.mark.parametrize(
    "time",
    [
        *("", None, "0001-01-01T00:00:00Z", "0000-00-00 00:00:00", "0000-00-00"),
        *("1970-01-01 07:00:00", "1899-12-30 00:00:00", "0001-01-01 00:00:00 +0000 UTC"),
    ],
)
def test_times_that_were_not_reached_are_null(time: object) -> None:
    made = flat(call(time_answered=time, time_ringging=time, time_presskey=time))
    row = made.cdrs.row(0, named=True)
    assert [row[name] for name in ("time_answered", "time_ringing", "time_presskey")] == [None] * 3
    assert made.rejects.is_empty()


@pytest.mark.parametrize(
    "time",
    [
        *("hôm qua", "07/03/2023 13:36", "2023-02-30 10:00:00", "2023-13-07 00:00:00", "20230307"),
        *("2023-03-07 24:00:00", "2023-03-07 13:36:60", "12", "1678171002", " ", "2023-03-07"),
        *("2023-03-07T13:36:42", "2023-03-07T06:36:42Z", "2023-03-07 13:36:42+07:00", [1]),
        *("2023-03-07 13:36:42\n", "\uff12023-03-07 13:36:42", "2023-03-07T13:36+07", 1678171002),
    ],
)
def test_a_time_in_an_undocumented_form_is_null_and_a_reject(time: object) -> None:
    made = flat(call(time_ended=time), call("b", time_ended="2023-03-07 13:36:42"))
    assert made.cdrs.sort("id")["time_ended"].to_list() == [
        None,
        datetime(2023, 3, 7, 13, 36, 42, tzinfo=SAIGON),
    ]
    text = time if isinstance(time, str) else json.dumps(time)
    assert rejects_of(made) == [("a", "time_ended", text, "not a time")]
    assert made.whole_rejects == 0


@pytest.mark.parametrize(
    ("text", "zone", "utc"),
    [
        ("2023-03-07 13:36:42", SAIGON, datetime(2023, 3, 7, 6, 36, 42, tzinfo=UTC)),
        # This hour comes twice on that day: the earlier one is taken.
        ("2023-11-05 01:30:00", NEW_YORK, datetime(2023, 11, 5, 5, 30, tzinfo=UTC)),
    ],
)
def test_a_time_is_the_vendors_wall_clock(text: str, zone: ZoneInfo, utc: datetime) -> None:
    assert the_call(call(time_ended=text), zone=zone)["time_ended"].astimezone(UTC) == utc


def test_a_time_that_the_zone_skips_is_none() -> None:
    made = flat(
        call("a", "2023-03-12 02:30:00"),
        call("b", "2023-03-12 01:59:00", time_ended="2023-03-12 02:00:00"),
        call("c", "2023-03-12 03:00:00"),
        day=date(2023, 3, 12),
        zone=NEW_YORK,
    )
    assert made.cdrs["id"].to_list() == ["b", "c"]
    assert rejects_of(made) == [
        ("a", None, "2023-03-12 02:30:00", "time_started is unreadable"),
        ("b", "time_ended", "2023-03-12 02:00:00", "not a time"),
    ]


@pytest.mark.parametrize(
    ("day", "missing", "hours"),
    [(date(2023, 3, 12), {2}, 23), (date(2023, 11, 5), set(), 25), (date(2023, 6, 1), set(), 24)],
)
def test_days_of_23_and_25_hours_are_whole(day: date, missing: set[int], hours: int) -> None:
    calls = [call(f"{hour:02}", f"{day} {hour:02}:30:00") for hour in range(24)]
    made = flat(*calls, day=day, zone=NEW_YORK)
    assert {*range(24)} - {*made.cdrs["hour"]} == missing
    assert {int(id_ or "") for id_ in made.rejects["id"]} == missing
    assert made.cdrs["hour"].to_list() == made.cdrs["id"].cast(pl.Int8).to_list()
    first, last = made.cdrs["time_started"].gather([0, -1]).dt.epoch("s")
    assert last - first == (hours - 1) * 3600


TIMES = st.one_of(
    st.datetimes(datetime(1979, 12, 31), datetime(2099, 1, 1)).map(lambda one: str(one)[:19]),
    st.datetimes(datetime(2023, 3, 12, 1), datetime(2023, 3, 12, 4)).map(lambda one: str(one)[:19]),
    st.datetimes(datetime(2023, 11, 5), datetime(2023, 11, 5, 3)).map(lambda one: str(one)[:19]),
    st.from_regex(r"\A(19|20)[0-9]{2}-[01][0-9]-[0-3][0-9][ T][0-2][0-9]:[0-6][0-9]:[0-6][0-9]\Z"),
    st.sampled_from(("2023-03-07 10:00:00\n", "\uff12023-03-07 10:00:00", "20230307", "1980", "0")),
    st.sampled_from(("0000-00-00 00:00:00", "0001-01-01T00:00:00Z", "2023-03-07T00:00:00Z", "")),
)


@given(st.lists(TIMES, min_size=1, max_size=8), st.sampled_from((SAIGON, NEW_YORK)))
@example(["1979-12-31 23:59:59", "1980-01-01 00:00:00"], SAIGON)
@example(["9999-12-31 23:59:59"], SAIGON)
@example(["2023-11-05 01:30:00", "2023-03-12 02:30:00", "2023-03-12 03:00:00"], NEW_YORK)
def test_a_column_of_times_is_read_as_each_time_by_itself(texts: list[str], zone: ZoneInfo) -> None:
    instants, unreadable = [], []
    for place, text in enumerate(texts):
        try:
            read = read_time(text, zone)
        except ValueError:
            unreadable.append((str(place), text))
            read = None
        instants.append(read and int(read.timestamp()))
    records = [call(str(place), time_ended=text) for place, text in enumerate(texts)]
    made = flat(*records, zone=zone)
    assert made.cdrs.sort("id")["time_ended"].dt.epoch("s").to_list() == instants
    assert sorted((id_, value) for id_, _, value, _ in rejects_of(made)) == unreadable


# ---- our own columns


@pytest.mark.parametrize(
    ("status", "normal"),
    [
        *(("ANSWERED", "answered"), ("No Answer", "no-answered"), ("no-answer", "no-answered")),
        *(("NOT_AVAILABLE", "not-available"), ("invalid", "invalid-number"), ("busy", "busy")),
        *(("Invalid Number", "invalid-number"), ("Telco_Block", "telco-block"), ("", None)),
        *(("Bận", "bận"), ("NO_ANSWERED", "no-answered"), (" Busy\n", "busy"), (" ", None)),
    ],
)
def test_a_status_has_one_spelling(status: str, normal: str | None) -> None:
    assert the_call(call(status=status))["status"] == normal


def test_ring_and_post_dial_delay_follow_from_the_times() -> None:
    times = {"time_ringging": "2023-03-07 10:00:03", "time_ended": "2023-03-07 10:01:00"}
    answered = the_call(call(**times, time_answered="2023-03-07 10:00:20"))
    assert (answered["ring_seconds"], answered["pdd_seconds"]) == (17, 3)
    unanswered = the_call(call(**times))
    assert (unanswered["ring_seconds"], unanswered["pdd_seconds"]) == (57, 3)
    never_rang = the_call(call(time_ended="2023-03-07 10:01:00"))
    assert (never_rang["ring_seconds"], never_rang["pdd_seconds"]) == (None, None)


@pytest.mark.parametrize(("billsec", "ring_seconds"), [(40, None), (0, 57), (None, 57)])
def test_a_talk_without_time_answered_has_no_ring_seconds(
    billsec: int | None, ring_seconds: int | None
) -> None:
    times = {"time_ringging": "2023-03-07 10:00:03", "time_ended": "2023-03-07 10:01:00"}
    assert the_call(call(**times, billsec=billsec))["ring_seconds"] == ring_seconds


@pytest.mark.parametrize(("parent", "root"), [("a", True), ("", True), (None, True), ("b", False)])
def test_a_root_has_no_parent_or_is_its_own(parent: str | None, root: bool) -> None:
    assert the_call(call("a", parent_id=parent))["is_root"] is root


@pytest.mark.parametrize(
    ("press_key", "key"),
    [
        *((text, None) for text in ("", "{}", "[]", "127", "null", "#", "abc", "[127]", "true")),
        *(('{"press_key":127}', None), ('{"1":127}', None), ('{"key":"127"}', None), ("2.0", None)),
        *(("1", 1), ('"1"', 1), ("0", 0), (" 7 ", 7), ('{"1":5}', 5), ('{"key":"0"}', 0)),
        *(('["9"]', 9), ("[3,127]", 3), ("[127,3]", 3), ('{"a":{"b":7}}', 7), ("[2,1]", 2)),
        *(('{"4":""}', 4), ("[[[8]]]", 8), ('{"key":4,"n":2}', 4), ("[" * 5000, None)),
        *((json.dumps({"time": "10:00", "key": 6}), 6), ("12345678901234567890", None)),
    ],
)
def test_the_key_pressed_is_the_first_of_0_to_9_in_every_form_and_127_is_none(
    press_key: str, key: int | None
) -> None:
    assert first_key(press_key) == key
    assert the_call(call(press_key=press_key))["key_pressed"] == key


@pytest.mark.parametrize(
    ("press_key", "text", "key"),
    [
        *((5, "5", 5), (0, "0", 0), (127, "127", None), (["8"], '["8"]', 8), (None, None, None)),
        *(({"key": 4}, '{"key":4}', 4), ([], "[]", None), ({}, "{}", None), (True, "true", None)),
    ],
)
def test_a_press_key_that_is_no_text_is_its_json(
    press_key: object, text: str | None, key: int | None
) -> None:
    made = the_call(call(press_key=press_key))
    assert (made["press_key"], made["key_pressed"]) == (text, key)


def test_the_id_of_a_record_is_looked_up_once_for_all_its_faults() -> None:
    odd = {"time_ringging": "n/a", "time_answered": "n/a", "time_ended": "n/a", "duration": "abc"}
    with patch.object(page, "identity", side_effect=page.identity) as looked_up:
        made = flat(call("a", **odd), call("", **odd), call("c", "hôm qua", **odd))
    assert looked_up.call_count == 3
    assert made.rejects.select("id", "field").rows() == [
        *(("a", name) for name in ("duration", "time_answered", "time_ended", "time_ringing")),
        *((None, None), ("c", None)),
    ]


def test_the_default_limit_of_columns_is_that_of_the_settings() -> None:
    assert Settings.model_fields["max_additional_columns"].default == MOST_COLUMNS
