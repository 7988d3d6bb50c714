"""A day proved against hostile vendors over real HTTP: exact, or refused with figures."""

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from itertools import product
from typing import Any, Final

import pytest

from cdr_pipeline.api.client import Answer, Patience, Query
from cdr_pipeline.api.reading import COST_BOUND, PROBE, SECOND, Page
from cdr_pipeline.errors import NotProved, Refused, Unauthorized, Unavailable
from cdr_pipeline.page import split_and_total
from cdr_pipeline.simulator import Chaos, Fixed, Tenant, Vendor
from cdr_pipeline.window import Window
from cdr_pipeline_tests.api.conftest import (
    DAY,
    WINDOW,
    Connect,
    Model,
    Proof,
    counted,
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
    """The pages that the vendor sent, as a client could read them."""
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
    assert counted([page.body for page in proof.pages]) == counted(listings(honest))


def test_a_day_without_calls_is_proved_by_one_request(connect: Connect) -> None:
    proof = prove(connect(vendor(records=[])))
    proof.adds_up()
    assert proof.ids == set()
    assert proof.receipt.requests == 1


@pytest.mark.parametrize(
    ("order", "page_size"),
    [
        *(("newest", size) for size in (1, 2, 3, 500)),
        *(("oldest", size) for size in (1, 2, 3, 500)),
        *(("unstable", size) for size in (2, 3, 500)),
    ],
)
@pytest.mark.parametrize("bounds", ["inclusive", "exclusive", "half-open"])
def test_calls_at_the_very_edges_are_in_the_day_they_began_in(
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


# ---- faults of the way it lists

#: Faults that a client can always get past, and how.
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
def test_a_hostile_vendor_is_got_past(connect: Connect, chaos: str) -> None:
    # By itself: what is spoiled in the days around it could be of any day.
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
        assert counted(proof.texts) == counted(hostile.truth(DAY))
    rows = min([100, *map(int, re.findall(r"(?:cap)=(\d+)", chaos))])
    pages = math.ceil(len(hostile.truth(DAY)) / rows)
    ranges = 24 // 3 if "max-range" in chaos else 0
    assert proof.receipt.requests <= COST_BOUND * (pages + ranges + 3)
    assert counted([page.body for page in proof.pages]) <= counted(listings(hostile))


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
        tells_figures(failure)
    else:
        proof.adds_up()
        assert proof.ids == truth(drifting)
    assert counted([page.body for page in pages]) == counted(listings(drifting))


def tells_figures(failure: NotProved) -> None:
    assert re.search(
        r"^2023-03-07 00:00:00 to 2023-03-08 00:00:00 is not proved complete: .+;"
        r".+ total was [\d,]+ at most, and [\d,]+ distinct records came in \d+ readings"
        r" and \d+ requests \(\d+ retries\)\..+ unchanged\.",
        str(failure),
    )


@pytest.mark.parametrize("chaos", ["lying-total=3", "lying-total=-3", "lying-total=100000"])
def test_a_total_that_lies_for_ever_is_a_failure_with_figures(connect: Connect, chaos: str) -> None:
    lying = vendor(chaos)
    pages: list[Page] = []
    with pytest.raises(NotProved) as caught:
        prove(connect(lying), page_size=100, concurrency=2, pages=pages)
    tells_figures(caught.value)
    requests = len(lying.requests)
    assert f"{requests} requests" in str(caught.value)
    assert counted([page.body for page in pages]) == counted(listings(lying))


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
    tells_figures(caught.value)


def test_more_calls_in_a_second_than_can_be_paged_are_a_failure() -> None:
    crowded = Model(spread(40, timedelta(seconds=1)), deep=20)
    with pytest.raises(NotProved, match="not even the one second 2023-03-07 00:00:00"):
        prove(crowded, page_size=10)


def test_what_is_refused_for_good_is_passed_on_at_once(connect: Connect) -> None:
    forbidden = vendor(forbidden=True)
    with pytest.raises(Unauthorized):
        prove(connect(forbidden))
    assert len(forbidden.requests) == 1


# ---- ceilings


@pytest.mark.parametrize("beyond", ["400", "500", "empty"])
@pytest.mark.parametrize(
    ("ceiling", "order"),
    [
        *product((100, 300, 437, 700, 1000), ("newest", "oldest", "shuffled")),
        (10_000, "newest"),
    ],
)
def test_a_ceiling_of_any_number_is_found_out(ceiling: int, beyond: str, order: str) -> None:
    calls = spread(ceiling * 5 // 4)
    model = Model(calls, order=order, ceiling=ceiling, beyond=beyond)
    proof = prove(model, page_size=max(ceiling // 8, 25))
    proof.adds_up()
    assert proof.ids == set(calls)


@pytest.mark.parametrize("calls", [100, 300, 437, 700, 1000, 9_999])
def test_a_total_is_no_ceiling_for_being_round(calls: int) -> None:
    proof = prove(Model(spread(calls)), page_size=500)
    proof.adds_up()
    assert {page.window for page in proof.pages if page.pass_ != PROBE} == {WINDOW}


@pytest.mark.parametrize("hours", [24, 6])
@pytest.mark.parametrize("ceiling", [300, 437])
def test_a_ceiling_is_found_out_where_long_ranges_are_refused_too(ceiling: int, hours: int) -> None:
    calls = spread(2500, timedelta(hours=10))
    model = Model(calls, ceiling=ceiling, longest=timedelta(hours=hours))
    proof = prove(model, page_size=100)
    proof.adds_up()
    assert proof.ids == set(calls)


@pytest.mark.parametrize("order", ["newest", "oldest", "shuffled"])
def test_a_ceiling_is_found_out_where_most_calls_began_at_once(order: str) -> None:
    noon = WINDOW.start + timedelta(hours=12)
    calls = {f"at-once-{number}": noon for number in range(80)} | spread(120, seed=5)
    proof = prove(Model(calls, order=order, ceiling=150), page_size=50)
    assert proof.ids == set(calls)


def test_a_round_ceiling_is_found_out_behind_a_larger_day_that_was_honest() -> None:
    calls = spread(700)
    proof = prove(Model(calls, ceiling=500), page_size=100, honest=900)
    proof.adds_up()
    assert proof.ids == set(calls)


# ---- a vendor that looks at the dates of a range alone


def dates(before: int, on_it: int, after: int, **options: Any) -> Model:
    """So many calls on the day before, on the day itself, and on the day after."""
    calls = {
        f"{number}-{id_}": began + timedelta(days=number)
        for number, count in ((-1, before), (0, on_it), (1, after))
        for id_, began in spread(count).items()
    }
    return Model(calls, bounds="dates", **options)


@pytest.mark.parametrize("order", ["newest", "oldest", "shuffled"])
@pytest.mark.parametrize("neighbours", list(product((0, 90), (0, 80))))
def test_a_filter_by_the_date_is_no_ceiling(order: str, neighbours: tuple[int, int]) -> None:
    before, after = neighbours
    model = dates(before, 437, after, order=order)
    proof = prove(model, page_size=100)
    proof.adds_up()
    assert proof.ids == model.truth()


@pytest.mark.parametrize("order", ["newest", "oldest", "shuffled"])
@pytest.mark.parametrize("ceiling", [437, 500, 1000])
def test_behind_a_filter_by_the_date_a_ceiling_is_a_failure(order: str, ceiling: int) -> None:
    each = ceiling * 9 // 10
    with pytest.raises(NotProved, match="its total stops at"):
        prove(dates(each, each, each, order=order, ceiling=ceiling), page_size=100)


def test_a_round_total_of_one_date_is_not_believed() -> None:
    with pytest.raises(NotProved, match="nothing tells whether totals stop there"):
        prove(dates(0, 1500, 0, ceiling=1000), page_size=100)


# ---- parts


class MovedOverTheCut(Model):
    """As the reading of a part begins at T, a call moves to T-1: from T, or from T-3."""

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


class ByTheMinute(Model):
    def _found(self, start: datetime, end: datetime) -> list[str]:
        return super()._found(start.replace(second=0), end.replace(second=0))


def test_parts_end_at_whole_minutes_for_a_vendor_that_compares_no_seconds() -> None:
    model = ByTheMinute(spread(300, timedelta(minutes=35)), ceiling=100)
    assert prove(model, page_size=25).ids == model.truth()


def test_calls_between_the_bounds_of_two_parts_that_neither_listed_are_missed() -> None:
    with pytest.raises(NotProved):
        prove(ByTheMinute(spread(300, timedelta(minutes=5)), ceiling=100), page_size=25)


class ByDates(Model):
    """Compares dates alone, each in its own way."""

    def __init__(
        self, calls: Mapping[str, datetime], holds: Callable[..., bool], **how: Any
    ) -> None:
        super().__init__(calls, **how)
        self._holds = holds

    def _found(self, start: datetime, end: datetime) -> list[str]:
        return [id_ for id_, began in self.calls.items() if self._holds(start, began, end)]


DATES: Final[list[tuple[str, Callable[..., bool]]]] = [
    ("both", lambda start, began, end: start.date() <= began.date() <= end.date()),
    ("without the last", lambda start, began, end: start.date() <= began.date() < end.date()),
    ("without the first", lambda start, began, end: start.date() < began.date() <= end.date()),
    ("by midnights", lambda start, began, end: midnight(start) <= began <= midnight(end)),
]


@pytest.mark.parametrize("holds", [one for _, one in DATES], ids=[name for name, _ in DATES])
def test_whatever_a_filter_by_the_date_takes_for_a_day_it_is_proved(
    holds: Callable[..., bool],
) -> None:
    calls = spread(300) | {
        f"{side}-{n}": at + step * (37 * n + 30) * SECOND
        for n in range(200)
        for side, at, step in (("before", WINDOW.start, -1), ("after", WINDOW.end, 1))
    }
    model = ByDates(calls, holds)
    assert prove(model, page_size=100).ids == model.truth()


def cut_off(filter_: str, order: str, ceiling: int) -> ByDates:
    """Three days of 300 calls, and a ceiling lower than what such a filter takes for the day."""
    starts = [WINDOW.start + timedelta(days=n) for n in (-1, 0, 1)]
    times = [at + n * timedelta(minutes=4) for at in starts for n in range(300)]
    calls = enumerate(times if order == "oldest" else times[::-1])
    return ByDates({f"call-{n}": at for n, at in calls}, dict(DATES)[filter_], ceiling=ceiling)


#: Filter, what is listed first, ceiling: of all of these, those behind which the day can be seen.
CUT_OFF: Final = list(product(dict(DATES), ("oldest", "newest"), (437, 600)))
SEEN: Final = [
    ("without the last", "oldest", 600),
    ("without the last", "newest", 437),
    ("without the last", "newest", 600),
    ("without the first", "oldest", 437),
    ("without the first", "oldest", 600),
    ("without the first", "newest", 600),
    ("by midnights", "newest", 437),
    ("by midnights", "newest", 600),
]


@pytest.mark.parametrize(("filter_", "order", "ceiling"), SEEN)
def test_and_a_day_that_shows_behind_a_ceiling_is_proved(
    filter_: str, order: str, ceiling: int
) -> None:
    model = cut_off(filter_, order, ceiling)
    assert prove(model, page_size=100).ids == model.truth()


@pytest.mark.parametrize(
    ("filter_", "order", "ceiling"), [case for case in CUT_OFF if case not in SEEN]
)
def test_and_a_ceiling_that_cuts_the_day_off_is_not_taken_for_its_total(
    filter_: str, order: str, ceiling: int
) -> None:
    with pytest.raises(NotProved, match=f"its total stops at {ceiling}"):
        prove(cut_off(filter_, order, ceiling), page_size=100)


def midnight(at: datetime) -> datetime:
    return datetime.combine(at.date(), time())


class ByTheRoot(Model):
    """Lists legs, which are named after their root, where that began."""

    def _found(self, start: datetime, end: datetime) -> list[str]:
        roots = {id_ for id_ in super()._found(start, end) if "#" not in id_}
        return [id_ for id_ in self.calls if id_.partition("#")[0] in roots]


def test_a_leg_that_is_listed_by_its_root_after_midnight_fails_no_day() -> None:
    last = WINDOW.end - 20 * SECOND
    calls = spread(300) | {"late": last, "late#1": last + timedelta(minutes=5)}
    model = ByTheRoot(calls)
    assert prove(model).ids == model.truth()


@pytest.mark.parametrize("hours", [-7, 7])
def test_a_vendor_that_compares_times_in_another_zone_than_it_writes_them_proves_nothing(
    hours: int,
) -> None:
    class Elsewhere(Model):
        def _found(self, start: datetime, end: datetime) -> list[str]:
            ahead = timedelta(hours=hours)
            return super()._found(start + ahead, end + ahead)

    start = WINDOW.start - timedelta(days=1)
    calls = {f"call-{n}": start + timedelta(minutes=17 * n) for n in range(254)}
    with pytest.raises(NotProved, match=r"in which zone|another part than the one"):
        prove(Elsewhere(calls), page_size=25)


class Filed(Model):
    """Finds a call by another moment than the one that it writes."""

    def __init__(
        self, calls: Mapping[str, datetime], by: Callable[[str, datetime], datetime]
    ) -> None:
        super().__init__(calls)
        self._by = by

    def _found(self, start: datetime, end: datetime) -> list[str]:
        return [id_ for id_, began in self.calls.items() if start <= self._by(id_, began) <= end]


def in_office_hours(days: int, each: int) -> dict[str, datetime]:
    """Calls of some days, none before eight or after five: nothing is near a midnight."""
    first = WINDOW.start - timedelta(days=1)
    step = timedelta(hours=9) / each
    return {
        f"call-{day}-{n}": first + timedelta(days=day, hours=8) + n * step
        for day in range(days)
        for n in range(each)
    }


@pytest.mark.parametrize("each", [3, 121])
def test_calls_that_the_next_day_would_be_short_of_fail_the_day_they_are_listed_for(
    each: int,
) -> None:
    """The bounds are taken for another zone's: tomorrow's early calls are listed today, and nobody
    lists them tomorrow. None of today's is missed."""
    early = {f"early-{n}": WINDOW.end + timedelta(hours=1 + n / 10) for n in range(40)}
    calls = in_office_hours(3, each) | early
    model = Filed(calls, lambda id_, began: began - timedelta(hours=7))
    with pytest.raises(NotProved, match=r"they are not listed .* in which zone"):
        prove(model, page_size=25)


@pytest.mark.parametrize("each", [3, 121])
def test_calls_that_are_found_by_their_end_fail_the_day_after_their_own(each: int) -> None:
    over = {f"over-{n}": WINDOW.start - timedelta(minutes=2 + n) for n in range(4)}
    hour = timedelta(hours=1)
    model = Filed(
        in_office_hours(3, each) | over,
        lambda id_, began: began + hour if id_ in over else began,
    )
    with pytest.raises(NotProved, match=r"4 calls came that began from 2023-03-06 23:55:00 to"):
        prove(model, page_size=500)


def test_a_single_call_with_a_wrong_time_fails_no_day() -> None:
    filed = WINDOW.start + timedelta(hours=10)
    calls = in_office_hours(3, 121) | {"wrong": WINDOW.start - timedelta(days=400)}
    model = Filed(calls, lambda id_, began: filed if id_ == "wrong" else began)
    proof = prove(model, page_size=50)
    assert proof.ids == model.truth()
    assert proof.receipt.outside_window == 1


class WholeMinutes(Model):
    """Compares minutes, both ends of a range included."""

    def _found(self, start: datetime, end: datetime) -> list[str]:
        return super()._found(start.replace(second=0), end.replace(second=59))


@pytest.mark.parametrize("each", [9, 41, 300])
@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_a_vendor_that_compares_minutes_and_a_busy_next_midnight_fail_no_day(
    each: int, order: str
) -> None:
    burst = {f"burst-{n}": WINDOW.end + timedelta(seconds=n % 59) for n in range(100)}
    morning = {f"morning-{n}": WINDOW.end + timedelta(minutes=3 * n + 1) for n in range(300)}
    calls = {f"call-{n}": WINDOW.start + n * timedelta(days=1) / each for n in range(each)}
    model = WholeMinutes(calls | burst | morning, order=order)
    assert prove(model, page_size=500).ids == model.truth()


CROWDED: Final = {
    f"spread-{n}": WINDOW.start + timedelta(seconds=8 * 3600 + n * 16) for n in range(2000)
} | {f"crowd-{n}": WINDOW.start + timedelta(hours=17, seconds=n // 10) for n in range(1100)}
NEXT_MIDNIGHT: Final = spread(300) | {
    f"next-{n}": WINDOW.end + timedelta(seconds=n % 59) for n in range(1050)
}


@pytest.mark.parametrize("calls", [CROWDED, NEXT_MIDNIGHT], ids=["crowded", "next midnight"])
@pytest.mark.parametrize("vendor", ["dates", "minutes"])
def test_a_ceiling_in_a_crowd_is_not_taken_for_a_total(
    vendor: str, calls: dict[str, datetime]
) -> None:
    """All that is received began within two minutes: no cut that is blurred by one tells much."""
    model = (
        Model(calls, bounds="dates", ceiling=1000)
        if vendor == "dates"
        else WholeMinutes(calls, ceiling=1000)
    )
    with pytest.raises(NotProved):
        prove(model, page_size=500)


@pytest.mark.parametrize("count", [100, 2900])
def test_a_vendor_that_cuts_the_seconds_off_what_is_asked_is_proved(count: int) -> None:
    hours = timedelta(hours=9)
    calls = {
        f"call-{n}": WINDOW.start + timedelta(hours=8) + n * hours / count for n in range(count)
    }
    model = ByTheMinute(calls)
    assert prove(model, page_size=500).ids == model.truth()


def test_legs_that_are_listed_by_their_root_fail_no_quiet_night() -> None:
    calls = in_office_hours(3, 121)
    for day in range(3):
        last = WINDOW.start + timedelta(days=day) - timedelta(seconds=20)
        calls |= {f"root-{day}": last, f"root-{day}#1": last + timedelta(seconds=50)}
        calls |= {f"root-{day}#2": last + timedelta(seconds=90)}
    model = ByTheRoot(calls)
    listed = {id_ for id_ in model.truth() if "#" not in id_}
    assert prove(model, page_size=500).ids >= listed


def test_a_vendor_that_refuses_long_ranges_is_not_asked_for_them_to_see_its_ways() -> None:
    calls = in_office_hours(3, 121) | {
        f"wrong-{n}": WINDOW.start - timedelta(days=400 + n) for n in range(2)
    }
    filed = WINDOW.start + timedelta(hours=10)
    model = Filed(calls, lambda id_, began: filed if id_.startswith("wrong") else began)
    model._longest = timedelta(hours=12)
    assert prove(model, page_size=500).ids == model.truth()


@pytest.mark.parametrize("ceiling", [120, 250])
@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_a_ceiling_of_one_that_compares_minutes_is_found(ceiling: int, order: str) -> None:
    late = {f"late-{n}": WINDOW.end + timedelta(seconds=n) for n in range(20, 30)}
    model = WholeMinutes(spread(300) | late, ceiling=ceiling, order=order)
    proof = prove(model, page_size=50)
    assert proof.ids == model.truth()
    assert proof.receipt.parts > 1


def test_changes_in_parts_already_proved_are_found_even_if_they_balance() -> None:
    minute = timedelta(minutes=1)
    calls = {f"call-{n}": WINDOW.start + timedelta(hours=8) + n * minute for n in range(120)}

    def balance(model: Model) -> None:
        """Once half of the day is proved, one call arrives early in it; soon after, one goes."""
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


@pytest.mark.parametrize(
    "options",
    [{"longest": timedelta(hours=6)}, {"deep": 200}, {"largest": 100}],
)
def test_what_one_day_brought_to_light_is_foreseen_on_the_next(options: dict[str, Any]) -> None:
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


def test_a_ceiling_that_one_day_brought_to_light_is_not_paged_into_on_the_next() -> None:
    calls = spread(2500)
    with lister_of(Model(calls, ceiling=437), page_size=100) as lister:
        lister.prove(WINDOW, lambda page: None)
        pages: list[Page] = []
        proof = Proof(lister.prove(WINDOW, pages.append), pages)
    assert proof.ids == set(calls)
    assert {page.offset for page in pages if page.window == WINDOW} == {0}


def test_a_vendor_that_refused_everything_for_a_while_leaves_no_mark() -> None:
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
def test_what_is_proved_with_four_requests_under_way_is_what_is_proved_with_one(
    connect: Connect, chaos: str
) -> None:
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
