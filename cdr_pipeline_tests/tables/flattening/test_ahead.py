"""`ahead` changes when items are made, and nothing else."""

from collections.abc import Iterator
from threading import Event, get_ident

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdr_pipeline.tables.flattening.ahead import ahead


@given(st.lists(st.none() | st.integers() | st.just(())), st.integers(1, 4))
def test_items_come_unchanged_and_in_order(items: list[object], most: int) -> None:
    assert list(ahead(items, most)) == items


def test_no_more_items_are_made_than_may_wait() -> None:
    made: list[int] = []
    coming = ahead((made.append(at) or at for at in range(9)), 3)  # type: ignore[func-returns-value]
    assert next(coming) == 0
    coming.close()  # type: ignore[attr-defined]
    assert made == [0, 1, 2, 3][: len(made)]  # the first item, and at most three that wait


def test_the_next_item_is_made_in_another_thread_meanwhile() -> None:
    made = Event()

    def items() -> Iterator[int]:
        yield get_ident()
        made.set()
        yield get_ident()

    coming = ahead(items())
    first = next(coming)
    assert made.wait(timeout=30)  # before anybody asked for the second item
    assert {first, next(coming)}.isdisjoint({get_ident()})


def test_an_error_comes_in_the_order_of_the_items() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("of the second")

    coming = ahead(items())
    assert next(coming) == 1
    with pytest.raises(ValueError, match="of the second"):
        next(coming)


def test_stopping_early_leaves_nothing_running() -> None:
    closed = Event()

    def items() -> Iterator[int]:
        try:
            yield from range(10)
        finally:
            closed.set()

    source = items()
    coming = ahead(source)
    next(coming)
    coming.close()  # type: ignore[attr-defined]
    source.close()  # type: ignore[attr-defined]
    assert closed.is_set()
