"""Working ahead: what comes next is made on another thread while this one looks at what came."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterable[T]) -> Iterator[T]:
    """The items, each but the first made while the caller has the one before: one is in waiting.

    Polars, PyArrow and zstd leave the interpreter to others while they work, so a second core is
    of use. Whoever stops early waits until the item under way is made.
    """
    source = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="cdr-ahead") as thread:
        coming = thread.submit(_next, source)
        while item := coming.result():
            coming = thread.submit(_next, source)
            yield item[0]


def _next(source: Iterator[T]) -> tuple[T] | None:
    """The next item, in a tuple of its own; None after the last."""
    for item in source:
        return (item,)
    return None
