"""Working ahead: what comes next is made on another thread while this one looks at what came."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterable[T], most: int = 1) -> Iterator[T]:
    """The items; up to `most` of them are made before they are asked for.

    Polars, PyArrow and zstd leave the interpreter to others while they work, so a second core is
    of use. Whoever stops early waits until the item under way is made.
    """
    source = iter(items)
    thread = ThreadPoolExecutor(1, thread_name_prefix="cdr-ahead")
    try:
        coming = deque(thread.submit(_next, source) for _ in range(most))
        while item := coming.popleft().result():
            coming.append(thread.submit(_next, source))
            yield item[0]
    finally:
        thread.shutdown(cancel_futures=True)


def _next(source: Iterator[T]) -> tuple[T] | None:
    """The next item, in a tuple of its own; None after the last."""
    for item in source:
        return (item,)
    return None
