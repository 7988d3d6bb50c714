"""Calls that are listed for another range than the one they began in: harmless, or a failure if a
day would lack them.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import pytest

from cdr_pipeline.api.client import Query
from cdr_pipeline.api.reading import SECOND
from cdr_pipeline.errors import NotProved
from cdr_pipeline_tests.api.conftest import WINDOW, ByTheRoot, Model, WholeMinutes, prove, spread


class Nameless(Model):
    """Lists calls without an id."""

    def _page(self, query: Query, limit: int, offset: int) -> bytes:
        return re.sub(rb'"id":\s*"[^"]*",\s*', b"", super()._page(query, limit, offset))


class Filed(Model):
    """Filters by another time (`by`) than the `time_started` that it writes."""

    def __init__(
        self, calls: Mapping[str, datetime], by: Callable[[str, datetime], datetime]
    ) -> None:
        super().__init__(calls)
        self._by = by

    def _found(self, start: datetime, end: datetime) -> list[str]:
        return [id_ for id_, began in self.calls.items() if start <= self._by(id_, began) <= end]


def in_office_hours(days: int, each: int) -> dict[str, datetime]:
    """`each` calls on each of `days` days from the day before on, all from 08:00 to 17:00, so that
    none is near midnight.
    """
    first = WINDOW.start - timedelta(days=1)
    step = timedelta(hours=9) / each
    return {
        f"call-{day}-{n}": first + timedelta(days=day, hours=8) + n * step
        for day in range(days)
        for n in range(each)
    }


def test_a_leg_that_is_listed_by_its_root_after_midnight_fails_no_day() -> None:
    last = WINDOW.end - 20 * SECOND
    calls = spread(300) | {"late": last, "late#1": last + timedelta(minutes=5)}
    model = ByTheRoot(calls)
    assert prove(model).ids == model.truth()


def test_legs_that_are_listed_by_their_root_fail_no_quiet_night() -> None:
    calls = in_office_hours(3, 121)
    for day in range(3):
        last = WINDOW.start + timedelta(days=day) - timedelta(seconds=20)
        calls |= {f"root-{day}": last, f"root-{day}#1": last + timedelta(seconds=50)}
        calls |= {f"root-{day}#2": last + timedelta(seconds=90)}
    model = ByTheRoot(calls)
    listed = {id_ for id_ in model.truth() if "#" not in id_}
    assert prove(model, page_size=500).ids >= listed


@pytest.mark.parametrize("order", ["newest", "oldest", "shuffled"])
def test_a_filter_by_the_date_and_a_few_calls_after_midnight_fail_no_day(order: str) -> None:
    """The day is loaded at night, when the next day has just begun."""
    early = {f"early-{n}": WINDOW.end + timedelta(minutes=n) for n in (5, 20, 50)}
    model = Model(in_office_hours(2, 300) | early, bounds="dates", order=order)
    assert prove(model, page_size=100).ids == model.truth()


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


def test_a_single_call_with_a_wrong_time_fails_no_day() -> None:
    filed = WINDOW.start + timedelta(hours=10)
    calls = in_office_hours(3, 121) | {"wrong": WINDOW.start - timedelta(days=400)}
    model = Filed(calls, lambda id_, began: filed if id_ == "wrong" else began)
    proof = prove(model, page_size=50)
    assert proof.ids == model.truth()
    assert proof.receipt.outside_window == 1


def test_calls_without_an_id_are_recognised_where_the_vendor_filters_by_the_date() -> None:
    model = Nameless(in_office_hours(3, 20), bounds="dates")
    assert prove(model, page_size=100).receipt.unique_records == 60


@pytest.mark.parametrize("seconds", [20, 61, 600])
def test_a_clock_an_hour_off_is_noticed_whatever_the_number_of_calls(seconds: int) -> None:
    hour, start = timedelta(hours=1), WINDOW.start - timedelta(hours=3)
    calls = {
        f"call-{n}": start + n * timedelta(seconds=seconds) for n in range(30 * 3600 // seconds)
    }
    with pytest.raises(NotProved, match="began later: ask the vendor in which zone"):
        prove(Filed(calls, lambda id_, began: began - hour), page_size=500, honest=50_000)


@pytest.mark.parametrize("honest", [0, 900])
@pytest.mark.parametrize("hours", [-7, -1, 1, 2, 7])
def test_a_vendor_that_compares_times_in_another_zone_than_it_writes_them_proves_nothing(
    hours: int, honest: int
) -> None:
    """After a larger honest day (`honest`), totals alone cast no doubt."""

    class Elsewhere(Model):
        def _found(self, start: datetime, end: datetime) -> list[str]:
            ahead = timedelta(hours=hours)
            return super()._found(start + ahead, end + ahead)

    start = WINDOW.start - timedelta(days=1)
    calls = {f"call-{n}": start + timedelta(minutes=17 * n) for n in range(254)}
    with pytest.raises(NotProved, match=r"in which zone|another part than the one"):
        prove(Elsewhere(calls), page_size=25, honest=honest)


@pytest.mark.parametrize("each", [3, 121])
def test_calls_that_the_next_day_would_lack_fail_the_day_they_are_listed_for(
    each: int,
) -> None:
    """The vendor reads the bounds in another zone: the next day's early calls are listed for this
    day and not for the next. This day lacks no call."""
    early = {f"early-{n}": WINDOW.end + timedelta(hours=1 + n / 10) for n in range(40)}
    calls = in_office_hours(3, each) | early
    model = Filed(calls, lambda id_, began: began - timedelta(hours=7))
    with pytest.raises(NotProved, match=r"they are not listed .* in which zone"):
        prove(model, page_size=25)


@pytest.mark.parametrize(
    ("before", "lasting", "first"),
    [
        ([60 * (2 + n) for n in range(4)], 3600, "23:55:00"),
        *(([20 + 5 * n for n in range(4)], seconds, "23:59:25") for seconds in (45, 59)),
    ],
)
@pytest.mark.parametrize("each", [3, 121])
def test_calls_that_are_found_by_their_end_fail_the_day_after_their_own(
    each: int, before: list[int], lasting: int, first: str
) -> None:
    over = {f"over-{n}": WINDOW.start - seconds * SECOND for n, seconds in enumerate(before)}
    model = Filed(
        in_office_hours(3, each) | over,
        lambda id_, began: began + lasting * SECOND if id_ in over else began,
    )
    for honest in (0, 900):
        with pytest.raises(NotProved, match=f"4 calls came that began from 2023-03-06 {first} to"):
            prove(model, page_size=500, honest=honest)


def test_a_vendor_that_refuses_long_ranges_is_not_probed_with_them() -> None:
    calls = in_office_hours(3, 121) | {
        f"wrong-{n}": WINDOW.start - timedelta(days=400 + n) for n in range(2)
    }
    filed = WINDOW.start + timedelta(hours=10)
    model = Filed(calls, lambda id_, began: filed if id_.startswith("wrong") else began)
    model._longest = timedelta(hours=12)
    assert prove(model, page_size=500).ids == model.truth()
