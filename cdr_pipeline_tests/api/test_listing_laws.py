"""Laws of a proof: whatever a vendor does between two responses, a proved day is true, and each
proof ends.

The vendors are models in memory. At most one change happens between two responses, so within one
reading of one window no change can hide another: each changes the total. Over several readings of
parts, or while halves are asked for, a deleted call can hide a new one; there the laws demand less.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import pytest
from hypothesis import assume, event, example, given, settings
from hypothesis import strategies as st

from cdr_pipeline.api.reading import COST_BOUND, SECOND
from cdr_pipeline.errors import NotProved
from cdr_pipeline_tests.api.conftest import WINDOW, Model, Proof, prove, spread

#: What may happen between two responses: a kind, and a random number that chooses the call.
Change = tuple[str, int]

#: Requests beyond COST_BOUND times the pages: a day without a page also costs requests, and so do
#: two rows that show whether the vendor filters by the second.
A_FEW: Final = COST_BOUND * 3 + 2

#: A limit of the vendor that we do not know is searched by halving, from a day down to a second.
HALVINGS: Final = math.ceil(math.log2(timedelta(days=1) / SECOND))

STABLE: Final = ("newest", "oldest", "shuffled")
BOUNDS: Final = ("inclusive", "exclusive", "half-open")

lots = st.integers(0, 10**6)


def changes(*kinds: str) -> st.SearchStrategy[list[Change]]:
    return st.lists(st.tuples(st.sampled_from(kinds), lots), max_size=40)


@dataclass(frozen=True)
class Day:
    """`count` calls in the first `hours` of the day, and some at `edges` (seconds of the day)."""

    count: int
    hours: float
    seed: int
    edges: tuple[int, ...]

    def calls(self) -> dict[str, datetime]:
        at_edges = {
            f"edge-{number}": WINDOW.start + second * SECOND
            for number, second in enumerate(self.edges)
        }
        return spread(self.count, timedelta(hours=self.hours), self.seed) | at_edges


def days(most: int = 300) -> st.SearchStrategy[Day]:
    edges = st.lists(st.sampled_from([-1, 0, 86399, 86400]), max_size=5).map(tuple)
    return st.builds(Day, st.integers(0, most), st.sampled_from([24, 10, 1, 0.1]), lots, edges)


@st.composite
def paging(draw: st.DrawFn) -> tuple[int, int]:
    """Our page size and the vendor's cap, so that a day has at most some sixty pages."""
    page_size = draw(st.sampled_from([5, 10, 50, 500]))
    return page_size, draw(st.sampled_from([5, 7, 40, 10**9]))


def happening(changes: list[Change]) -> Callable[[Model], None]:
    """A function for `between` that makes one change each time, until none is left."""
    waiting: Iterator[Change] = iter(changes)

    def between(model: Model) -> None:
        kind, lot = next(waiting, ("nothing", 0))
        ids = sorted(model.calls)
        if kind == "insert":
            near = model.calls[ids[lot % len(ids)]] if ids else WINDOW.start
            model.calls[f"new-{model.requests}"] = near
        elif kind == "delete" and ids:
            del model.calls[ids[lot % len(ids)]]

    return between


def outcome(model: Model, page_size: int) -> Proof | None:
    """The proof of the day, whose figures add up; None where there is none."""
    said = ""
    try:
        proof = prove(model, page_size)
    except NotProved as failure:
        said = str(failure)
    if said:
        event("not proved")
        assert f"{model.requests} requests" in said
        return None
    event("proved in parts" if proof.receipt.passes > 1 else "proved at once")
    proof.adds_up()
    assert proof.receipt.requests == model.requests
    return proof


@given(day=days(), paging=paging(), order=st.sampled_from(STABLE), bounds=st.sampled_from(BOUNDS))
@settings(max_examples=60)
def test_a_day_that_does_not_change_is_proved_with_twice_its_pages_and_a_few_requests(
    day: Day, paging: tuple[int, int], order: str, bounds: str
) -> None:
    page_size, cap = paging
    model = Model(day.calls(), cap=cap, order=order, bounds=bounds)
    proof = outcome(model, page_size)
    assert proof
    assert proof.ids == model.truth()
    pages = max(1, math.ceil(proof.receipt.reported_total / min(page_size, cap)))
    assert model.requests <= 2 * pages + 6  # a total may be doubted once


limits: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(dict),
    st.builds(dict, deep=st.sampled_from([10, 40, 150])),
    st.builds(dict, longest=st.sampled_from([timedelta(hours=24), timedelta(hours=6)])),
    st.builds(dict, ceiling=st.integers(100, 250)),
    st.builds(dict, ceiling=st.integers(100, 250), longest=st.sampled_from([timedelta(hours=6)])),
)


def seen_through(calls: dict[str, datetime], ceiling: int | None) -> bool:
    """Whether no range of 2 seconds holds more calls than the ceiling, so that parts show all."""
    times = sorted(calls.values())
    return ceiling is None or all(
        later - first > 2 * SECOND for first, later in zip(times, times[ceiling:], strict=False)
    )


@given(
    day=days(),
    paging=paging(),
    order=st.sampled_from([*STABLE, "unstable"]),
    bounds=st.sampled_from(BOUNDS),
    limits=limits,
    beyond=st.sampled_from(["400", "500", "empty"]),
)
@example(  # the one call above the ceiling was taken for a call in the second of the cut
    day=Day(100, 0.1, 2, (0,)),
    paging=(5, 10**9),
    order="oldest",
    bounds="exclusive",
    limits={"ceiling": 100},
    beyond="400",
)
@settings(max_examples=150)
def test_a_proof_is_true_if_the_vendors_calls_do_not_change(
    day: Day,
    paging: tuple[int, int],
    order: str,
    bounds: str,
    limits: dict[str, Any],
    beyond: str,
) -> None:
    page_size, cap = paging
    model = Model(day.calls(), cap=cap, order=order, bounds=bounds, beyond=beyond, **limits)
    assume(seen_through(model.calls, limits.get("ceiling")))
    proof = outcome(model, page_size)
    if proof:
        assert proof.ids == model.truth()
    assert model.requests <= bound(model, page_size, cap, limits)


def bound(model: Model, page_size: int, cap: int, limits: dict[str, Any]) -> int:
    """Requests that a proof may cost: COST_BOUND times those that this vendor needs at least."""
    rows: int = min(page_size, cap, limits.get("deep", page_size), limits.get("ceiling", page_size))
    price: int = math.ceil(model.total_most / rows)
    if "longest" in limits:
        price += 2 * math.ceil(timedelta(days=1) / limits["longest"])
    if limits:
        price += HALVINGS
    return COST_BOUND * price + A_FEW


@given(
    day=days(most=120),
    paging=paging(),
    order=st.sampled_from(STABLE),
    bounds=st.sampled_from(BOUNDS),
    changes=changes("insert", "delete", "edit", "nothing"),
)
@example(Day(10, 1, 0, ()), (50, 40), "newest", "inclusive", [("insert", 1), ("delete", 0)])
@settings(max_examples=200)
def test_a_proof_during_changes_is_the_last_truth(
    day: Day,
    paging: tuple[int, int],
    order: str,
    bounds: str,
    changes: list[Change],
) -> None:
    page_size, cap = paging
    model = Model(day.calls(), cap=cap, order=order, bounds=bounds, between=happening(changes))
    proof = outcome(model, page_size)
    if proof and proof.pages[-1].pass_ and proof.receipt.parts == 1:
        assert proof.ids == model.truth()
    elif proof:
        assert set.intersection(*model.held) <= proof.ids <= set.union(*model.held)
    # Changes between two requests may look like a ceiling: then the window is halved as for one.
    assert model.requests <= bound(model, page_size, cap, {"ceiling": page_size})


@pytest.mark.parametrize("kind", ["insert", "delete"])
@given(
    day=days(most=120),
    paging=paging(),
    order=st.sampled_from([*STABLE, "unstable"]),
    bounds=st.sampled_from(BOUNDS),
    limits=limits,
    lots=st.lists(st.tuples(st.booleans(), lots), max_size=40),
)
@settings(max_examples=100)
def test_a_proof_in_parts_was_true_at_one_moment_if_calls_only_arrive_or_only_vanish(
    kind: str,
    day: Day,
    paging: tuple[int, int],
    order: str,
    bounds: str,
    limits: dict[str, Any],
    lots: list[tuple[bool, int]],
) -> None:
    page_size, cap = paging
    between = happening([(kind if happens else "nothing", lot) for happens, lot in lots])
    model = Model(day.calls(), cap=cap, order=order, bounds=bounds, between=between, **limits)
    proof = outcome(model, page_size)
    assume(seen_through(model.calls, limits.get("ceiling")))
    if proof:
        assert proof.ids in model.held
    assert model.requests <= bound(model, page_size, cap, limits)


def test_a_swap_between_two_responses_is_not_seen_by_a_single_reading() -> None:
    def swap(model: Model) -> None:
        """After the first page, a call on it is deleted and a new call takes its place."""
        if model.requests == 1:
            newest = max(model.calls, key=model.calls.__getitem__)
            model.calls["new"] = model.calls.pop(newest)

    model = Model(spread(25), between=swap)
    proof = prove(model, page_size=10)
    assert proof.receipt.verified
    assert model.truth() - proof.ids == {"new"}
    assert len(proof.ids - model.truth()) == 1
