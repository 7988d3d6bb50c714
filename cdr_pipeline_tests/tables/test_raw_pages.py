"""Responses in their file: kept byte for byte, read by row group, and which readings count."""

from datetime import datetime
from itertools import pairwise
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdr_pipeline.errors import Damaged
from cdr_pipeline.tables.datasets import RAW_PAGES
from cdr_pipeline.tables.raw_pages import Pages, StoredPage, in_force
from cdr_pipeline.tables.store import Store
from cdr_pipeline.window import Window
from cdr_pipeline_tests.records import DAY, SAIGON, call, page_of, pages_row


def keep(store: Store, rows: list[dict[str, Any]]) -> None:
    with store.writing_pages(DAY) as pages:
        for row in rows:
            pages.add(row)


def test_responses_are_kept_byte_for_byte_in_their_order(store: Store) -> None:
    bodies = [page_of(call("a")), b'{"data":[{"id":"\xff"}],"total":1}', page_of()]
    with store.writing_pages(DAY) as pages:
        for body in bodies:
            pages.add(pages_row(1, body))
        pages.close()
        assert [stored.body for stored in pages.written()] == bodies
    assert store.read(RAW_PAGES, DAY)["body"].to_list() == bodies
    assert store.read(RAW_PAGES, DAY).schema == RAW_PAGES.schema(SAIGON)
    assert list(store.pages(DAY)) == [
        StoredPage(1, body, Window.of(DAY), place) for place, body in enumerate(bodies)
    ]


def test_only_responses_in_force_are_read_back(store: Store) -> None:
    hours = [(0, 24), (0, 24), (0, 12), (12, 24)]
    keep(store, [pages_row(n, page_of(call(str(n))), *of) for n, of in enumerate(hours)])
    assert [stored.pass_ for stored in store.pages(DAY)] == [2, 3]
    assert store.read(RAW_PAGES, DAY)["pass"].to_list() == [0, 1, 2, 3]


def test_many_responses_are_written_a_row_group_at_a_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdr_pipeline.tables.raw_pages._BODY_BYTES", 100)
    bodies = [page_of(call(str(n))) for n in range(7)]
    keep(store, [pages_row(1, body) for body in bodies])
    assert pq.read_metadata(store.path(RAW_PAGES, DAY)).num_row_groups == 4
    assert [stored.body for stored in store.pages(DAY)] == bodies


def test_row_groups_are_reported_when_written_and_can_be_read_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdr_pipeline.tables.raw_pages._BODY_BYTES", 100)
    groups: dict[int, list[StoredPage]] = {}
    with store.writing_pages(DAY, lambda group, pages: groups.update({group: [*pages]})) as writer:
        for number in (
            1,
            1,
            1,
            2,
            2,
        ):  # the second reading covers all, so the first is out of force
            writer.add(pages_row(number, page_of(call("a"))))
    assert list(groups) == [0, 1, 2]
    assert [stored.place for group in groups.values() for stored in group] == [0, 1, 2, 3, 4]
    pages = store.pages(DAY)
    assert pages.readings() == [set(), {2}, {2}]
    assert list(Pages(pages.path, [2, 1])) == [*groups[2], groups[1][1]]
    assert list(pages) == [groups[1][1], *groups[2]]


def test_a_file_that_is_damaged_under_a_whole_footer_is_reported_as_damaged(store: Store) -> None:
    keep(store, [pages_row(1, page_of(call(str(n)))) for n in range(3)])
    path = store.path(RAW_PAGES, DAY)
    group = pq.read_metadata(path).row_group(0)
    bodies = group.column(group.num_columns - 1)
    torn = bytearray(path.read_bytes())
    start = bodies.data_page_offset + 20  # after the page's header
    end = bodies.data_page_offset + bodies.total_compressed_size
    torn[start:end] = b"\xff" * (end - start)
    path.write_bytes(torn)
    for read in (list, Pages.totals):
        with pytest.raises(Damaged):
            read(store.pages(DAY))


def test_a_day_without_responses_is_a_typed_file(store: Store) -> None:
    with store.writing_pages(DAY):
        pass
    assert list(store.pages(DAY)) == []
    assert store.read(RAW_PAGES, DAY).schema == RAW_PAGES.schema(SAIGON)


Reading = tuple[int, datetime, datetime]


def reading(number: int, start: int, end: int) -> Reading:
    """A reading of the hours `start` to `end` of the day."""
    return number, datetime(2023, 3, 7, start), datetime(2023, 3, 7, end)


@pytest.mark.parametrize(
    ("readings", "counting"),
    [
        ([], set()),
        ([reading(1, 0, 23)], {1}),
        ([reading(1, 0, 23)] * 3, {1}),
        ([reading(0, 0, 23), reading(1, 0, 23)], {1}),
        ([reading(1, 0, 23), reading(2, 0, 23)], {2}),
        ([reading(2, 0, 23), reading(1, 0, 23)], {2}),
        ([reading(1, 0, 23), reading(2, 0, 12), reading(3, 12, 23)], {2, 3}),
        ([reading(1, 0, 12), reading(2, 12, 23), reading(3, 11, 13)], {3}),
        ([reading(1, 0, 23), reading(2, 5, 6)], {2}),
        (
            [reading(1, 0, 12), reading(2, 12, 18), reading(3, 18, 23), reading(4, 12, 18)],
            {1, 3, 4},
        ),
    ],
)
def test_a_reading_counts_unless_a_later_one_overlaps_it(
    readings: list[Reading], counting: set[int]
) -> None:
    assert in_force(readings) == counting


HOURS = st.tuples(st.integers(0, 20), st.integers(1, 8)).map(
    lambda one: (one[0], min(23, sum(one)))
)


@given(st.lists(HOURS, max_size=7))
def test_readings_that_count_never_overlap_and_their_order_does_not_matter(
    hours: list[tuple[int, int]],
) -> None:
    readings = [reading(number, *one) for number, one in enumerate(hours, start=1)]
    counting = in_force(readings)
    assert in_force(reversed(readings)) == counting
    kept = sorted(hours[number - 1] for number in counting)
    assert all(end <= start for (_, end), (start, _) in pairwise(kept))
    assert not readings or len(readings) in counting
