"""Which received records count: the last version of each call, and only calls of the day."""

from datetime import datetime
from unittest.mock import patch

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from cdr_pipeline.tables.arrow import ROW_BYTES
from cdr_pipeline.tables.flattening import counting
from cdr_pipeline.tables.flattening.flatten import flatten
from cdr_pipeline.tables.flattening.typed import Rules
from cdr_pipeline.tables.raw_pages import StoredPage
from cdr_pipeline.tables.versions import versions
from cdr_pipeline.window import Window
from cdr_pipeline_tests.records import (
    DAY,
    ENTRY,
    SAIGON,
    Sent,
    a_record,
    as_text,
    call,
    flat,
    flat_pages,
    members_text,
    page_of,
)

RULES = Rules(Window.of(DAY), SAIGON)


@given(st.sets(st.integers(0, 20), min_size=1), st.lists(st.integers(0, 20)))
def test_rows_that_do_not_count_are_dropped_without_a_join(gone: set[int], came: list[int]) -> None:
    """A join was too slow: for 500,000 calls, each listed five times, it went through all dropped
    rows again for each few thousand rows, which took half of the time.
    """
    rows = pl.LazyFrame({"_at": came}, schema={"_at": pl.Int64})
    dropped = pl.Series(sorted(gone), dtype=pl.Int64)
    kept = counting.that_count(rows, dropped)
    assert kept.collect()["_at"].to_list() == [at for at in came if at not in gone]
    assert "JOIN" not in kept.explain()
    assert counting.that_count(rows, dropped.clear()).collect()["_at"].to_list() == came


# ---- the last version of a call


def test_the_later_record_of_an_id_counts() -> None:
    early, late = call(duration="abc", additional={"x": 1}), call(note="late", duration=2)
    for pages in ([[early, late]], [[early], [late]]):
        made = flat_pages(pages)
        assert made.cdrs.select("id", "note", "duration").rows() == [("a", "late", 2)]
        assert made.rejects.is_empty()
        assert made.keys == {}


def test_a_later_record_replaces_a_reject_and_a_later_reject_replaces_a_record() -> None:
    good, bad = call(), call("a", "hôm qua")
    assert flat(bad, good).whole_rejects == 0
    later = flat(good, bad)
    assert (len(later.cdrs), later.whole_rejects) == (0, 1)


def test_a_call_that_moved_to_another_day_is_gone_from_this_one() -> None:
    made = flat(call(duration="abc"), call("a", "2023-03-08 00:00:00", duration="abc"))
    assert made.cdrs.is_empty()
    assert made.rejects.is_empty()


def test_a_broken_record_of_another_day_is_the_last_version_of_its_call() -> None:
    """It was dropped before versions were compared: the listing counted no call, `balance` one."""
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
    assert flatten(again, RULES).whole_rejects == 2


def test_a_record_without_an_id_on_two_overlapping_pages_is_counted_once() -> None:
    pages = [
        StoredPage(1, page_of(b"null", b"null"), offset=0),
        StoredPage(1, page_of(b"null", b"null"), offset=1),
    ]
    assert flatten(pages, RULES).whole_rejects == 3
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


def test_rejects_of_another_day_are_not_rejects_of_this_day() -> None:
    made = flat(call("", "2023-03-08 00:00:00"), call("", "2023-03-07 23:59:59"), {"note": "?"})
    assert len(made.rejects) == 2


def records_for_the_day(body: bytes) -> int:
    """How many records of the day a page holds, as `versions` counts them."""
    return len(versions([StoredPage(1, body)], Window.of(DAY)))


@given(st.lists(ENTRY, max_size=8))
def test_every_record_is_a_call_or_a_whole_reject(records: list[bytes]) -> None:
    made = flat(*records)
    assert len(made.cdrs) + made.whole_rejects == records_for_the_day(page_of(*records))
    assert made.cdrs["id"].is_unique().all()


NOON = datetime(2023, 3, 7, 12)
MORNING, AFTERNOON = Window(Window.of(DAY).start, NOON), Window(NOON, Window.of(DAY).end)


def in_two_parts(morning: list[Sent], afternoon: list[Sent]) -> list[StoredPage]:
    return [
        StoredPage(1, page_of(*morning), MORNING),
        StoredPage(2, page_of(*afternoon), AFTERNOON, 1),
    ]


BROKEN = as_text(call("b", "2023-03-07 11:59:59"))[:-1] + rb',"note":"\ud83d"}'
NAMELESS = call("", "2023-03-07 11:59:59")


def test_a_reject_of_the_second_before_a_part_is_no_other_version_of_it() -> None:
    """Its own part had the record, the next part listed it later, and it was in neither table."""
    made = flatten(in_two_parts([BROKEN, NAMELESS, NAMELESS], [BROKEN, NAMELESS, NAMELESS]), RULES)
    assert (len(made.cdrs), made.whole_rejects) == (0, 3)


def test_the_version_in_a_records_own_part_counts_though_the_next_part_lists_it_later() -> None:
    sound = call("b", "2023-03-07 11:59:59")
    for own, copy, calls in ((sound, BROKEN, 1), (BROKEN, sound, 0)):
        made = flatten(in_two_parts([own], [copy]), RULES)
        assert (len(made.cdrs), made.whole_rejects) == (calls, 1 - calls)


AROUND_NOON = st.lists(
    st.builds(
        lambda id_, members: members_text({"id": id_, **members}),
        st.sampled_from(('"a"', '"b"', '"\\ud83d"', '""')),
        a_record(st.sampled_from(('"2023-03-07 11:59:59"', '"2023-03-07 12:00:00"', "null"))),
    )
    | ENTRY,
    max_size=4,
)


@given(AROUND_NOON, AROUND_NOON, AROUND_NOON)
def test_every_record_of_a_day_in_parts_is_a_call_or_a_whole_reject(
    morning: list[bytes], afternoon: list[bytes], both: list[bytes]
) -> None:
    pages = in_two_parts([*morning, *both], [*both, *afternoon])
    made = flatten(pages, RULES)
    assert len(made.cdrs) + made.whole_rejects == len(versions(pages, Window.of(DAY)))


def test_calls_are_ordered_by_campaign_then_time() -> None:
    sent = [("c2", 9), ("c1", 11), ("", 10), ("c1", 8), ("c2", 7)]
    records = [call(str(h), f"2023-03-07 {h:02}:00:00", campaign_uuid=c) for c, h in sent]
    made = flat(*records).cdrs
    assert made["hour"].to_list() == [10, 8, 11, 7, 9]


# ---- chunks


def chunks_of(*calls: Sent, rows: int) -> list[list[str]]:
    """The ids of the calls, chunk by chunk."""
    with patch.object(counting, "CHUNK_ROWS", rows):
        made = flat(*calls)
        return [chunk["id"].to_pylist() for chunk in made.calls()]


def test_a_chunk_of_long_calls_has_fewer_calls() -> None:
    times = [f"2023-03-07 09:00:0{at}" for at in range(8)]
    notes = ["x" * ROW_BYTES * most for most in (2, 2, 2, 2, 9, 9, 9, 9)]
    short = [call(time[-1], time) for time in times]
    long = [call(time[-1], time, note=note) for time, note in zip(times, notes, strict=True)]
    lists = [call(time[-1], time, additional={"a": "x" * 3 * ROW_BYTES}) for time in times]
    assert chunks_of(*short, rows=4) == [["0", "1", "2", "3"], ["4", "5", "6", "7"]]
    assert chunks_of(*long, rows=5) == [["0", "1"], ["2", "3"], ["4"], ["5"], ["6"], ["7"]]
    assert chunks_of(*lists, rows=6) == [[time[-1]] for time in times]


@given(st.permutations(range(9)))
def test_chunks_do_not_depend_on_the_order_in_which_long_calls_came(order: list[int]) -> None:
    calls = [
        call(f"{at}", f"2023-03-07 09:00:0{at // 3}", note="x" * ROW_BYTES * (at % 3))
        for at in range(9)
    ]
    assert chunks_of(*(calls[at] for at in order), rows=4) == chunks_of(*calls, rows=4)
