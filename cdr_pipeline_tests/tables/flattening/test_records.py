"""Documented fields in any notation, undocumented fields, and fast against slow reading."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdr_pipeline.tables.arrow import ROW_BYTES
from cdr_pipeline.tables.flattening import records as reading
from cdr_pipeline.tables.flattening.layouts import Layout
from cdr_pipeline.tables.raw_pages import StoredPage
from cdr_pipeline_tests.records import (
    ENTRY,
    as_text,
    call,
    flat,
    page_of,
    reject_rows,
    rejects_of,
    the_call,
    verbatim,
)

# ---- fields in another form than documented


@pytest.mark.parametrize(
    ("token", "value"),
    [
        *(("33", 33), ('"33"', 33), ("33.0", 33), ("0", 0), ("null", None), ('""', None)),
        *(("-1", -1), ('"007"', 7), ("3.3e1", 33), ("9223372036854775807", 2**63 - 1)),
        *(("9007199254740993.0", 2**53 + 1), (f'"{33:030}"', 33), ("0e999999999", 0)),
    ],
)
def test_a_whole_number_is_read_in_any_notation(token: str, value: int | None) -> None:
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
def test_a_value_that_is_no_whole_number_is_null_and_the_call_stays(token: str, value: str) -> None:
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
def test_text_is_kept_as_it_is_and_other_values_as_their_json(
    token: str, value: str | None
) -> None:
    made = flat(verbatim("note", token))
    assert made.cdrs["note"].to_list() == [value]
    assert made.rejects.is_empty()


def test_undocumented_fields_are_kept_in_extra_and_documented_ones_are_typed() -> None:
    unknown = '"duration":"27","ai_summary":{"ý chính": ["hẹn lại"] },"transferred":null'
    record = as_text(call("a"))[:-1] + f',{unknown},"time_ringing":1.50}}'.encode()
    made = the_call(record)
    assert made["duration"] == 27
    assert (
        made["extra"]
        == '{"ai_summary":{"ý chính":["hẹn lại"]},"time_ringing":1.50,"transferred":null}'
    )


def test_a_record_with_other_white_space_and_escapes_is_the_same_call() -> None:
    record = {"note": "Đỗ", "duration": 3, "additional": {"Tên": "Ngà"}}
    spaced = json.dumps(call(**record), separators=(" ,  ", "\t: ")).encode()
    plain, other = the_call(call(**record)), the_call(spaced)
    assert json.loads(plain.pop("additional")) == json.loads(other.pop("additional"))
    assert plain == other


def test_the_last_value_of_a_field_that_comes_twice_counts() -> None:
    assert the_call(b'{"note":"1",' + as_text(call(note="2"))[1:])["note"] == "2"


# ---- the lead list's object, in each notation


@pytest.mark.parametrize("nothing", ['""', "null", "[]", "[ ]"])
def test_an_empty_additional_is_null_in_each_notation(nothing: str) -> None:
    made = flat(verbatim("additional", nothing))
    assert made.cdrs["additional"].to_list() == [None]
    assert made.keys == {}
    assert made.rejects.is_empty()


def test_additional_may_be_absent_or_an_empty_object() -> None:
    made = flat(call("a"), call("b", additional={}))
    assert made.cdrs.sort("id")["additional"].to_list() == [None, "{}"]
    assert made.keys == {}
    assert made.rejects.is_empty()


def test_an_additional_that_is_an_object_as_text_is_read_as_the_object() -> None:
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
def test_an_additional_that_is_no_object_keeps_its_text_and_is_a_reject(
    token: str, text: str
) -> None:
    made = flat(verbatim("additional", token))
    assert made.cdrs["additional"].to_list() == [text]
    assert made.keys == {}
    assert rejects_of(made) == [("a", "additional", text, "not an object")]
    assert made.whole_rejects == 0


# ---- fast and slow


@contextmanager
def nothing_is_documented() -> Iterator[None]:
    """Every record is read slowly, as if the strict decoders refused all records."""

    def refuse(_: Layout, text: bytes) -> object:
        raise UnicodeDecodeError("utf-8", text, 0, 1, "refused")

    with patch.multiple(Layout, page=refuse, one=refuse):
        yield


@given(st.lists(ENTRY, max_size=6))
def test_fast_and_slow_reading_of_a_page_make_the_same_tables(records: list[bytes]) -> None:
    fast = flat(*records)
    with nothing_is_documented():
        slow = flat(*records)
    assert fast.cdrs.equals(slow.cdrs)
    assert fast.cdrs.schema == slow.cdrs.schema
    assert fast.keys == slow.keys
    assert reject_rows(fast) == reject_rows(slow)


# ---- records in batches


def test_a_batch_of_long_records_has_fewer_records() -> None:
    def rows(note: str) -> list[int]:
        pages = [StoredPage(1, page_of(call(note=note)), place=at) for at in range(8)]
        return [len(batch) for batch in reading.batches(pages)]

    with patch.object(reading, "BATCH_ROWS", 4):
        assert rows("short") == [4, 4, 0]
        assert rows("x" * 2 * ROW_BYTES) == [2, 2, 2, 2, 0]
