"""Work in a process of its own: Python code keeps one core of a process busy, however many threads
it has.
"""

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, ParamSpec, TypeVar

from cdr_pipeline.errors import ProcessLost

P = ParamSpec("P")
T = TypeVar("T")

#: Not by `multiprocessing`, which would first import whatever program this is: Dagster, mostly.
_COMMAND: Final = [sys.executable, "-c", f"from {__name__} import _main; _main()"]


@contextmanager
def apart(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Iterator[Callable[[], T]]:
    """Begin `work` in another process; what is yielded waits for its result, or raises its error.

    All that goes there and back is pickled. The process ends with this context, and with this
    process, however that ends. Raises ProcessLost where it ended without a result.
    """
    path = os.pathsep.join(filter(None, sys.path))
    process = subprocess.Popen(  # noqa: S603  this very program
        _COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    to, back = process.stdin, process.stdout

    def result() -> T:
        try:
            value, error = pickle.load(back)  # noqa: S301  our own words
        except (EOFError, pickle.UnpicklingError):
            raise ProcessLost(process.wait()) from None
        if error:
            raise error
        return value  # type: ignore[no-any-return]

    try:
        pickle.dump((work, args, kwargs), to)
        to.flush()
        yield result
    finally:
        process.kill()
        process.wait()
        back.close()
        with suppress(OSError):
            to.close()


def _main() -> None:
    """The other process: its work comes by stdin, which stays open as long as anyone waits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells both; the other one decides
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever is printed is no answer
    work, args, kwargs = pickle.load(sys.stdin.buffer)  # noqa: S301  our own words
    threading.Thread(target=_end_with, args=[sys.stdin.fileno()], daemon=True).start()
    outcome: tuple[object, Exception | None]
    try:
        outcome = work(*args, **kwargs), None
    except Exception as error:  # noqa: BLE001  raised again where it is waited for
        outcome = None, error
    pickle.dump(outcome, answers)
    answers.close()


def _end_with(source: int) -> None:
    os.read(source, 1)
    os._exit(1)
