"""A load in a process of its own, which kills itself at a given moment."""

import os
import signal
from collections.abc import Callable
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock
from typing import Any, Final

import pyarrow.parquet as pq

from cdr_pipeline.api.client import Client
from cdr_pipeline.api.listing import Lister
from cdr_pipeline.assets import aggregates
from cdr_pipeline.assets.begun import layers
from cdr_pipeline.assets.layer import Work
from cdr_pipeline.settings import Settings
from cdr_pipeline.tables.datasets import DATASETS
from cdr_pipeline.tables.store import Store

#: The functions that access the vendor or the disk.
TOUCHES: Final[list[tuple[Any, str]]] = [
    (Client, "get"),
    (os, "fsync"),
    (Path, "replace"),
    (Path, "unlink"),
    (pq.ParquetWriter, "write_table"),
    (pq.ParquetWriter, "close"),
]


class Moments:
    """Counts the moments before and after each call of a function in `TOUCHES`; kills the process
    at the moment number `fatal`.
    """

    def __init__(self, fatal: int | None) -> None:
        self.passed = 0
        self._fatal = fatal
        self._lock = Lock()
        for owner, name in TOUCHES:
            setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, touch: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self._pass()
            result = touch(*args, **kwargs)
            self._pass()
            return result

        return counted

    def _pass(self) -> None:
        with self._lock:
            if self.passed == self._fatal:
                os.kill(os.getpid(), signal.SIGKILL)  # nothing is cleaned up
            self.passed += 1


def load(settings: Settings, day: date, fatal: int | None, moments: Connection) -> None:
    """Load the day as a run does, up to the moment `fatal`; if it is None, send the number of
    moments.

    Only for a process that ends afterwards: the functions of `TOUCHES` stay replaced.
    """
    counted = Moments(fatal)
    store = Store.of(settings)
    with (
        Client.from_settings(settings) as client,
        Lister(client, page_size=settings.page_size, concurrency=settings.concurrency) as lister,
    ):
        list(layers(Work(day, settings, store, DATASETS), lister))
    for name in aggregates.that_look_back(DATASETS):
        list(aggregates.of_days_together(store, [day], name))
    moments.send(counted.passed)
