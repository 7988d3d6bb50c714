"""One reading of one window: its requests, the records it takes, and what casts doubt on it."""

import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast

import pytest

from cdr_pipeline.api.client import Answer, Client, Query
from cdr_pipeline.api.reading import (
    COST_BOUND,
    PROBE,
    SECOND,
    Limits,
    Page,
    Reader,
    Reading,
    Tally,
    TooMuch,
    Unsettled,
    listed,
)
from cdr_pipeline.errors import NotProved, Refused, Unauthorized, Unreachable
from cdr_pipeline.page import Seen, see
from cdr_pipeline.window import Window
from cdr_pipeline_tests.api.conftest import WINDOW, Model, spread

T = TypeVar("T")
NOON = WINDOW.start + timedelta(hours=12)
WHOLE = Query(start_date=WINDOW.start, end_date=WINDOW.end)


class Reads:
    """A reader of a model, and the pages that it kept."""

    def __init__(self, model: Model, page_size: int, concurrency: int) -> None:
        self.pages: list[Page] = []
        self.limits = Limits(page=page_size)
        self.threads = ThreadPoolExecutor(concurrency)
        self.reader = Reader(
            cast("Client", model),
            self.limits,
            self.pages.append,
            concurrency=concurrency,
            threads=self.threads,
        )

    def offsets(self) -> list[int]:
        return [page.offset for page in self.pages]


Reads_ = Callable[..., Reads]


@pytest.fixture
def reads() -> Iterator[Reads_]:
    made: list[Reads] = []

    def make(model: Model, page_size: int = 10, concurrency: int = 1) -> Reads:
        made.append(Reads(model, page_size, concurrency))
        return made[-1]

    yield make
    for one in made:
        one.threads.shutdown()


def at_request(number: int, change: Callable[[Model], None]) -> Callable[[Model], None]:
    """A function for `between`: one change, before the request of this number (from 1)."""

    def between(model: Model) -> None:
        if model.requests == number - 1:
            change(model)

    return between


def arrive(model: Model) -> None:
    model.calls["new"] = NOON


# ---- requests and records


def test_the_range_asked_for_begins_a_second_early_so_that_any_bounds_will_do(
    reads: Reads_,
) -> None:
    model = Model({})
    reads(model).reader.read(WINDOW)
    ((query, limit, offset),) = model.asked
    assert query == Query(start_date=WINDOW.start - SECOND, end_date=WINDOW.end)
    assert (limit, offset) == (10, 0)


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize(
    ("cap", "offsets"), [(10**9, [0, 10, 20, 30]), (4, [0, 4, 8, 12, 16, 20, 24, 28, 32])]
)
def test_the_next_page_begins_after_the_last_row_received(
    reads: Reads_, cap: int, offsets: list[int], concurrency: int
) -> None:
    one = reads(Model(spread(35), cap=cap), concurrency=concurrency)
    reading = one.reader.read(WINDOW)
    assert one.offsets() == offsets
    assert len(reading.records) == reading.total == 35
    assert reading.pages == len(offsets)


class Overfull(Model):
    """Lists more rows than it was asked for."""

    def get(self, query: Query, *, limit: int, **how: Any) -> Answer[Any]:
        return super().get(query, limit=limit + 3, **how)


def test_more_rows_than_asked_for_are_all_taken(reads: Reads_) -> None:
    one = reads(Overfull(spread(30)))
    assert len(one.reader.read(WINDOW).records) == 30
    assert one.offsets() == [0, 13, 26]


class Overtaken(Model):
    """Its responses overtake each other in pairs: the second page comes after the third, and so
    on, if two requests can be in flight.
    """

    def __init__(self, calls: Mapping[str, datetime], rows: int, concurrency: int) -> None:
        super().__init__(calls, cap=rows)
        self._rows = rows
        self._in_pairs = concurrency > 1
        self.came: list[int] = []
        self.has_come = {offset: threading.Event() for offset in range(0, len(calls), rows)}

    def get(self, query: Query, *, offset: int, **how: Any) -> Answer[Any]:
        answer = super().get(query, offset=offset, **how)
        behind = self.has_come.get(offset + self._rows)
        if self._in_pairs and behind and offset // self._rows % 2:
            assert behind.wait(timeout=30)
        self.came.append(offset)
        self.has_come[offset].set()
        return answer


def test_pages_are_kept_in_the_order_of_their_offsets_whatever_the_order_of_arrival(
    reads: Reads_,
) -> None:
    model = Overtaken(spread(300), rows=8, concurrency=6)
    one = reads(model, concurrency=6)
    one.reader.read(WINDOW)
    assert one.offsets() == list(range(0, 300, 8))
    assert sorted(model.came) == one.offsets() != model.came


def test_as_many_requests_are_in_flight_as_the_settings_allow_and_no_more(reads: Reads_) -> None:
    lock, inside, most = threading.Lock(), 0, 0
    three = threading.Barrier(3)

    class Counting(Model):
        def get(self, query: Query, *, offset: int, **how: Any) -> Answer[Any]:
            nonlocal inside, most
            with lock:
                inside += 1
                most = max(most, inside)
            if offset:  # the first page is asked for alone, the others three at a time
                three.wait(timeout=30)
            with lock:
                inside -= 1
            return super().get(query, offset=offset, **how)

    reads(Counting(spread(10 + 6 * 3 * 10)), concurrency=3).reader.read(WINDOW)
    assert most == 3


def test_a_probe_costs_one_row_and_belongs_to_no_reading(reads: Reads_) -> None:
    one = reads(Model(spread(35)))
    assert one.reader.probe(WINDOW).total == 35
    (page,) = one.pages
    assert (page.pass_, page.limit) == (PROBE, 1)
    assert one.reader.tally.received == 0
    assert one.reader.readings == []


# ---- doubts


def test_a_total_that_moves_unsettles(reads: Reads_) -> None:
    one = reads(Model(spread(35), between=at_request(3, arrive)))
    with pytest.raises(Unsettled, match="its total moved from 35 to 36"):
        one.reader.read(WINDOW)
    assert one.offsets() == [0, 10, 20]


def test_pages_that_overlap_unsettle(reads: Reads_) -> None:
    one = reads(Model(spread(35), order="unstable"))
    with pytest.raises(Unsettled, match=r"\d+ distinct records came where its total says 35"):
        one.reader.read(WINDOW)


def test_a_total_over_no_rows_at_all_unsettles(reads: Reads_) -> None:
    with pytest.raises(Unsettled, match="no record came where its total says 35"):
        reads(Model(spread(35), cap=0)).reader.read(WINDOW)


@pytest.mark.parametrize("beyond", ["400", "500", "empty"])
def test_a_reading_past_the_deepest_offset_raises_too_much_and_remembers_the_limit(
    reads: Reads_, beyond: str
) -> None:
    one = reads(Model(spread(35), deep=20, beyond=beyond))
    with pytest.raises(TooMuch, match="offset 20"):
        one.reader.read(WINDOW)
    asked = one.reader.tally.requests
    with pytest.raises(TooMuch, match="of 35 calls pages give"):
        one.reader.read(WINDOW)
    assert one.reader.tally.requests == asked + 1


def test_a_vendor_that_ignores_the_offset_raises_too_much(reads: Reads_) -> None:
    class Repeating(Model):
        def get(self, query: Query, *, offset: int, **how: Any) -> Answer[Any]:
            return super().get(query, offset=0, **how)

    one = reads(Repeating(spread(35)))
    with pytest.raises(TooMuch, match="offset 10 brought the first page again"):
        one.reader.read(WINDOW)


def test_a_total_at_the_usual_ceiling_raises_too_much(reads: Reads_) -> None:
    class Ten(Model):
        def body(self, ids: list[str], total: int) -> bytes:
            return super().body(ids, 10_000)

    one = reads(Ten(spread(35)))
    with pytest.raises(TooMuch, match="its total stops at 10,000"):
        one.reader.read(WINDOW)
    assert one.offsets() == [0]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_range_raises_too_much_and_shorter_ranges_are_planned(
    reads: Reads_, status: int
) -> None:
    one = reads(Model(spread(35), longest=timedelta(hours=24), too_much=status))
    with pytest.raises(TooMuch, match="a range of 1 day, 0:00:00 is refused"):
        one.reader.read(WINDOW)
    assert one.limits.span == timedelta(hours=12)
    assert one.limits.page == 10
    assert len(one.reader.read(Window(WINDOW.start, NOON)).records) > 0


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_limit_that_is_refused_is_lowered_until_it_is_not(reads: Reads_, status: int) -> None:
    one = reads(Model(spread(35), largest=100, too_much=status), page_size=500)
    assert len(one.reader.read(WINDOW).records) == 35
    assert 50 < one.limits.page <= 100
    assert one.limits.span > timedelta(days=1)


def test_a_refusal_of_one_row_of_one_minute_is_passed_on(reads: Reads_) -> None:
    one = reads(Model({}, longest=timedelta()), page_size=1)
    minute = Window(WINDOW.start, WINDOW.start + timedelta(minutes=1))
    with pytest.raises(Refused):
        one.reader.read(minute)


@pytest.mark.parametrize("error", [Unauthorized("no"), Unreachable("nobody there")])
def test_errors_that_no_shorter_range_cures_are_passed_on(reads: Reads_, error: Exception) -> None:
    def fail(model: Model) -> None:
        raise error

    one = reads(Model(spread(35), between=at_request(2, fail)))
    with pytest.raises(type(error)) as caught:
        one.reader.read(WINDOW)
    assert caught.value is error
    assert one.limits.reach == math.inf


@pytest.mark.parametrize("concurrency", [1, 4])
def test_responses_of_a_reading_that_is_given_up_are_kept(reads: Reads_, concurrency: int) -> None:
    answered: list[bytes] = []

    class Recording(Overtaken):
        def get(self, query: Query, *, offset: int, **how: Any) -> Answer[Any]:
            if offset == 30:  # the page at 40 has come before the total on this page moves
                assert self.has_come[10].wait(timeout=30)
                with self._lock:
                    arrive(self)
            answer = super().get(query, offset=offset, **how)
            answered.append(answer.body)
            return answer

    model = Recording(spread(95), rows=10, concurrency=concurrency)
    one = reads(model, concurrency=concurrency)
    with pytest.raises(Unsettled, match="its total moved from 95 to 96"):
        one.reader.read(WINDOW)
    assert (40 in one.offsets()) == (concurrency > 1)
    assert sorted(page.body for page in one.pages) == sorted(answered)
    assert one.reader.tally.pages == one.reader.tally.requests == len(answered)
    assert one.offsets() == sorted(one.offsets())


# ---- records and figures


def seen(*records: Mapping[str, object]) -> Seen:
    return see(json.dumps({"data": records, "total": len(records)}).encode())


def test_records_without_an_id_are_calls_of_their_own() -> None:
    reading = Reading(WINDOW, total=4)
    reading.add(seen({"id": "a", "time_started": ""}, {"id": ""}, {"id": ""}), 0)
    reading.add(seen({"id": "a", "time_started": ""}, {"id": ""}), 3)
    assert len(reading.records) == 1 + 3
    reading.add(seen({"id": ""}, {"id": "a", "time_started": ""}), 4)
    assert len(reading.records) == 1 + 3, "the one at offset 4 came before"


def test_a_record_belongs_to_a_window_only_by_a_valid_start_time() -> None:
    reading = Reading(WINDOW, total=5)
    times = ["2023-03-06 23:59:59", "2023-03-07 00:00:00", "2023-03-07 23:59:59"]
    times += ["2023-03-08 00:00:00", "yesterday"]
    reading.add(seen(*({"id": str(n), "time_started": at} for n, at in enumerate(times))), 0)
    assert len(reading.records) == 5
    assert len(reading.inside) == 3


def test_a_proof_ends_at_the_bound_of_requests() -> None:
    tally = Tally()
    tally.expect(3)
    for _ in range(3 * COST_BOUND):
        tally.spend()
    with pytest.raises(NotProved, match="15 requests, the bound"):
        tally.spend()
    tally.forgive()
    tally.spend()
    assert tally.requests == 16


# ---- a list without a proof


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_list_is_asked_for_in_smaller_pages_if_the_limit_is_refused(status: int) -> None:
    model = Model(spread(350), largest=100, too_much=status)
    texts, total = listed(cast("Client", model), WHOLE, 500, limit=0, offset=10)
    assert (len(texts), total) == (340, 350)
    assert [limit for _, limit, _ in model.asked] == [500, 1, 250, 1, 125, 1, *[62] * 6]


def test_a_list_that_is_refused_at_any_size_is_asked_for_twice_only() -> None:
    model = Model(spread(350), deep=100)
    with pytest.raises(Refused):
        listed(cast("Client", model), WHOLE, 500, limit=0, offset=100)
    assert [limit for _, limit, _ in model.asked] == [500, 1]
