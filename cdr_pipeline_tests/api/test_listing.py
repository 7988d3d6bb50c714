"""A day of a hostile vendor over real HTTP: proved exactly, or a failure with figures."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from cdr_pipeline.api import listing
from cdr_pipeline.api.client import Answer, Patience, Query
from cdr_pipeline.api.reading import COST_BOUND, PROBE, SECOND, Page, Reader, Reading
from cdr_pipeline.api.records import Records
from cdr_pipeline.errors import NotProved, Refused, Unauthorized, Unavailable
from cdr_pipeline.page import split, split_and_total
from cdr_pipeline.simulator import Chaos, Fixed, Tenant, Vendor
from cdr_pipeline.window import Window
from cdr_pipeline_tests.api.conftest import (
    DAY,
    WINDOW,
    ByTheMinute,
    Connect,
    Model,
    Proof,
    ids_of,
    lister_of,
    prove,
    spread,
)

PATIENT = Patience(attempts=40, first_attempts=40, seconds=60, first_pause=0, longest_pause=0.001)
CALLS = Tenant(calls_per_day=320)


def vendor(chaos: str = "", seed: int = 1, **options: Any) -> Vendor:
    given = {"tenant": CALLS} | options
    return Vendor(chaos=Chaos.parse(chaos, seed), keep_bodies=True, **given)


def truth(vendor: Vendor, day: date = DAY) -> set[str]:
    return ids_of(vendor.truth(day))


def record(id_: str, time_started: str) -> dict[str, str]:
    return {"id": id_, "time_started": time_started}


def listings(vendor: Vendor) -> list[bytes]:
    """The bodies that the vendor sent and that a client could read as pages."""
    bodies = [exchange.body for exchange in vendor.requests if exchange.status == 200]
    return [body for body in bodies if readable(body)]


def readable(body: bytes) -> bool:
    try:
        split_and_total(body)
    except ValueError:
        return False
    return True


# ---- an honest vendor


def test_an_honest_day_is_proved_page_by_page(connect: Connect) -> None:
    honest = vendor()
    proof = prove(connect(honest), page_size=100, concurrency=4)
    proof.adds_up()
    assert proof.ids == truth(honest)
    offsets = [page.offset for page in proof.pages if page.pass_ == proof.receipt.passes]
    assert offsets == list(range(0, proof.receipt.reported_total, 100))
    assert proof.receipt.requests <= 2 * len(offsets) + 6
    assert Counter([page.body for page in proof.pages]) == Counter(listings(honest))


def test_a_day_without_calls_is_proved_by_two_requests(connect: Connect) -> None:
    proof = prove(connect(vendor(records=[])))
    proof.adds_up()
    assert proof.ids == set()
    assert proof.receipt.requests == 2


@pytest.mark.parametrize(
    ("order", "page_size"),
    [
        *(("newest", size) for size in (1, 2, 3, 500)),
        *(("oldest", size) for size in (1, 2, 3, 500)),
        *(("unstable", size) for size in (2, 3, 500)),
    ],
)
@pytest.mark.parametrize("bounds", ["inclusive", "exclusive", "half-open"])
def test_calls_at_the_edges_of_a_day_are_in_the_day_in_which_they_began(
    connect: Connect, bounds: str, order: str, page_size: int
) -> None:
    edges = Vendor(
        records=[
            record("before", "2023-03-06 23:59:59"),
            record("first", "2023-03-07 00:00:00"),
            record("last", "2023-03-07 23:59:59"),
            record("after", "2023-03-08 00:00:00"),
        ],
        bounds=bounds,  # type: ignore[arg-type]
        order=order,  # type: ignore[arg-type]
    )
    proof = prove(connect(edges), page_size)
    proof.adds_up()
    assert proof.ids == {"first", "last"}
    assert (proof.receipt.outside_window > 0) == (bounds != "exclusive")


@pytest.mark.parametrize("bounds", ["inclusive", "exclusive", "half-open"])
def test_any_bounds_give_the_same_day_in_parts_too(connect: Connect, bounds: str) -> None:
    calls = vendor("ceiling=150", bounds=bounds)
    proof = prove(connect(calls), page_size=60)
    proof.adds_up()
    assert proof.ids == truth(calls)


# ---- faulty lists

#: Faults in spite of which a client can always prove the day.
HARMLESS = [
    *("unstable", "repeat", "short", "overfull", "overfull=100000", "cap=17", "cap=9,overfull=1"),
    *("max-range=24", "max-range=6", "ceiling=120:400", "ceiling=120:500", "ceiling=120:empty"),
    *("expiring-token=3", "slow=0.3:0.01", "truncated=0.25", "html=0.25", "throttle=0.25:0"),
    *("flaky=0.25", "messy", "lying-total=3:0.1"),
    *("ceiling=150,cap=40", "max-range=6,unstable", "repeat,max-range=24", "ceiling=130,unstable"),
    "flaky=0.25,html=0.25,truncated=0.25,throttle=0.25:0,short,cap=50,max-range=6,messy",
    "flaky=0.25,html=0.25,truncated=0.25,ceiling=130:500,unstable,overfull",
]


@pytest.mark.parametrize("chaos", HARMLESS)
def test_a_day_of_a_hostile_vendor_is_proved(connect: Connect, chaos: str) -> None:
    # The vendor has no other day: a spoiled record of a day around it could be of any day.
    hostile = vendor(chaos, records=CALLS.day(DAY), api_key="key")
    client = connect(hostile, token=None, api_key="key", patience=PATIENT)
    proof = prove(client, page_size=100, concurrency=3)
    assert proof.receipt.unique_records == proof.receipt.reported_total
    assert proof.receipt.received == proof.receipt.unique_records + proof.receipt.duplicates
    assert set(proof.texts) == set(hostile.truth(DAY))
    if "messy" not in chaos:
        proof.adds_up()
        assert proof.ids == truth(hostile)
    if "ceiling" not in chaos and "max-range" not in chaos and "messy" in chaos:
        assert Counter(proof.texts) == Counter(hostile.truth(DAY))
    rows = min([100, *map(int, re.findall(r"(?:cap)=(\d+)", chaos))])
    pages = math.ceil(len(hostile.truth(DAY)) / rows)
    ranges = 24 // 3 if "max-range" in chaos else 0
    assert proof.receipt.requests <= COST_BOUND * (pages + ranges + 3)
    assert Counter([page.body for page in proof.pages]) <= Counter(listings(hostile))


def test_the_receipt_counts_each_request_that_the_vendor_received(connect: Connect) -> None:
    # Also the requests for a page that is given up, after which the day is read in parts.
    flaky = vendor("flaky=0.6", records=CALLS.day(DAY))
    receipt = prove(connect(flaky, patience=PATIENT), page_size=10, concurrency=1).receipt
    assert receipt.parts > 1
    assert receipt.requests + receipt.retries == len(flaky.requests)


def test_a_request_that_is_sent_again_with_a_new_token_is_a_retry(connect: Connect) -> None:
    expiring = vendor("expiring-token=3", records=CALLS.day(DAY), api_key="key")
    client = connect(expiring, token=None, api_key="key", patience=PATIENT)
    receipt = prove(client, page_size=10, concurrency=1).receipt
    heard = Counter(exchange.path for exchange in expiring.requests)
    assert receipt.retries == heard["/v3/auth/token"] - 1 > 0
    assert receipt.requests + receipt.retries == heard["/v3/cdr"]


@pytest.mark.parametrize("seed", [0, 2, 7, 9, 10, 11])
@pytest.mark.parametrize("others", ["", ",cap=40,flaky=0.2", ",unstable", ",ceiling=120,html=0.2"])
def test_drift_ends_in_the_last_truth_or_in_a_failure_with_figures(
    connect: Connect, others: str, seed: int
) -> None:
    drifting = vendor(f"drift={seed * 3}{others}", seed)
    client = connect(drifting, patience=PATIENT)
    pages: list[Page] = []
    try:
        proof = prove(client, page_size=100, concurrency=1, pages=pages)
    except NotProved as failure:
        assert_figures(failure)
    else:
        proof.adds_up()
        assert proof.ids == truth(drifting)
    assert Counter([page.body for page in pages]) == Counter(listings(drifting))


def assert_figures(failure: NotProved) -> None:
    assert re.search(
        r"^2023-03-07 00:00:00 to 2023-03-08 00:00:00 is not proved complete: .+;"
        r".+ total was [\d,]+ at most, and [\d,]+ distinct records came in \d+ readings"
        r" and \d+ requests \(\d+ retries\)\..+ unchanged\.",
        str(failure),
    )


def test_a_day_that_never_stops_changing_fails_with_its_moving_total_as_the_reason(
    connect: Connect,
) -> None:
    with pytest.raises(NotProved, match=r"; in 2023[^;]+: its total moved from \d+ to \d+\."):
        prove(connect(vendor("drift=1000")), page_size=20, concurrency=1)


@pytest.mark.parametrize("chaos", ["lying-total=3", "lying-total=-3", "lying-total=100000"])
def test_a_total_that_lies_for_ever_is_a_failure_with_figures(connect: Connect, chaos: str) -> None:
    lying = vendor(chaos)
    pages: list[Page] = []
    with pytest.raises(NotProved) as caught:
        prove(connect(lying), page_size=100, concurrency=2, pages=pages)
    assert_figures(caught.value)
    requests = len(lying.requests)
    assert f"{requests} requests" in str(caught.value)
    assert Counter([page.body for page in pages]) == Counter(listings(lying))


def test_a_proof_that_is_stopped_ends_with_the_next_response(connect: Connect) -> None:
    honest = vendor("cap=10")
    with lister_of(connect(honest)) as lister:

        def keep(_: Page) -> None:
            lister.stop()

        with pytest.raises((NotProved, Unavailable), match="the run has ended"):
            lister.prove(WINDOW, keep)
    assert len(honest.requests) <= 3


def test_a_total_that_rises_over_empty_pages_is_a_failure() -> None:
    class Rising(Model):
        def body(self, ids: list[str], total: int) -> bytes:
            return super().body(ids if self.requests == 1 else [], 35 + self.requests)

    with pytest.raises(NotProved) as caught:
        prove(Rising(spread(35)), page_size=10)
    assert_figures(caught.value)


class Blinking(Model):
    """Lists nothing in the responses of these numbers, as while a search index is rebuilt."""

    def __init__(self, *moment: int) -> None:
        super().__init__(spread(35))
        self._moment = moment

    def body(self, ids: list[str], total: int) -> bytes:
        blinks = self.requests in self._moment
        return super().body([] if blinks else ids, 0 if blinks else total)


@pytest.mark.parametrize("moment", [(1,), (3, 4)], ids=["at first", "as the second reading begins"])
def test_a_day_is_proved_though_the_vendor_lists_nothing_for_a_moment(
    moment: tuple[int, ...],
) -> None:
    blinking = Blinking(*moment)
    proof = prove(blinking, page_size=10, concurrency=1)
    assert proof.ids == blinking.truth()


class EmptyOverADay(Model):
    """Lists nothing for a range of more than 24 hours, with a total of 0."""

    def _found(self, start: datetime, end: datetime) -> list[str]:
        return [] if end - start > timedelta(days=1) else super()._found(start, end)


@pytest.mark.parametrize("calls", [1, 35, 2000])
def test_a_vendor_that_answers_a_range_over_a_day_without_calls_is_read_in_parts(
    calls: int,
) -> None:
    silent = EmptyOverADay(spread(calls))
    proof = prove(silent)
    proof.adds_up()
    assert proof.ids == silent.truth()
    assert proof.receipt.parts == 2


def test_an_empty_day_of_such_a_vendor_is_proved_by_two_requests() -> None:
    proof = prove(EmptyOverADay({}))
    assert proof.receipt.requests == 2


@pytest.mark.parametrize("moment", [(2, 3, 4), range(3, 100)], ids=["short", "long"])
def test_a_day_of_which_calls_came_is_not_proved_empty(moment: Iterable[int]) -> None:
    with pytest.raises(NotProved, match="calls came that were no longer listed in the end") as said:
        prove(Blinking(*moment), page_size=10, concurrency=1)
    assert_figures(said.value)


def test_a_few_calls_that_the_vendor_deletes_meanwhile_are_left_out() -> None:
    def delete(model: Model) -> None:
        if model.requests == 2:
            for id_ in list(model.calls)[:10]:
                del model.calls[id_]

    model = Model(spread(300), between=delete)
    proof = prove(model, page_size=50, concurrency=1)
    assert len(proof.ids) == 290
    assert proof.ids == model.truth()


class Lagging(Model):
    """The responses of these numbers are from a machine that lacks the last three calls."""

    def __init__(self, *responses: int) -> None:
        super().__init__(spread(11))
        self._responses = responses

    def _found(self, start: datetime, end: datetime) -> list[str]:
        found = super()._found(start, end)
        return [id_ for id_ in found if self.requests not in self._responses or int(id_[5:]) < 8]


def test_calls_that_are_listed_again_when_they_are_asked_for_were_not_deleted() -> None:
    """Three of eleven calls were taken for deleted ones, and the day was proved without them."""
    with pytest.raises(NotProved, match=r"3 calls came .* 2023-03-07 .*, is listed again: one of"):
        prove(Lagging(5, 7, 8, 9), page_size=10, concurrency=1)


def test_more_calls_in_a_second_than_can_be_paged_are_a_failure() -> None:
    crowded = Model(spread(40, timedelta(seconds=1)), deep=20)
    with pytest.raises(NotProved, match="not even the one second 2023-03-07 00:00:00"):
        prove(crowded, page_size=10)


def test_a_refused_token_is_not_taken_for_a_refused_range(connect: Connect) -> None:
    forbidden = vendor(forbidden=True)
    with pytest.raises(Unauthorized):
        prove(connect(forbidden))
    assert len(forbidden.requests) == 1


# ---- parts


class MovedOverTheCut(Model):
    """When the reading of a part from T on begins, a call moves from T - `before` to T - 1 s."""

    def __init__(self, before: timedelta) -> None:
        start = WINDOW.start + timedelta(hours=10)
        super().__init__({f"call-{n}": start + n * SECOND for n in range(3000)}, ceiling=1000)
        self._before = before
        self._moved = False

    def _page(self, query: Query, limit: int, offset: int) -> bytes:
        assert isinstance(query.start_date, datetime)
        cut = query.start_date + SECOND
        at_cut = [id_ for id_, began in self.calls.items() if began == cut - self._before]
        if at_cut and limit > 1 and offset == 0 and not self._moved:
            self._moved = True
            self.calls[at_cut[0]] = cut - SECOND
        return super()._page(query, limit, offset)


@pytest.mark.parametrize("before", [0 * SECOND, 3 * SECOND], ids=["into the gap", "twice"])
def test_a_call_that_moves_over_the_cut_between_two_parts_is_read_where_it_is(
    before: timedelta,
) -> None:
    model = MovedOverTheCut(before)
    proof = prove(model, page_size=100)
    assert model.calls != MovedOverTheCut(before).calls
    assert proof.ids == model.truth()
    listed = {(head["id"], head["time_started"]) for head in map(json.loads, proof.texts)}
    assert listed == {(id_, f"{began}") for id_, began in model.calls.items()}


@pytest.mark.parametrize("count", [20, 100, 300])
def test_a_total_that_was_larger_before_is_no_ceiling_of_its_parts(count: int) -> None:
    """Two machines answer in turn, and one of them lacks some calls."""

    class ByTurns(Model):
        def _found(self, start: datetime, end: datetime) -> list[str]:
            found = super()._found(start, end)
            return [id_ for id_ in found if self.requests % 2 == 0 or int(id_[5:]) % 4]

    with pytest.raises(NotProved):
        prove(ByTurns(spread(count)), page_size=500)


def test_parts_end_at_whole_minutes_for_a_vendor_that_compares_no_seconds() -> None:
    model = ByTheMinute(spread(300, timedelta(minutes=35)), ceiling=100)
    assert prove(model, page_size=25).ids == model.truth()


def test_calls_between_two_parts_that_neither_part_lists_are_a_failure() -> None:
    with pytest.raises(NotProved):
        prove(ByTheMinute(spread(300, timedelta(minutes=5)), ceiling=100), page_size=25)


def test_calls_that_came_before_but_that_no_part_lists_are_a_failure() -> None:
    """Ranges of a day are refused, so there is no total of the day; parts shorter than a minute,
    which are asked for at the edges of the day, list nothing.
    """
    first, last = [0] * 4 + [1] + [59] * 3, [86_340] * 3 + [86_398] * 5 + [86_399] * 4
    seconds = [*first, 60, 27_336, 48_633, *last]
    calls = {f"call-{n}": WINDOW.start + at * SECOND for n, at in enumerate(seconds)}
    model = ByTheMinute(calls, bounds="exclusive", longest=timedelta(days=1))
    with pytest.raises(NotProved, match="came that none of the parts lists"):
        prove(model)


def test_changes_in_parts_already_proved_are_found_even_if_they_balance() -> None:
    minute = timedelta(minutes=1)
    calls = {f"call-{n}": WINDOW.start + timedelta(hours=8) + n * minute for n in range(120)}

    def balance(model: Model) -> None:
        """When half of the day is proved, a call arrives early in it; then another is deleted."""
        query, limit, _ = model.asked[-1]
        assert isinstance(query.start_date, datetime)
        if limit > 1 and query.start_date > WINDOW.start + timedelta(hours=9):
            if "new" not in model.calls:
                model.calls["new"] = WINDOW.start + timedelta(hours=8)
            elif "call-50" in model.calls:
                del model.calls["call-50"]

    model = Model(calls, deep=20, between=balance)
    proof = prove(model, page_size=10)
    assert model.truth() == (set(calls) | {"new"}) - {"call-50"}
    assert proof.ids == model.truth()


def test_parts_that_hold_fewer_calls_than_the_whole_prove_nothing() -> None:
    class Short(Model):
        def _found(self, start: datetime, end: datetime) -> list[str]:
            found = super()._found(start, end)
            whole = end - start >= WINDOW.length
            return [id_ for id_ in found if whole or id_ != "call-7"]

    with pytest.raises(NotProved, match="calls kept changing in parts already proved"):
        prove(Short(spread(120), deep=20), page_size=10)


@pytest.mark.parametrize(
    "options",
    [{"longest": timedelta(hours=6)}, {"deep": 200}, {"largest": 100}],
)
def test_limits_that_one_day_showed_save_requests_on_the_next(options: dict[str, Any]) -> None:
    calls = spread(700)
    model = Model(calls, **options)
    with lister_of(model, page_size=200) as lister:
        kept: list[list[Page]] = [[], []]
        proofs = [Proof(lister.prove(WINDOW, pages.append), pages) for pages in kept]
    first, second = (proof.receipt.requests for proof in proofs)
    assert second < first
    for proof in proofs:
        proof.adds_up()
        assert proof.ids == set(calls)


def test_the_next_day_does_not_page_up_to_a_ceiling_that_is_known() -> None:
    calls = spread(2500)
    with lister_of(Model(calls, ceiling=437), page_size=100) as lister:
        lister.prove(WINDOW, lambda page: None)
        pages: list[Page] = []
        proof = Proof(lister.prove(WINDOW, pages.append), pages)
    assert proof.ids == set(calls)
    assert {page.offset for page in pages if page.window == WINDOW} == {0}


def test_a_range_without_calls_is_not_cut_into_ever_shorter_parts() -> None:
    """For a busy day behind a ceiling, the calls of the evening were guessed as more than none."""
    evening = Window(WINDOW.start + timedelta(hours=17), WINDOW.end)
    ahead = listing._Ahead(evening, calls=2_650, known=Records())
    parts = []
    while ahead.at < evening.end:
        parts.append(ahead.part(75, evening.length))
        ahead.advance(parts[-1], Reading(parts[-1], total=0))
    assert len(parts) < 10
    assert [part.start for part in parts[1:]] == [part.end for part in parts[:-1]]
    assert parts[-1].end == evening.end


def test_each_part_looks_through_the_calls_ahead_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When each part looked through all calls seen so far, 1.5 million calls behind a ceiling of
    10,000 took 38 CPU seconds, and twice as many calls four times as long.
    """
    looked_through: list[int] = []
    united = Records.of

    def of(sources: Iterable[Records]) -> Records:
        looked_through.append(len(records := united(sources)))
        return records

    monkeypatch.setattr(Records, "of", of)
    model = Model(spread(3000), ceiling=100, cap=20)
    with lister_of(model, page_size=20) as lister:
        lister._limits.learn_ceiling(100)
        receipt = lister.prove(WINDOW, lambda page: None)
    assert receipt.parts > 30
    whole = [size for size in looked_through if size > 200]
    assert len(whole) < 10, "in the end, not at each part"


def test_calls_that_come_again_raise_no_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the vendor compares minutes, a part that was too much brought calls of earlier parts
    again, and these were counted again each time.
    """
    expected: list[int] = []
    expect = Reader.expect

    def expecting(self: Reader, records: int, besides: int = 1) -> None:
        expected.append(records)
        expect(self, records, besides)

    monkeypatch.setattr(Reader, "expect", expecting)
    pages: list[Page] = []
    model = ByTheMinute(spread(1500, over=timedelta(hours=1)), ceiling=20)
    with pytest.raises(NotProved, match="not even the one second"):
        prove(model, page_size=20, pages=pages)
    assert max(expected) <= len(ids_of([text for page in pages for text in split(page.body)]))


@pytest.mark.parametrize("ceiling", [None, 10_000])
def test_a_busy_day_in_an_unstable_order_is_proved(ceiling: int | None) -> None:
    """A reading of many pages fails each time, so the whole day is read only once."""
    model = Model(spread(12_400, timedelta(hours=9)), order="unstable", ceiling=ceiling, cap=100)
    proof = prove(model, page_size=100)
    assert len(proof.ids) == 12_400
    whole = [page for page in proof.pages if page.window == WINDOW and page.pass_ != PROBE]
    assert len({page.pass_ for page in whole}) == 1


def test_refusals_of_everything_for_a_while_teach_no_limit() -> None:
    class Moody(Model):
        moody = True

        def get(self, query: Query, **how: Any) -> Answer[Any]:
            if self.moody:
                raise Refused("not now", 400)
            return super().get(query, **how)

    model = Moody(spread(700))
    with lister_of(model, page_size=100) as lister:
        with pytest.raises(Refused):
            lister.prove(WINDOW, lambda page: None)
        model.moody = False
        pages: list[Page] = []
        proof = Proof(lister.prove(WINDOW, pages.append), pages)
    proof.adds_up()
    assert proof.receipt.requests <= COST_BOUND * 8


@pytest.mark.parametrize("chaos", ["", "ceiling=120", "unstable", "repeat"])
def test_four_requests_in_flight_prove_the_same_as_one(connect: Connect, chaos: str) -> None:
    outcomes = []
    for concurrency in (1, 4):
        asked = vendor(f"slow=0.5:0.01,{chaos}", seed=concurrency)
        proof = prove(connect(asked), page_size=40, concurrency=concurrency)
        order = [page.pass_ for page in proof.pages if page.pass_ != PROBE]
        assert order == sorted(order)
        outcomes.append(proof.ids)
    assert outcomes[0] == outcomes[1] == truth(vendor())


def test_a_days_pages_are_the_same_rows_in_the_same_order_each_time(connect: Connect) -> None:
    def rows(concurrency: int, seed: int) -> list[tuple[int, int, bytes]]:
        proof = prove(
            connect(vendor("slow=0.5:0.01,cap=25", seed)), page_size=40, concurrency=concurrency
        )
        return [(page.pass_, page.offset, page.body) for page in proof.pages]

    assert rows(1, seed=1) == rows(5, seed=2) == rows(5, seed=3)


def test_parts_cover_the_day_without_gap(connect: Connect) -> None:
    proof = prove(connect(vendor("max-range=6,cap=30,unstable")), page_size=40)
    windows = sorted(
        {(page.window.start, page.window.end) for page in proof.pages if page.pass_ != PROBE}
    )
    at = WINDOW.start
    for start, end in windows:
        assert start <= at
        at = max(at, end)
    assert at == WINDOW.end


def test_a_long_window_may_be_several_days(connect: Connect) -> None:
    week = Window(WINDOW.start, WINDOW.start + timedelta(days=3))
    days = [DAY + timedelta(days) for days in range(3)]
    calls = Fixed([call for day in days for call in CALLS.day(day)])
    with lister_of(connect(vendor("max-range=24", tenant=calls)), page_size=200) as lister:
        pages: list[Page] = []
        proof = Proof(lister.prove(week, pages.append), pages)
    proof.adds_up()
    assert len(proof.ids) == sum(len(CALLS.day(day)) for day in days)
