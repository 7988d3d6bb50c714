"""Totals that agree with the rows and are still too small: ceilings, rows after the last page."""

from collections.abc import Callable, Mapping
from datetime import datetime, time, timedelta
from itertools import product
from random import Random
from typing import Any, Final

import pytest

from cdr_pipeline.api.ceilings import ByTime
from cdr_pipeline.api.client import Query
from cdr_pipeline.api.reading import PROBE, SECOND, Reading
from cdr_pipeline.errors import NotProved, Unauthorized, Unavailable, Unreachable
from cdr_pipeline.page import see
from cdr_pipeline.window import Window
from cdr_pipeline_tests.api.conftest import (
    WINDOW,
    ByTheMinute,
    ByTheRoot,
    Model,
    WholeMinutes,
    prove,
    spread,
)

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
def test_a_round_total_alone_is_no_ceiling(calls: int) -> None:
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


@pytest.mark.parametrize("bounds", ["inclusive", "half-open"])
@pytest.mark.parametrize(("order", "hour"), [("newest", 1), ("oldest", 20)])
def test_a_ceiling_under_which_all_calls_began_at_once_proves_nothing(
    order: str, hour: int, bounds: str
) -> None:
    at, other = datetime(2023, 3, 7, 10), datetime(2023, 3, 7, hour)
    calls = dict.fromkeys(map(str, range(150)), at) | {f"other-{n}": other for n in range(20)}
    with pytest.raises(NotProved):
        prove(Model(calls, order=order, ceiling=100, bounds=bounds), page_size=50)


def test_a_round_ceiling_is_found_out_behind_a_larger_day_that_was_honest() -> None:
    calls = spread(700)
    proof = prove(Model(calls, ceiling=500), page_size=100, honest=900)
    proof.adds_up()
    assert proof.ids == set(calls)


@pytest.mark.parametrize("bounds", ["inclusive", "exclusive", "half-open"])
@pytest.mark.parametrize("seconds", [10, 60, 100_000])
def test_the_halves_of_a_whole_reading_are_allowed_whatever_the_bounds_and_no_call_more(
    bounds: str, seconds: int
) -> None:
    model = Model(spread(200, timedelta(seconds=min(seconds, 86_400))), bounds=bounds)
    reading = Reading(WINDOW, total=200)
    reading.records.add(range(200), [f"{began}" for began in model.calls.values()])
    calls = ByTime(reading)
    # A whole day is cut at a full minute.
    assert calls.cuts(SECOND)[0].second == 0 or seconds < 86_400
    for cut in calls.cuts(SECOND):
        for half in (Window(WINDOW.start, cut), Window(cut, WINDOW.end)):
            query = Query(start_date=half.start - SECOND, end_date=half.end)
            total = model.get(query, limit=1, offset=0, read=lambda body: see(body).total).value
            assert calls.allows(half, total, SECOND)
            assert total <= calls.most(half, SECOND)
            assert not calls.allows(half, calls.most(half, SECOND) + 1, SECOND)


# ---- totals that count less than is listed


class LowTotal(Model):
    """Its total is 3 less than the rows it lists, as if it did not count legs."""

    def body(self, ids: list[str], total: int) -> bytes:
        return super().body(ids, max(0, total - 3))


@pytest.mark.parametrize(("page_size", "cap"), [(10, 10**9), (500, 10)])
def test_after_a_full_last_page_one_more_page_is_asked_for(page_size: int, cap: int) -> None:
    """33 legs are listed under a total of 30: the first 30 were taken for the whole day."""
    model = LowTotal(spread(33), cap=cap)
    with pytest.raises(NotProved):
        prove(model, page_size=page_size, honest=100)
    offsets = [offset for _, _, offset in model.asked]
    assert offsets[:4] == [0, 10, 20, 30]


@pytest.mark.parametrize("beyond", ["400", "500", "empty"])
def test_a_full_last_page_with_nothing_after_it_is_proved(beyond: str) -> None:
    model = Model(spread(30), deep=30, beyond=beyond)
    assert len(prove(model, page_size=10, honest=100).ids) == 30
    assert [offset for _, _, offset in model.asked] == [0, 10, 20, 30]


class FailsBehind(Model):
    """Fails at offsets after its last row."""

    def __init__(self, error: Exception) -> None:
        super().__init__(spread(30))
        self._error = error

    def get(self, query: Query, *, offset: int, **options: Any) -> Any:
        if offset >= len(self.calls):
            raise self._error
        return super().get(query, offset=offset, **options)


def test_a_vendor_that_fails_after_the_last_page_is_believed() -> None:
    assert len(prove(FailsBehind(Unavailable("500")), page_size=10, honest=100).ids) == 30


@pytest.mark.parametrize("error", [Unauthorized("401"), Unreachable("gone")])
def test_a_vendor_that_cannot_be_used_after_the_last_page_is_an_error(error: Exception) -> None:
    with pytest.raises(type(error)):
        prove(FailsBehind(error), page_size=10, honest=100)


@pytest.mark.parametrize(("order", "proved"), [("newest", 30), ("oldest", 31)])
def test_a_call_that_arrives_before_the_page_after_the_last_hides_none(
    order: str, proved: int
) -> None:
    """Newest first, a call of the last page has moved behind that page."""

    def arrive(model: Model) -> None:
        if model.requests == 3:
            model.calls["last"] = WINDOW.end - SECOND

    model = Model(spread(30), order=order, between=arrive)
    assert len(prove(model, page_size=10, honest=100).ids) == proved


def test_a_full_page_of_one_second_is_doubted_within_the_bound() -> None:
    """Such a page costs the most requests: wide and close cuts on both sides of the second, and
    one request after the last row.
    """
    model = Model({f"call-{n}": WINDOW.start + timedelta(hours=10) for n in range(20)})
    assert prove(model, page_size=20).ids == model.truth()


# ---- a vendor that compares dates only


def dates(before: int, on_it: int, after: int, **options: Any) -> Model:
    """A vendor that compares dates; calls on the day before, on the day, and on the day after."""
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
def test_a_filter_by_the_date_with_a_ceiling_is_a_failure(order: str, ceiling: int) -> None:
    each = ceiling * 9 // 10
    with pytest.raises(NotProved, match="its total stops at"):
        prove(dates(each, each, each, order=order, ceiling=ceiling), page_size=100)


def test_a_round_total_under_a_filter_by_the_date_is_not_believed() -> None:
    with pytest.raises(NotProved, match="nothing tells whether totals stop there"):
        prove(dates(0, 1500, 0, ceiling=1000), page_size=100)


class ByDates(Model):
    """Compares dates only, by the function `holds(start, began, end)`."""

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
def test_any_filter_by_the_date_is_proved(
    holds: Callable[..., bool],
) -> None:
    calls = spread(300) | {
        f"{side}-{n}": at + step * (37 * n + 30) * SECOND
        for n in range(200)
        for side, at, step in (("before", WINDOW.start, -1), ("after", WINDOW.end, 1))
    }
    model = ByDates(calls, holds)
    assert prove(model, page_size=100).ids == model.truth()


DAY_LONG: Final = timedelta(days=1)


@pytest.mark.parametrize("neighbours", [0, 80])
@pytest.mark.parametrize("count", [40, 300])
@pytest.mark.parametrize("first", [True, False], ids=["with the first", "without the first"])
def test_a_filter_by_the_date_that_lists_nothing_for_half_a_day_is_proved(
    first: bool, count: int, neighbours: int
) -> None:
    """If the last date is excluded, half a day as a range lists nothing."""
    model = ByDates(
        dates(neighbours, count, neighbours).calls,
        lambda start, began, end: (
            began.date() < end.date() and began.date() - start.date() >= (not first) * DAY_LONG
        ),
    )
    assert prove(model, page_size=100).ids == model.truth()


def test_a_half_that_lists_nothing_while_calls_vanish_proves_nothing() -> None:
    model = Model(spread(300))

    def vanish(model: Model) -> None:
        if model.asked[-1][1] == 1:  # a request for the total alone
            model.calls.clear()

    model._between = vanish
    with pytest.raises(NotProved, match="300 calls came that were no longer listed in the end"):
        prove(model, page_size=100)


@pytest.mark.parametrize("hours", [24, 12, 1])
@pytest.mark.parametrize("count", [40, 300])
def test_a_filter_by_the_date_that_refuses_long_ranges_is_proved(count: int, hours: int) -> None:
    model = dates(90, count, 80, longest=timedelta(hours=hours))
    assert prove(model, page_size=100).ids == model.truth()


def cut_off(filter_: str, order: str, ceiling: int) -> ByDates:
    """A vendor with 300 calls on each of three days, and a ceiling of no more than it lists."""
    starts = [WINDOW.start + timedelta(days=n) for n in (-1, 0, 1)]
    times = [at + n * timedelta(minutes=4) for at in starts for n in range(300)]
    calls = enumerate(times if order == "oldest" else times[::-1])
    return ByDates({f"call-{n}": at for n, at in calls}, dict(DATES)[filter_], ceiling=ceiling)


#: All cases of (filter, order, ceiling).
CUT_OFF: Final = list(product(dict(DATES), ("oldest", "newest"), (437, 600)))

#: Those of `CUT_OFF` in which all calls of the day are listed below the ceiling.
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
def test_a_day_whose_calls_are_all_listed_below_the_ceiling_is_proved(
    filter_: str, order: str, ceiling: int
) -> None:
    model = cut_off(filter_, order, ceiling)
    assert prove(model, page_size=100).ids == model.truth()


@pytest.mark.parametrize(
    ("filter_", "order", "ceiling"), [case for case in CUT_OFF if case not in SEEN]
)
def test_a_ceiling_that_cuts_off_calls_of_the_day_is_not_taken_for_its_total(
    filter_: str, order: str, ceiling: int
) -> None:
    with pytest.raises(NotProved, match=f"its total stops at {ceiling}"):
        prove(cut_off(filter_, order, ceiling), page_size=100)


def midnight(at: datetime) -> datetime:
    return datetime.combine(at.date(), time())


# ---- a vendor that lists legs where their root began


def with_legs(roots: int, seed: int, within: int) -> dict[str, datetime]:
    """Calls in office hours; each third has a leg that begins less than `within` seconds later."""
    random = Random(seed)
    calls = {
        f"call-{n}": WINDOW.start + timedelta(hours=8, seconds=random.randrange(9 * 3600))
        for n in range(roots)
    }
    for id_, began in list(calls.items())[::3]:
        calls[f"{id_}#1"] = began + timedelta(seconds=random.randrange(5, within))
    return calls


@pytest.mark.parametrize("within", [60, 600])
@pytest.mark.parametrize(("roots", "seed"), [(300, 1), (1_000, 2), (6_000, 3), (15_000, 4)])
def test_legs_over_a_cut_that_are_listed_by_their_root_are_no_ceiling(
    roots: int, seed: int, within: int
) -> None:
    model = ByTheRoot(with_legs(roots, seed, within))
    assert prove(model, page_size=500).ids == model.truth()


@pytest.mark.parametrize("hidden", [1, 5, 100])
def test_legs_that_are_listed_by_their_root_hide_no_ceiling(hidden: int) -> None:
    """No leg lies over the cut: each half lists at least the calls that came from it."""
    calls = spread(1_000)
    model = ByTheRoot(calls, ceiling=len(calls) - hidden)
    assert prove(model, page_size=50).ids == model.truth()


@pytest.mark.parametrize("ceiling", [2_500, 4_096])
@pytest.mark.parametrize("seed", range(3))
def test_a_leg_over_the_cut_is_not_taken_for_a_filter_by_the_date(seed: int, ceiling: int) -> None:
    """A leg that came first in its half was taken for such a filter: half of a day was proved,
    under a ceiling.
    """
    model = ByTheRoot(with_legs(6_000, seed, within=600), ceiling=ceiling)
    with pytest.raises(NotProved, match=f"stops at {ceiling:,}"):
        prove(model, page_size=500)


# ---- a vendor that compares minutes


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
    """All received calls began within two minutes, so a cut that is a minute wide shows little."""
    model = (
        Model(calls, bounds="dates", ceiling=1000)
        if vendor == "dates"
        else WholeMinutes(calls, ceiling=1000)
    )
    with pytest.raises(NotProved):
        prove(model, page_size=500)


def test_at_the_bound_the_message_names_calls_that_another_part_lists() -> None:
    """For a vendor that ignores seconds, the message named only the bound and the ceiling."""
    calls = {f"call-{n}": WINDOW.start + timedelta(hours=8, seconds=n // 10) for n in range(3000)}
    with pytest.raises(NotProved, match=r"the bound, .*listed by another part than the one they"):
        prove(ByTheMinute(calls, ceiling=700), page_size=50)


@pytest.mark.parametrize("count", [100, 2900])
def test_a_vendor_that_cuts_the_seconds_off_what_is_asked_is_proved(count: int) -> None:
    hours = timedelta(hours=9)
    calls = {
        f"call-{n}": WINDOW.start + timedelta(hours=8) + n * hours / count for n in range(count)
    }
    model = ByTheMinute(calls)
    assert prove(model, page_size=500).ids == model.truth()


@pytest.mark.parametrize("ceiling", [120, 250])
@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_a_ceiling_of_a_vendor_that_compares_minutes_is_found(ceiling: int, order: str) -> None:
    late = {f"late-{n}": WINDOW.end + timedelta(seconds=n) for n in range(20, 30)}
    model = WholeMinutes(spread(300) | late, ceiling=ceiling, order=order)
    proof = prove(model, page_size=50)
    assert proof.ids == model.truth()
    assert proof.receipt.parts > 1
