"""Work in a process of its own: Python code keeps one core of a process busy, however many threads
it has.
"""

import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

from cdr_pipeline.errors import ProcessLost

P = ParamSpec("P")
T = TypeVar("T")

#: Not by `multiprocessing`, which would first import whatever program this is: Dagster, mostly.
#: `-P`, or a module would be looked for in the working folder first, among somebody's data.
_COMMAND: Final = [sys.executable, "-P", "-c", f"from {__name__} import _main; _main()"]


@contextmanager
def apart(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Iterator[Callable[[], T]]:
    """Begin `work` in another process; what is yielded waits for its result, or raises its error.

    All that goes there and back is pickled. The process ends with this context, and with this
    process, however that ends. Raises ProcessLost where it ended without a result.
    """
    process = subprocess.Popen(  # noqa: S603  this very program
        _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment()
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
        with suppress(BrokenPipeError):  # it is gone: whoever waits for the result is told
            pickle.dump((work, args, kwargs), to)
            to.flush()
        yield result
    finally:
        process.kill()
        process.wait()
        back.close()
        with suppress(BrokenPipeError):
            to.close()


def _environment() -> dict[str, str]:
    """This one, in which modules are found where they are found here."""
    folders = (str(folder) or str(Path.cwd()) for folder in sys.path)
    return os.environ | {"PYTHONPATH": os.pathsep.join(folders)}


def _main() -> None:
    """The other process: its work comes by stdin, which stays open as long as anyone waits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells both; the other one decides
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is printed is no answer
    work, args, kwargs = pickle.load(sys.stdin.buffer)  # noqa: S301  our own words
    threading.Thread(target=_end_with, args=[sys.stdin.fileno()], daemon=True).start()
    with answers:
        answers.write(_outcome(work, *args, **kwargs))


def _outcome(work: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> bytes:
    """The result or the error, pickled; in words, if it is an error that cannot be."""
    try:
        return pickle.dumps((work(*args, **kwargs), None))
    except BaseException as error:  # noqa: BLE001  raised again where it is waited for
        where = f"In a process of its own:\n{traceback.format_exc()}"
        error.add_note(where)
        told = error if isinstance(error, Exception) else RuntimeError(where)
    try:
        outcome = pickle.dumps((None, told))
        pickle.loads(outcome)  # noqa: S301  our own words
    except Exception:  # noqa: BLE001  whatever an error's own pickling raises
        return pickle.dumps((None, RuntimeError(where)))
    return outcome


def _end_with(source: int) -> None:
    os.read(source, 1)
    os._exit(1)
