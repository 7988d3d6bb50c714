"""Which version of a call counts, and what changed between two fetches of a day."""

from datetime import datetime, timedelta

import pytest

from cdr_pipeline.tables.flattening.flatten import flatten
from cdr_pipeline.tables.flattening.typed import Rules
from cdr_pipeline.tables.raw_pages import StoredPage
from cdr_pipeline.tables.versions import Difference, versions
from cdr_pipeline.window import Window
from cdr_pipeline_tests.records import DAY, SAIGON, Sent, call, page_of

#: The two halves of the day.
MIDNIGHT = datetime(2023, 3, 7)
NOON = MIDNIGHT + timedelta(hours=12)
MORNING, AFTERNOON = Window(MIDNIGHT, NOON), Window(NOON, MIDNIGHT + timedelta(days=1))


def difference_to(*records: Sent) -> Difference:
    """The difference of these records to an earlier fetch: calls a and b, two equal records without
    an id, and a record that is no call.
    """
    old = [call("a"), call("b"), call("", note="x"), call("", note="x"), b"null"]
    frames = [versions([StoredPage(1, page_of(*some))], Window.of(DAY)) for some in (old, records)]
    return Difference.between(*frames)


@pytest.mark.parametrize(
    ("records", "new", "changed", "gone"),
    [
        ([call("b"), b"null", call("", note="x"), call("a"), call("", note="x")], 0, 0, 0),
        ([], 0, 0, 5),
        ([call("a", note="edited"), call("c"), call("", note="x"), b"null"], 1, 1, 2),
        ([*(call("", note="x"),) * 3, call("a"), call("b"), b"null"], 1, 0, 0),
        (
            [call("a", "2023-03-08 00:00:00"), call("b"), *(call("", note="x"),) * 2, b"null"],
            0,
            0,
            1,
        ),
    ],
)
def test_calls_are_new_changed_or_gone_since_the_fetch_before(
    records: list[Sent], new: int, changed: int, gone: int
) -> None:
    assert difference_to(*records) == Difference(new, changed, gone)


def count_of(*pages: StoredPage) -> int:
    return len(versions(pages, Window.of(DAY)))


def test_the_version_of_an_id_that_came_last_counts() -> None:
    pages = [
        StoredPage(1, page_of(call("a"), call("a", note="2"))),
        StoredPage(2, page_of(call("a"))),
    ]
    twice = versions(pages, Window.of(DAY))
    once = versions(pages[1:], Window.of(DAY))
    assert twice.equals(once)


def test_a_call_that_moved_to_another_day_does_not_count() -> None:
    assert count_of(StoredPage(1, page_of(call("a"), call("a", "2023-03-08 00:00:00")))) == 0


def test_a_record_without_an_id_counts_once_in_readings_that_overlap() -> None:
    body = page_of(b"null", b"null")
    assert count_of(StoredPage(1, body)) == count_of(StoredPage(1, body), StoredPage(2, body)) == 2


def test_a_record_that_is_a_number_is_not_the_call_of_that_id() -> None:
    assert count_of(StoredPage(1, page_of(b"123", call("123")))) == 2


def test_without_records_there_are_no_versions() -> None:
    assert count_of() == count_of(StoredPage(1, page_of())) == 0


def test_a_call_at_the_border_of_two_parts_counts_in_its_own_part() -> None:
    before = call("before", "2023-03-07 11:59:59")
    after = call("after", "2023-03-07 12:00:00")
    both = page_of(before, after)
    for first, second in ((MORNING, AFTERNOON), (AFTERNOON, MORNING)):
        pages = [StoredPage(1, both, first), StoredPage(2, both, second)]
        assert count_of(*pages) == 2
        calls = flatten(pages, Rules(Window.of(DAY), SAIGON)).cdrs
        assert sorted(calls["id"]) == ["after", "before"]


def test_a_call_that_its_own_part_no_longer_holds_is_not_kept_by_a_neighbour() -> None:
    gone = page_of(call("gone", "2023-03-07 12:00:00"))
    pages = [StoredPage(1, gone, MORNING), StoredPage(2, page_of(), AFTERNOON)]
    assert count_of(*pages) == 0
    assert flatten(pages, Rules(Window.of(DAY), SAIGON)).cdrs.is_empty()


def test_a_fault_of_a_call_on_the_border_is_reported_once() -> None:
    both = page_of(call("a", "2023-03-07 11:59:59", duration="abc"))
    pages = [StoredPage(1, both, MORNING), StoredPage(2, both, AFTERNOON)]
    assert flatten(pages, Rules(Window.of(DAY), SAIGON)).rejects["field"].to_list() == ["duration"]
