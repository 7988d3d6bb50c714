"""A response, split into records: fast if it is as documented, else slowly, with equal results."""

from datetime import datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdr_pipeline import page
from cdr_pipeline.page import MalformedPage, Seen, _records_one_by_one, _see_each
from cdr_pipeline_tests.records import ENTRY, Sent, as_text, call, page_of, verbatim

TEN = datetime(2023, 3, 7, 10)
LONE_SURROGATE = rb'{"id":"s","note":"\ud83d"}'


@pytest.mark.parametrize("nested", [b"[%b]", b'{"a":%b}', b'{"[{":"\\"{",\n"b":%b}'])
def test_the_depth_of_a_text_is_that_of_its_brackets_outside_of_strings(nested: bytes) -> None:
    text = b"1"
    for depth in range(1, 502):
        text = nested.replace(b"%b", text)
        assert page.too_deep(text) == (depth > 500)
    assert not page.too_deep(b"[%b]" % b",".join([b'[{"a":[]}]'] * 1000))
    assert not page.too_deep(b"[%b]" % b",".join([b'"["'] * 1000))


@given(st.lists(ENTRY, max_size=5), st.integers(0, 99))
@example([b'{"id":"a","time_started":"2023-03-07 10:00:00" } ', b'{"id":"\xff"}'], 2)
def test_fast_and_slow_reading_split_a_page_into_the_same_bytes(
    records: list[bytes], total: int
) -> None:
    body = page_of(*records, total=total)
    stripped = [record.strip() for record in records]
    assert page.split_and_total(body) == (stripped, total)
    assert _records_one_by_one(body) == (stripped, total)
    assert page.split(body) == stripped


@given(st.lists(ENTRY, max_size=5))
@example([b'{"id":"a","time_started":"2023-03-07 10:00:00"}'])
def test_fast_and_slow_reading_see_the_same_in_a_page(records: list[bytes]) -> None:
    body = page_of(*records)
    assert contents(page.see(body)) == contents(_see_each(body))
    assert len(page.see(body)) == len(records)


def contents(seen: page.Seen) -> tuple[object, ...]:
    """(keys, start times, total, places of records without an id) of a page."""
    return seen.keys, seen.began.to_list(), seen.total, seen.nameless


def test_a_page_has_keys_start_times_and_a_total() -> None:
    seen = page.see(page_of(call("a"), call("b"), call("a", note="edited"), total=70))
    assert seen.keys[0] == seen.keys[2] != seen.keys[1]
    assert seen.began.to_list() == [TEN] * 3
    assert (seen.total, seen.nameless) == (70, ())


@pytest.mark.parametrize(
    "hostile",
    [
        *(b"null", b"17", b"[]", b"{}", b'{"note":"\xff\xfe"}', rb'{"note":"\ud83d"}'),
        *(b'{"note":"\x01"}', b'{"note":NaN}', as_text(call("h", additional={"a": [1, {}]}))),
        *(as_text(call("h", note='},{ "id": "x" ,')), b'{"id":"h","note":%b}' % (b"9" * 5000)),
        verbatim("note", "[" * 5000 + "]" * 5000, "deeper than any reader goes"),
    ],
)
def test_a_hostile_record_leaves_its_neighbours_alone(hostile: bytes) -> None:
    body = page_of(call("a"), hostile, call("b"), LONE_SURROGATE)
    assert page.split(body)[:3] == [as_text(call("a")), hostile, as_text(call("b"))]
    seen, honest = page.see(body), page.see(page_of(call("a"), call("b")))
    assert [seen.keys[0], seen.keys[2]] == honest.keys
    assert [seen.began[0], seen.began[2]] == honest.began.to_list()


@pytest.mark.parametrize(
    "nameless",
    [call(""), {"time_started": "2023-03-07 10:00:00"}, {"id": None}, b"null", b'"a"'],
)
def test_records_without_an_id_are_calls_of_their_own(nameless: Sent) -> None:
    seen = page.see(page_of(call("a"), nameless, nameless))
    assert seen.nameless == (1, 2)


def test_an_id_is_the_same_key_as_a_number_and_as_text() -> None:
    seen = page.see(page_of(verbatim("id", "17", "x"), verbatim("id", '"17"', "x")))
    assert seen.keys[0] == seen.keys[1]
    assert seen.nameless == ()


@pytest.mark.parametrize("token", ["true", '["x"]', '{"a": 1}', "1e400", "1.50", "7" * 30])
def test_an_id_that_is_no_text_is_known_by_its_json(token: str) -> None:
    body = page_of(verbatim("id", token, "x"), verbatim("id", token, "x"))
    seen = page.see(body)
    assert seen.nameless == ()
    assert seen.keys[0] == seen.keys[1]


@pytest.mark.parametrize(
    ("text", "began"),
    [
        ("2023-03-07 10:00:00", TEN),
        ("1980-01-01 00:00:00", datetime(1980, 1, 1)),
        *((text, None) for text in ("", "hôm qua", "2023-02-30 10:00:00", "0001-01-01T00:00:00Z")),
        *((text, None) for text in ("1979-12-31 23:59:59", "2023-03-07T03:00:00Z", "1678158000")),
        *((text, None) for text in ("2023-03-07T10:00+07", "\uff12023-03-07 10:00:00", None)),
    ],
)
def test_a_start_time_is_wall_clock_time_in_the_documented_form(
    text: str | None, began: datetime | None
) -> None:
    assert page.began(text) == began
    assert Seen([1], [text], total=1).began.to_list() == [began]


def test_a_start_time_that_some_zone_skips_is_still_read() -> None:
    assert page.began("2023-03-12 02:30:00") == datetime(2023, 3, 12, 2, 30)


@pytest.mark.parametrize(
    ("body", "records"),
    [
        *((b'{"limit":1,"offset":-1,"total":%b}' % none, 0) for none in (b"0", b'"0"')),
        (b'{"data":null,"limit":1,"offset":-1,"total":"0"}', 0),
        (b'{"data":[],"limit":-1,"offset":-1,"total":"12"}', 0),
        (b' {"total" : 7 , "x" : {} , "data" : [ {} , null ] } \n', 2),
        (b' { "data" : [ {"note":NaN} ] , "total" : "1" } \n', 1),
        (b'{"data":[{"id":"a"}],"total":1.0}', 1),
        (b'{"data":[{"id":"a"},7],"total":2.0}', 2),
        (b'\xef\xbb\xbf{"data":[{"id":"a"}],"total":1}', 1),
    ],
)
def test_a_page_may_be_empty_or_in_another_order_or_notation(body: bytes, records: int) -> None:
    assert len(page.split(body)) == len(page.see(body)) == records


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"<html></html>", b"null", b"[]", b'"x"', b"{}", b'{"data":[]}', b'{"total":1}'),
        *(b'{"data":{},"total":1}', b'{"data":"x","total":1}', b'{"data":[],"total":-1}'),
        *(b'{"data":[],"total":null}', b'{"data":[],"total":true}', b'{"data":[],"total":1.5}'),
        *(b'{"data":[],"total":"many"}', b'{"data":[],"total":[1]}', b'{"data":[],"total":1e999}'),
        b'{"data":[],"total":NaN}',
        b'{"data":[],"total":1,"note":["]}',
        b'{"error":"token is invalid"}',
        *(b'{"data":%s,"total":0,"error":"backend gone"}' % data for data in (b"null", b"[]")),
        b'{"error":[{"(root)":"db down"}],"data":[{"id":"a"},7],"total":2}',
        *(b'{"error":%b,"data":[],"total":0}' % odd for odd in (b"1e999", b'"\xff"', b"[" * 3000)),
        b'{"error":%b,"data":[],"total":0}' % (b"[" * 3000 + b"]" * 3000),
    ],
)
def test_a_body_that_is_not_the_documented_response_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedPage):
        page.see(body)
    with pytest.raises(MalformedPage):
        page.split(body)


@pytest.mark.parametrize("error", [b"null", b'""', b"[]", b"{}", b"false"])
@pytest.mark.parametrize("record", [b'{"id":"a"}', b"7"])
def test_a_page_may_say_that_it_has_no_error(error: bytes, record: bytes) -> None:
    body = b'{"data":[%b],"error":%b,"total":1}' % (record, error)
    assert len(page.split(body)) == len(page.see(body)) == 1


@pytest.mark.parametrize("hostile", [b'{"id":"b"}', b'{"id":"\xff"}'])
def test_a_page_that_is_cut_off_anywhere_is_refused(hostile: bytes) -> None:
    body = page_of(call("a"), hostile)
    for length in range(len(body)):
        with pytest.raises(MalformedPage):
            page.see(body[:length])


@pytest.mark.parametrize("rest", [b"<html></html>", b'{"data":[],"total":9}', b"}"])
def test_a_page_with_more_text_after_it_is_refused(rest: bytes) -> None:
    with pytest.raises(MalformedPage):
        page.see(page_of(call("a")) + rest)
