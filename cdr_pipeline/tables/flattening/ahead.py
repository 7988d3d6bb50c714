"""Makes the next items of an iterator on another thread, while this thread uses the current one."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterable[T], most: int = 1) -> Iterator[T]:
    """The items; up to `most` of them are made before they are asked for.

    Polars, PyArrow and zstd release the GIL while they work, so a second core helps. A caller that
    stops early waits until the item under way is made.
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
    """The next item, in a tuple; None after the last item."""
    for item in source:
        return (item,)
    return None
