"""From responses to typed calls and rejects: the documented record, the hostile ones, the laws."""

import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from itertools import repeat
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdr_pipeline import page
from cdr_pipeline.record import FIELDS, Kind, Window
from cdr_pipeline.simulator import Chaos, Tenant, Vendor
from cdr_pipeline.simulator.messy import SPOILERS, Spoiler
from cdr_pipeline.simulator.source import render
from cdr_pipeline.tables.contract import CDRS, REJECTS, misfits
from cdr_pipeline.tables.flattening import counting, runs
from cdr_pipeline.tables.flattening import records as reading
from cdr_pipeline.tables.flattening.flatten import Flat, flatten, part_of, united
from cdr_pipeline.tables.flattening.records import _read_slowly, _record
from cdr_pipeline.tables.flattening.typed import Rules, first_key
from cdr_pipeline.tables.pages import StoredPage, versions
from cdr_pipeline_tests.records import (
    DAY,
    ENTRY,
    NEW_YORK,
    SAIGON,
    STRING,
    Sent,
    a_record,
    as_text,
    call,
    flat,
    flat_pages,
    members_text,
    page_of,
    read_time,
    rejects_of,
    the_call,
    verbatim,
)

LOCAL = timezone(timedelta(hours=7))


def at(hour: int, minute: int = 0, second: int = 0) -> datetime:
    """A moment of the day, in the vendor's zone."""
    return datetime(2023, 3, 7, hour, minute, second, tzinfo=LOCAL)


# ---- the documented response, field by field

DOCUMENTED = (Path(__file__).parents[1] / "list_cdrs_response.json").read_bytes()

FIRST: dict[str, Any] = {
    "id": "366d2a16-7d73-47ad-bc94-9bab059f0f85",
    "parent_id": "366d2a16-7d73-47ad-bc94-9bab059f0f85",
    "sip_call_id": "436447b4-3755-123c-18b6-fa163e71cc82",
    "cause": "USER_BUSY",
    "duration": 27,
    "direction": "outbound",
    "recording_url": None,
    "extension": None,
    "from_number": "02873003586",
    "to_number": "0775702541",
    "receive_dest": None,
    "time_started": at(13, 36, 42),
    "time_answered": None,
    "time_ended": at(13, 37, 9),
    "time_ringing": at(13, 36, 42),
    "status": "busy",
    "billsec": 0,
    "app": "autocall",
    "press_key": "{}",
    "fullname": None,
    "email": None,
    "username": None,
    "sip_hangup_disposition": "recv_refuse",
    "campaign_uuid": "fdccdbf2-bc4b-4a0f-a7ea-cb0239daaa7d",
    "lead_uuid": "2f8b1c0f-da79-4dfb-959d-1b611cf0cd6a",
    "rate": None,
    "digits": None,
    "note": None,
    "customer_fullname": None,
    "customer_email": None,
    "demand_customer": None,
    "interest_segment": None,
    "autocall_presskey_epoch": None,
    "time_presskey": None,
    "presskey_delay": 0,
    "autocall_recording_url": None,
    "disposition": "user_busy",
    "is_root": True,
    "hour": 13,
    "ring_seconds": 27,
    "pdd_seconds": 0,
    "key_pressed": None,
    "additional": """{
        "data1": 1,
        "miengiam": "Giảm 50% gốc",
        "phone_number": "0775702541",
        "sdt": "0981218709",
        "ten": "Đỗ Thị Ngà"
      }""",
    "additional_data1__int": 1,
    "additional_miengiam": "Giảm 50% gốc",
    "additional_phone_number": "0775702541",
    "additional_sdt": "0981218709",
    "additional_ten": "Đỗ Thị Ngà",
    "extra": None,
}
SECOND = FIRST | {
    "id": "35a4bf10-d536-40a6-826f-7ff10ed43d94",
    "parent_id": "35a4bf10-d536-40a6-826f-7ff10ed43d94",
    "sip_call_id": "3188d6eb-3755-123c-18b6-fa163e71cc82",
    "duration": 20,
    "time_started": at(13, 36, 12),
    "time_ended": at(13, 36, 32),
    "time_ringing": at(13, 36, 12),
    "ring_seconds": 20,
}


@pytest.fixture(scope="module")
def documented() -> Flat:
    return flatten([StoredPage(1, DOCUMENTED)], Rules(Window.of(DAY), SAIGON))


def test_the_documented_response_goes_through_field_by_field(documented: Flat) -> None:
    second, first = documented.cdrs.rows(named=True)  # by time
    for made, due in ((first, FIRST), (second, SECOND)):
        for column, value in due.items():
            assert made[column] == value, column
            assert type(made[column]) is type(value), column
        assert list(made) == list(due)
    assert documented.rejects.is_empty()


def test_the_documented_response_has_the_promised_types(documented: Flat) -> None:
    kinds = {
        Kind.TEXT: pl.String(),
        Kind.COUNT: pl.Int64(),
        Kind.TIME: pl.Datetime("us", "Asia/Ho_Chi_Minh"),
    }
    assert dict(documented.cdrs.schema) == {
        **{field.label: kinds[field.kind] for field in FIELDS},
        "disposition": pl.String(),
        "is_root": pl.Boolean(),
        "hour": pl.Int8(),
        **dict.fromkeys(("ring_seconds", "pdd_seconds"), pl.Int64()),
        "key_pressed": pl.Int8(),
        "additional": pl.String(),
        "additional_data1__int": pl.Int64(),
        **{
            f"additional_{name}": pl.String() for name in ("miengiam", "phone_number", "sdt", "ten")
        },
        "extra": pl.String(),
    }
    assert documented.rejects.schema == REJECTS.schema(SAIGON)


def test_the_keys_behind_the_documented_columns_are_known(documented: Flat) -> None:
    assert documented.keys == {
        "additional_data1__int": ["data1"],
        **{f"additional_{name}": [name] for name in ("miengiam", "phone_number", "sdt", "ten")},
    }


def test_an_empty_day_has_every_column_and_no_row() -> None:
    for nothing in (flat(), flatten([], Rules(Window.of(DAY), SAIGON))):
        assert nothing.cdrs.schema == CDRS.schema(SAIGON)
        assert nothing.rejects.schema == REJECTS.schema(SAIGON)
        assert len(nothing.cdrs) == len(nothing.rejects) == nothing.whole_rejects == 0


# ---- fields in another form than documented


@pytest.mark.parametrize(
    ("token", "value"),
    [
        *(("33", 33), ('"33"', 33), ("33.0", 33), ("0", 0), ("null", None), ('""', None)),
        *(("-1", -1), ('"007"', 7), ("3.3e1", 33), ("9223372036854775807", 2**63 - 1)),
        *(("9007199254740993.0", 2**53 + 1), (f'"{33:030}"', 33), ("0e999999999", 0)),
    ],
)
def test_a_whole_number_is_one_in_any_writing(token: str, value: int | None) -> None:
    made = flat(verbatim("duration", token))
    assert made.cdrs["duration"].to_list() == [value]
    assert made.rejects.is_empty()


@pytest.mark.parametrize(
    ("token", "value"),
    [
        *(('"abc"', "abc"), ('"12s"', "12s"), ('"1.5"', "1.5"), ("1.5", "1.5"), ("true", "true")),
        *(("[]", "[]"), ('{"s": 3}', '{"s":3}'), (str(2**70), str(2**70)), ("1e400", "1e400")),
        *(("33.0000000000000001",) * 2, ("4503599627370497.5",) * 2, ('"٣"', "٣")),
        *(
            ("9223372036854775808",) * 2,
            ('" "', " "),
            ("9" * 5000,) * 2,
            (f'"{2**70}"', str(2**70)),
        ),
    ],
)
def test_what_is_no_whole_number_makes_the_field_null_and_the_call_stays(
    token: str, value: str
) -> None:
    record = verbatim("duration", token)
    made = flat(record, call("b", duration=1))
    assert made.cdrs.sort("id")["duration"].to_list() == [None, 1]
    (reject,) = made.rejects.rows(named=True)
    assert (reject["id"], reject["field"], reject["value"]) == ("a", "duration", value)
    assert reject["payload"] == record
    assert reject["reason"]
    assert made.whole_rejects == 0


@pytest.mark.parametrize(
    ("token", "value"),
    [
        *(("101", "101"), ("4.50", "4.50"), ("1E+2", "1E+2"), ("1e400", "1e400"), ("true", "true")),
        *(("false", "false"), ("0", "0"), ('["gọi lại", 2]', '["gọi lại",2]'), ("{}", "{}")),
        *(('{"a" : [1.0, null]}', '{"a":[1.0,null]}'), ('"0123"', "0123"), ('" "', " ")),
        *(("null", None), ('""', None), (str(2**70), str(2**70)), ("9" * 5000,) * 2),
        *((r'"a\u0000b"', "a\0b"), ('"\u2028\u2029\x85\ufeff"', "\u2028\u2029\x85\ufeff")),
        *(
            ('"😀 👩\u200d👧 𠀋 Nga\u0300"', "😀 👩\u200d👧 𠀋 Nga\u0300"),
            (r'"\ud83d\ude00"', "😀"),
        ),
        *((r'"\u0110\/"', "Đ/"), (r'["\u0110\/"]', '["Đ/"]'), (r'"},{ \"id\": ,"', '},{ "id": ,')),
    ],
)
def test_text_is_carried_as_it_is_and_other_values_as_their_json(
    token: str, value: str | None
) -> None:
    made = flat(verbatim("note", token))
    assert made.cdrs["note"].to_list() == [value]
    assert made.rejects.is_empty()


@pytest.mark.parametrize(
    ("status", "normal"),
    [
        *(("ANSWERED", "answered"), ("No Answer", "no-answered"), ("no-answer", "no-answered")),
        *(("NOT_AVAILABLE", "not-available"), ("invalid", "invalid-number"), ("busy", "busy")),
        *(("Invalid Number", "invalid-number"), ("Telco_Block", "telco-block"), ("", None)),
        *(("Bận", "bận"), ("NO_ANSWERED", "no-answered")),
    ],
)
def test_a_status_has_one_spelling(status: str, normal: str | None) -> None:
    assert the_call(call(status=status))["status"] == normal


@pytest.mark.parametrize(
    "time",
    [
        *("2023-03-07T06:36:42Z", "2023-03-07T13:36:42", "2023-03-07 13:36:42+07:00", 1678171002),
        *("hôm qua", "2023-13-07 00:00:00", "2023-03-07 24:00:00", "2023-03-07 13:36:42\n", [1]),
    ],
)
def test_a_time_of_another_form_than_documented_is_null_and_told(time: object) -> None:
    made = flat(call(time_ended=time), call("b", time_ended="2023-03-07 13:36:42"))
    assert made.cdrs.sort("id")["time_ended"].to_list() == [None, at(13, 36, 42)]
    told = time if isinstance(time, str) else json.dumps(time)
    assert rejects_of(made) == [("a", "time_ended", told, "not a time")]
    assert made.whole_rejects == 0


@pytest.mark.parametrize(
    "time", ["", None, "0001-01-01T00:00:00Z", "0000-00-00 00:00:00", "1970-01-01 07:00:00"]
)
def test_times_that_were_not_reached_are_null(time: object) -> None:
    made = flat(call(time_answered=time, time_ringging=time, time_presskey=time))
    row = made.cdrs.row(0, named=True)
    assert [row[name] for name in ("time_answered", "time_ringing", "time_presskey")] == [None] * 3
    assert made.rejects.is_empty()


# ---- additional, and what nobody documented


@pytest.mark.parametrize("nothing", ['""', "null", "[]", "[ ]"])
def test_nothing_additional_is_null_in_each_way_of_writing_it(nothing: str) -> None:
    made = flat(verbatim("additional", nothing))
    assert made.cdrs["additional"].to_list() == [None]
    assert made.keys == {}
    assert made.rejects.is_empty()


def test_additional_may_be_absent_or_an_empty_object() -> None:
    made = flat(call("a"), call("b", additional={}))
    assert made.cdrs.sort("id")["additional"].to_list() == [None, "{}"]
    assert made.keys == {}
    assert made.rejects.is_empty()


def test_additional_rendered_twice_is_the_object_it_renders() -> None:
    made = the_call(call(additional='{"ten": "Đỗ Thị Ngà", "data1": 1}'))
    assert (made["additional_ten"], made["additional_data1__int"]) == ("Đỗ Thị Ngà", 1)
    assert json.loads(made["additional"]) == {"ten": "Đỗ Thị Ngà", "data1": 1}


@pytest.mark.parametrize(
    ("token", "text"),
    [
        *(('["Đỗ Thị Ngà", "0981218709", 1]',) * 2, ("42",) * 2, ("true",) * 2, ("[null]",) * 2),
        *(
            ("[1e400]",) * 2,
            (f"[{'9' * 5000}]",) * 2,
            ("1e400",) * 2,
            ('"khách quen"', "khách quen"),
        ),
        *(('" "', " "), ('"[1]"', "[1]"), ('"{"', "{"), ('"null"', "null"), ('"a\\u0111"', "ađ")),
        (r'"{\"a\":\"\\ud83d\"}"', r'{"a":"\ud83d"}'),
    ],
)
def test_additional_that_is_no_object_keeps_its_text_and_is_told(token: str, text: str) -> None:
    made = flat(verbatim("additional", token))
    assert made.cdrs["additional"].to_list() == [text]
    assert made.keys == {}
    assert rejects_of(made) == [("a", "additional", text, "not an object")]
    assert made.whole_rejects == 0


def test_keys_of_additional_never_meet_the_calls_own_columns() -> None:
    listed = {"id": 1, "status": "vip", "additional": "x", "additional_ten": "y", "date": "z"}
    made = the_call(call(status="busy", additional=listed))
    assert (made["id"], made["status"]) == ("a", "busy")
    assert {name: made[name] for name in made if name.startswith("additional_")} == {
        "additional_additional": "x",
        "additional_additional_ten": "y",
        "additional_date": "z",
        "additional_id__int": 1,
        "additional_status": "vip",
    }


def test_wide_integers_and_decimals_keep_every_digit_somewhere() -> None:
    token = (
        f'{{"w":{2**70},"i":9007199254740993,"f":0.10000000000000000555,"d":33.0,"n":[{2**70}]}}'
    )
    made = the_call(verbatim("additional", token))
    assert {name: made[name] for name in made if name.startswith("additional_")} == {
        "additional_d__float": 33.0,
        "additional_f__float": 0.1,
        "additional_i__int": 9007199254740993,
        "additional_n__json": f"[{2**70}]",
        "additional_w__json": str(2**70),
    }
    digits = json.loads(made["additional"], parse_float=Decimal)["f"]
    assert digits == Decimal("0.10000000000000000555")


def test_undocumented_fields_stand_in_extra_and_the_documented_beside_them_are_typed() -> None:
    unknown = '"duration":"27","ai_summary":{"ý chính": ["hẹn lại"] },"transferred":null'
    record = as_text(call("a"))[:-1] + f',{unknown},"time_ringing":1.50}}'.encode()
    made = the_call(record)
    assert made["duration"] == 27
    assert (
        made["extra"]
        == '{"ai_summary":{"ý chính":["hẹn lại"]},"transferred":null,"time_ringing":1.50}'
    )


def test_a_record_of_another_hand_is_the_same_call() -> None:
    record = {"note": "Đỗ", "duration": 3, "additional": {"Tên": "Ngà"}}
    spaced = json.dumps(call(**record), separators=(" ,  ", "\t: ")).encode()
    plain, other = the_call(call(**record)), the_call(spaced)
    assert json.loads(plain.pop("additional")) == json.loads(other.pop("additional"))
    assert plain == other


def test_of_a_field_that_comes_twice_the_last_counts() -> None:
    assert the_call(b'{"note":"1",' + as_text(call(note="2"))[1:])["note"] == "2"


# ---- records that cannot be a call


@pytest.mark.parametrize(
    ("record", "id_", "reason"),
    [
        (b'{"id":"x","time_started":"2023-03-07 10:00:00","note":"\xff\xfe"}', "x", "UTF-8"),
        (b'{"id":"x","time_started":"2023-03-07 10:00:00","note":"\xed\xa0\xbd"}', "x", "UTF-8"),
        (verbatim("note", r'"\ud83d"', "x"), "x", "surrogate"),
        (verbatim("additional", r'{"ten":"\ud83d"}', "x"), "x", "surrogate"),
        (verbatim("ai_summary", r'["a\ude00b"]', "x"), "x", "surrogate"),
        (verbatim("note", '"a\x01b"', "x"), "x", "not valid JSON"),
        *((record, None, "not an object") for record in (b"null", b"17", b'"x"', b'["x",null]')),
        *(
            (record, None, "no id")
            for record in (call(""), {"time_started": "2023-03-07 10:00:00"})
        ),
        (verbatim("id", "null"), None, "no id"),
        (call("x", ""), "x", "no time_started"),
        (call("x", "0001-01-01T00:00:00Z"), "x", "no time_started"),
        ({"id": "x"}, "x", "no time_started"),
        (verbatim("time_started", "null", "x"), "x", "no time_started"),
        (call("x", "07/03/2023 13:36"), "x", "time_started is unreadable"),
        (call("x", "2023-02-30 10:00:00"), "x", "time_started is unreadable"),
        (verbatim("time_started", "[]", "x"), "x", "time_started is unreadable"),
    ],
)
def test_a_record_that_cannot_be_a_call_is_rejected_whole_and_alone(
    record: Sent, id_: str | None, reason: str
) -> None:
    made = flat(call("before", duration=5), record, call("behind"))
    assert sorted(made.cdrs["id"]) == ["before", "behind"]
    (reject,) = made.rejects.rows(named=True)
    assert (reject["id"], reject["field"], reject["payload"]) == (id_, None, as_text(record))
    assert reason in reject["reason"]
    assert made.whole_rejects == 1


def test_a_record_nested_deeper_than_any_reader_goes_harms_no_other() -> None:
    for field in ("note", "additional", "ai_summary"):
        deep = verbatim(field, "[" * 5000 + "]" * 5000, "deep")
        made = flat(call("before"), deep, call("behind"))
        assert {"before", "behind"} <= set(made.cdrs["id"])
        assert len(made.cdrs) + made.whole_rejects == 3


def test_a_record_with_several_faults_is_one_reject_when_it_is_no_call() -> None:
    made = flat(call("x", "hôm qua", duration="abc", additional=[1]))
    assert rejects_of(made) == [("x", None, "hôm qua", "time_started is unreadable")]


def test_rejects_of_another_day_stay_there() -> None:
    made = flat(call("", "2023-03-08 00:00:00"), call("", "2023-03-07 23:59:59"), {"note": "?"})
    assert len(made.rejects) == 2


# ---- of one call, the version that came last


def test_of_one_id_the_later_record_stands() -> None:
    early, late = call(duration="abc", additional={"x": 1}), call(note="late", duration=2)
    for pages in ([[early, late]], [[early], [late]]):
        made = flat_pages(pages)
        assert made.cdrs.select("id", "note", "duration").rows() == [("a", "late", 2)]
        assert made.rejects.is_empty()
        assert made.keys == {}


def test_a_reject_with_an_id_gives_way_to_a_later_record_and_the_other_way_round() -> None:
    good, bad = call(), call("a", "hôm qua")
    assert flat(bad, good).whole_rejects == 0
    later = flat(good, bad)
    assert (len(later.cdrs), later.whole_rejects) == (0, 1)


def test_a_call_that_moved_to_another_day_is_gone_from_this_one() -> None:
    made = flat(call(duration="abc"), call("a", "2023-03-08 00:00:00", duration="abc"))
    assert made.cdrs.is_empty()
    assert made.rejects.is_empty()


def test_a_broken_record_of_another_day_is_the_last_version_of_its_call() -> None:
    """It was thrown away before that was looked at: the listing counted none, and `balance` one."""
    broken = as_text(call("a", "2023-03-08 00:00:00"))[:-1] + rb',"note":"\ud83d"}'
    for records, calls in (((call("a"), broken), 0), ((broken, call("a")), 1)):
        made = flat(*records)
        assert (len(made.cdrs), made.whole_rejects, len(made.rejects)) == (calls, 0, 0)


def test_an_example_of_a_key_is_a_value_of_a_call_that_counts() -> None:
    made = flat(
        call("a", additional={"name": "ZZZ, which the vendor removed"}),
        call("a", additional={"name": "Lan"}),
        call("b", additional={"name": ""}),
        call("c", "2023-03-08 00:00:00", additional={"name": "YYY, of another day"}),
    )
    assert made.additional_keys.select("key", "records", "example").rows() == [("name", 2, "Lan")]


def test_equal_records_without_an_id_are_calls_of_their_own_within_one_reading() -> None:
    assert flat(b"null", b"null", call("")).whole_rejects == 3
    again = [StoredPage(number, page_of(b"null", b"null")) for number in (1, 2)]
    assert flatten(again, Rules(Window.of(DAY), SAIGON)).whole_rejects == 2


def test_a_record_without_an_id_that_two_overlapping_pages_brought_is_one() -> None:
    pages = [
        StoredPage(1, page_of(b"null", b"null"), offset=0),
        StoredPage(1, page_of(b"null", b"null"), offset=1),
    ]
    assert flatten(pages, Rules(Window.of(DAY), SAIGON)).whole_rejects == 3
    assert len(versions(pages, Window.of(DAY))) == 3


# ---- the day


def test_a_day_holds_its_first_and_last_second_and_neither_neighbour() -> None:
    times = (
        "2023-03-06 23:59:59",
        "2023-03-07 00:00:00",
        "2023-03-07 23:59:59",
        "2023-03-08 00:00:00",
    )
    made = flat(*(call(time, time) for time in times))
    assert made.cdrs["id"].to_list() == list(times[1:3])
    assert made.cdrs["hour"].to_list() == [0, 23]


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


def test_of_an_hour_that_comes_twice_the_first_is_meant() -> None:
    day = date(2023, 11, 5)
    made = the_call(call("a", "2023-11-05 01:30:00"), day=day, zone=NEW_YORK)
    assert made["time_started"].utcoffset() == timedelta(hours=-4)


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


def test_calls_stand_by_campaign_then_time() -> None:
    sent = [("c2", 9), ("c1", 11), ("", 10), ("c1", 8), ("c2", 7)]
    records = [call(str(h), f"2023-03-07 {h:02}:00:00", campaign_uuid=c) for c, h in sent]
    made = flat(*records).cdrs
    assert made["hour"].to_list() == [10, 8, 11, 7, 9]


# ---- our own columns


def test_ring_and_post_dial_delay_follow_from_the_times() -> None:
    times = {"time_ringging": "2023-03-07 10:00:03", "time_ended": "2023-03-07 10:01:00"}
    answered = the_call(call(**times, time_answered="2023-03-07 10:00:20"))
    assert (answered["ring_seconds"], answered["pdd_seconds"]) == (17, 3)
    unanswered = the_call(call(**times))
    assert (unanswered["ring_seconds"], unanswered["pdd_seconds"]) == (57, 3)
    never_rang = the_call(call(time_ended="2023-03-07 10:01:00"))
    assert (never_rang["ring_seconds"], never_rang["pdd_seconds"]) == (None, None)


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


# ---- laws


@contextmanager
def nothing_is_documented() -> Iterator[None]:
    """Every record is read slowly, as if the strict decoders refused them all."""

    class Refusing:
        def decode(self, _: bytes) -> object:
            raise UnicodeDecodeError("utf-8", b"", 0, 1, "refused")

    no = Refusing()
    with patch.multiple(reading, _strict_page=no, _page=no, _record=no):
        yield


def cells(made: Flat) -> dict[str, dict[str, object]]:
    """Each call's cells that hold something, by id."""
    return {
        row["id"]: {name: value for name, value in row.items() if value is not None}
        for row in made.cdrs.rows(named=True)
    }


def reject_rows(made: Flat) -> list[str]:
    return sorted(map(repr, made.rejects.rows()))


@given(st.lists(ENTRY, max_size=6))
def test_fast_and_slow_reading_of_a_page_make_the_same_tables(records: list[bytes]) -> None:
    fast = flat(*records)
    with nothing_is_documented():
        slow = flat(*records)
    assert fast.cdrs.equals(slow.cdrs)
    assert fast.cdrs.schema == slow.cdrs.schema
    assert fast.keys == slow.keys
    assert reject_rows(fast) == reject_rows(slow)


DOCUMENTED_RECORD = st.fixed_dictionaries(
    {"id": STRING},
    optional={
        **{
            field.name: st.integers(-(2**63), 2**63 - 1).map(str) | st.just("null")
            if field.kind is Kind.COUNT
            else STRING | st.just("null")
            for field in FIELDS[1:]
        },
        "additional": STRING | st.sampled_from(("null", "[]", '{"a": 1e400}', "true")),
    },
).map(members_text)


@given(DOCUMENTED_RECORD)
@example(verbatim("note", r'"\ud83d\ude00\/\u0000"'))
def test_a_documented_record_is_read_alike_at_once_and_field_by_field(text: bytes) -> None:
    read, extra, misfits_ = _read_slowly(text)
    assert _record.decode(text) == read
    assert (extra, misfits_) == (None, [])


@given(
    st.lists(a_record(), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
    st.sampled_from((1, 2, 16_000)),
    st.integers(1, 4),
)
def test_equal_records_give_equal_cells_whatever_stands_around_them(
    drawn: list[dict[str, str]], random: Random, batch_rows: int, page_rows: int
) -> None:
    records: list[Sent] = [
        members_text({"id": f'"{n}"', **members}) for n, members in enumerate(drawn)
    ]
    alone = [flat(record) for record in records]
    random.shuffle(records)
    pages = [records[n : n + page_rows] for n in range(0, len(records), page_rows)]
    with patch.object(reading, "BATCH_ROWS", batch_rows):
        together = flat_pages(pages)
    assert cells(together) == {id_: row for one in alone for id_, row in cells(one).items()}
    assert reject_rows(together) == sorted(row for one in alone for row in reject_rows(one))
    for one in alone:
        for name, keys in one.keys.items():
            assert set(keys) <= set(together.keys[name])
    assert misfits(CDRS, together.cdrs.schema, SAIGON) == []


def records_for_the_day(body: bytes) -> int:
    """How many records a page holds for the day, as the listing counts them."""
    return len(versions([StoredPage(1, body)], Window.of(DAY)))


@given(st.lists(ENTRY, max_size=8))
def test_every_record_is_a_call_or_a_whole_reject(records: list[bytes]) -> None:
    made = flat(*records)
    assert len(made.cdrs) + made.whole_rejects == records_for_the_day(page_of(*records))
    assert made.cdrs["id"].is_unique().all()


@pytest.mark.parametrize("spoiler", SPOILERS, ids=lambda spoiler: spoiler.__name__)
def test_each_kind_of_messy_record_balances_and_leaves_the_others_alone(spoiler: Spoiler) -> None:
    records = Tenant(calls_per_day=40).day(DAY)
    honest = cells(flat(*(render(record) for record in records)))
    spoiled: list[Sent] = []
    for lot, record in enumerate(records):
        text = render(record)
        spoiled.append(text if lot % 2 else spoiler(record, Random(lot)) or render(record))
    made = flat(*spoiled)
    assert len(made.cdrs) + made.whole_rejects == len(records)
    untouched = {page.identity(as_text(text))[0]: text for text in spoiled[1::2]}
    made_cells = cells(made)
    assert {id_: made_cells[str(id_)] for id_ in untouched} == {
        id_: honest[str(id_)] for id_ in untouched
    }


def test_a_messy_day_balances_and_is_as_promised() -> None:
    texts = Vendor(tenant=Tenant(calls_per_day=3000), chaos=Chaos.parse("messy", 4)).truth(DAY)
    pages = [texts[n : n + 200] for n in range(0, len(texts), 200)]
    made = flat_pages(pages)
    assert len(made.cdrs) + made.whole_rejects == len(texts)
    assert 0 < made.whole_rejects < len(texts) / 5
    assert misfits(CDRS, made.cdrs.schema, SAIGON) == []
    assert {"no id", "not an object", "invalid UTF-8", "a lone surrogate"} <= set(
        made.rejects["reason"]
    )
    with patch.object(reading, "BATCH_ROWS", 500):
        assert flat_pages(pages).cdrs.equals(made.cdrs)


@given(st.lists(ENTRY, max_size=12), st.integers(1, 3), st.integers(1, 6))
def test_a_day_laid_aside_in_files_comes_out_as_one_kept_in_memory(
    records: list[bytes], rows: int, run_rows: int
) -> None:
    kept = flat(*records)
    pages = [StoredPage(1, page_of(record), offset=at) for at, record in enumerate(records)]
    with (
        TemporaryDirectory() as folder,
        patch.object(reading, "BATCH_ROWS", rows),
        patch.object(runs, "_RUN_ROWS", run_rows),
        patch.object(runs, "_ROWS_READ", 1),
        patch.object(counting, "CHUNK_ROWS", rows),
    ):
        aside = flatten(pages, Rules(Window.of(DAY), SAIGON), Path(folder))
        assert aside.cdrs.equals(kept.cdrs)
        assert aside.rejects.equals(kept.rejects)
        assert aside.additional_keys.equals(kept.additional_keys)
        assert (aside.keys, aside.whole_rejects) == (kept.keys, kept.whole_rejects)
        chunks = [
            set(pl.DataFrame(chunk).select("campaign_uuid", "time_started").rows())
            for chunk in aside.calls()
        ]
    seconds = [second for chunk in chunks for second in chunk]
    assert len(seconds) == len(set(seconds))


@given(
    st.lists(ENTRY, max_size=12), st.lists(st.integers(0, 2)), st.integers(1, 3), st.integers(1, 3)
)
def test_a_day_in_parts_comes_out_as_one_in_one_piece(
    records: list[bytes], shares: list[int], again: int, rows: int
) -> None:
    """Whoever takes which pages, and in whatever order."""
    bodies = [(1, page_of(record)) for record in records]
    bodies += [(2, page_of(record)) for record in records[::again]]
    pages = [
        StoredPage(pass_, body, place=at, offset=at) for at, (pass_, body) in enumerate(bodies)
    ]
    parts: list[list[StoredPage]] = [[], [], []]
    for stored, share in zip(pages, [*shares, *repeat(0, len(pages))], strict=False):
        parts[share].append(stored)
    rules = Rules(Window.of(DAY), SAIGON, most_columns=3)
    whole = flatten(pages, rules)
    with (
        TemporaryDirectory() as folder,
        patch.object(reading, "BATCH_ROWS", rows),
        patch.object(runs, "_RUN_ROWS", rows),
        patch.object(counting, "CHUNK_ROWS", rows),
    ):
        made = united(
            [
                pickle.loads(pickle.dumps(part_of(part, rules, Path(folder), number)))
                for number, part in enumerate((parts[2], parts[1] + parts[0]))
            ],
            rules,
        )
        assert made.cdrs.equals(whole.cdrs)
        assert made.cdrs.schema == whole.cdrs.schema
        assert made.rejects.equals(whole.rejects)
        assert made.additional_keys.equals(whole.additional_keys)
    assert (made.keys, made.left_out) == (whole.keys, whole.left_out)
    assert made.whole_rejects == whole.whole_rejects


TIMES = st.one_of(
    st.datetimes(datetime(1979, 12, 31), datetime(2099, 1, 1)).map(lambda one: str(one)[:19]),
    st.datetimes(datetime(2023, 3, 12, 1), datetime(2023, 3, 12, 4)).map(lambda one: str(one)[:19]),
    st.datetimes(datetime(2023, 11, 5), datetime(2023, 11, 5, 3)).map(lambda one: str(one)[:19]),
    st.from_regex(r"\A(19|20)[0-9]{2}-[01][0-9]-[0-3][0-9][ T][0-2][0-9]:[0-6][0-9]:[0-6][0-9]\Z"),
    st.sampled_from(("2023-03-07 10:00:00\n", "\uff12023-03-07 10:00:00", "20230307", "1980", "0")),
    st.sampled_from(("0000-00-00 00:00:00", "0001-01-01T00:00:00Z", "2023-03-07T00:00:00Z", "")),
)


@pytest.mark.parametrize(
    "text",
    [
        *("", "0001-01-01T00:00:00Z", "0000-00-00 00:00:00", "0000-00-00", "1970-01-01 07:00:00"),
        *("1899-12-30 00:00:00", "0001-01-01 00:00:00 +0000 UTC"),
    ],
)
def test_empty_text_and_sentinels_name_no_time(text: str) -> None:
    made = flat(call(time_ended=text))
    assert made.cdrs["time_ended"].item() is None
    assert made.rejects.is_empty()


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
    made = flat(call(time_ended=text))
    assert made.cdrs["time_ended"].item() is None
    assert rejects_of(made) == [("a", "time_ended", text, "not a time")]


@pytest.mark.parametrize(
    ("text", "zone", "utc"),
    [
        ("2023-03-07 13:36:42", SAIGON, datetime(2023, 3, 7, 6, 36, 42, tzinfo=UTC)),
        # The hour comes twice: the earlier is meant.
        ("2023-11-05 01:30:00", NEW_YORK, datetime(2023, 11, 5, 5, 30, tzinfo=UTC)),
        # The zone skips it.
        ("2023-03-12 02:30:00", NEW_YORK, None),
    ],
)
def test_a_time_is_the_vendors_wall_clock(text: str, zone: ZoneInfo, utc: datetime | None) -> None:
    made = flat(call(time_ended=text), zone=zone)
    assert made.cdrs["time_ended"].dt.convert_time_zone("UTC").item() == utc
    assert made.rejects.height == (utc is None)


@given(st.lists(TIMES, min_size=1, max_size=8), st.sampled_from((SAIGON, NEW_YORK)))
@example(["1979-12-31 23:59:59", "1980-01-01 00:00:00"], SAIGON)
@example(["9999-12-31 23:59:59"], SAIGON)
@example(["2023-11-05 01:30:00", "2023-03-12 02:30:00", "2023-03-12 03:00:00"], NEW_YORK)
def test_times_of_a_day_are_read_as_one_by_one(texts: list[str], zone: ZoneInfo) -> None:
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
