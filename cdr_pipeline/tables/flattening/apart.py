"""Runs work in another process: Python code in one process uses one core, with any threads."""

import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Queue
from typing import IO, Any, Concatenate, Final, Generic, ParamSpec, TypeVar

from cdr_pipeline.errors import ProcessLost
from cdr_pipeline.process import give_back_large

P = ParamSpec("P")
T = TypeVar("T")
Piece = TypeVar("Piece")

#: How many pieces of work may wait while the process is busy.
_WAITING: Final = 1

#: Not `multiprocessing`, which would first import the main program: mostly Dagster.
#: `-P`, or Python would first look for modules in the working folder, among the user's data.
_COMMAND: Final = [sys.executable, "-P", "-c", f"from {__name__} import _main; _main()"]


class Apart(Generic[Piece, T]):
    """Work that runs in another process, which is given its input piece by piece."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._pieces: Queue[Piece | None] = Queue(_WAITING)
        self._error: Exception | None = None
        # A daemon thread, so that a caller who is interrupted does not wait for it.
        self._giving = threading.Thread(target=self._give_all, name="cdr-apart", daemon=True)
        self._giving.start()

    def give(self, piece: Piece) -> None:
        """Give one more piece; waits while enough pieces wait for the process."""
        self._pieces.put(piece)

    def result(self) -> T:
        """The result of the work on all pieces. Raises the error of the work, or ProcessLost if
        the process ended without a result.
        """
        self.end()
        assert self._process.stdout is not None
        try:
            value, error = pickle.load(self._process.stdout)  # noqa: S301  our own words
        except (EOFError, pickle.UnpicklingError):
            raise ProcessLost(self._process.wait()) from None
        if self._error or error:
            raise self._error or error
        return value  # type: ignore[no-any-return]

    def end(self) -> None:
        """Tell the process that no more pieces come."""
        if self._giving.is_alive():
            self._pieces.put(None)
            self._giving.join()

    def _give_all(self) -> None:
        assert self._process.stdin is not None
        try:
            with self._process.stdin as to:
                for piece in iter(self._pieces.get, None):
                    pickle.dump(piece, to)
                    to.flush()
        except BrokenPipeError:  # it wants no more: whoever waits for the result is told
            self._pass_over_all()
        except Exception as error:  # noqa: BLE001  raised where the result is waited for
            self._error = error
            self._pass_over_all()

    def _pass_over_all(self) -> None:
        for _ in iter(self._pieces.get, None):
            pass


@contextmanager
def apart(
    work: Callable[Concatenate[Iterator[Piece], P], T], *args: P.args, **kwargs: P.kwargs
) -> Iterator[Apart[Piece, T]]:
    """Start `work` in another process, on pieces that are given to it as they come.

    Input and result are pickled. The process ends with this context, and with this process, however
    that ends. Raises OSError if no process can be started.
    """
    process = subprocess.Popen(  # noqa: S603  this very program
        _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment()
    )
    under_way: Apart[Piece, T] | None = None
    try:
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it is gone: whoever waits for the result is told
            pickle.dump((work, args, kwargs), process.stdin)
            process.stdin.flush()
        under_way = Apart(process)
        yield under_way
    finally:
        process.kill()
        process.wait()
        if under_way:
            under_way.end()
        assert process.stdout is not None
        process.stdout.close()


def _environment() -> dict[str, str]:
    """The environment of this process, with its module search path.

    Polars gets one thread: the other process has one core, on which a second thread would only wait
    for the first. This saves a twelfth of its time.
    """
    folders = (str(folder) or str(Path.cwd()) for folder in sys.path)
    return os.environ | {"PYTHONPATH": os.pathsep.join(folders), "POLARS_MAX_THREADS": "1"}


def _main() -> None:
    """The main function of the other process, which gets its work by stdin, and then the pieces."""
    give_back_large()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells both; the other one decides
    given, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)  # what is printed is no answer
    threading.Thread(target=_end_with_whoever_reads, args=[answers.fileno()], daemon=True).start()
    error = None
    with given:  # closed before anything is answered: each might wait for the other else
        work, args, kwargs = pickle.load(given)  # noqa: S301  our own words
        try:
            result = work(_pieces(given), *args, **kwargs)
        except BaseException as raised:  # noqa: BLE001  raised again where it is waited for
            error = raised
    with answers:
        if error:
            answers.write(_told(error))
        else:
            # Not as one text before: that would take the memory of the result once more.
            pickle.dump((result, None), answers)


def _pieces(given: IO[bytes]) -> Iterator[Any]:
    while True:
        try:
            piece = pickle.load(given)  # noqa: S301  our own words
        except EOFError:
            return
        yield piece


def _told(error: BaseException) -> bytes:
    """An error, pickled; in words, if it cannot be."""
    where = f"In a process of its own:\n{''.join(traceback.format_exception(error))}"
    error.add_note(where)
    try:
        told = pickle.dumps((None, error if isinstance(error, Exception) else RuntimeError(where)))
        pickle.loads(told)  # noqa: S301  our own words
    except Exception:  # noqa: BLE001  whatever an error's own pickling raises
        return pickle.dumps((None, RuntimeError(where)))
    return told


def _end_with_whoever_reads(answers: int) -> None:
    """End this process as soon as nobody can read its answer any more."""
    reader = select.poll()
    reader.register(answers, 0)  # no event but the pipe's end
    reader.poll()
    os._exit(1)
