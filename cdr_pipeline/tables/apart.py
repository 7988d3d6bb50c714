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
from queue import Queue
from typing import IO, Any, Concatenate, Final, Generic, ParamSpec, TypeVar

from cdr_pipeline.errors import ProcessLost

P = ParamSpec("P")
T = TypeVar("T")
Piece = TypeVar("Piece")

#: Pieces of work that may wait for a process that is busy.
_WAITING: Final = 1

#: Not by `multiprocessing`, which would first import whatever program this is: Dagster, mostly.
#: `-P`, or a module would be looked for in the working folder first, among somebody's data.
_COMMAND: Final = [sys.executable, "-P", "-c", f"from {__name__} import _main; _main()"]


class Apart(Generic[Piece, T]):
    """Work under way in another process, which is given piece by piece what to work on."""

    def __init__(self, process: "subprocess.Popen[bytes]", to: IO[bytes]) -> None:
        self._process = process
        self._pieces: Queue[Piece | None] = Queue(_WAITING)
        self._error: Exception | None = None
        self._giving = threading.Thread(target=self._give_all, args=[to], name="cdr-apart")
        self._giving.start()

    def give(self, piece: Piece) -> None:
        """One more piece; waits while there are enough that the process has not come to."""
        self._pieces.put(piece)

    def result(self) -> T:
        """What became of all that was given. Raises the work's error, or ProcessLost where the
        process ended without a result.
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
        """No piece more."""
        if self._giving.is_alive():
            self._pieces.put(None)
            self._giving.join()

    def _give_all(self, to: IO[bytes]) -> None:
        try:
            with to:
                for piece in iter(self._pieces.get, None):
                    pickle.dump(piece, to)
                    to.flush()
        except BrokenPipeError:  # it is gone: whoever waits for the result is told
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
    """Begin `work` in another process, on pieces that are given to it as they come.

    All that goes there and back is pickled. The process ends with this context, and with this
    process, however that ends.
    """
    given, giving = os.pipe()
    to = os.fdopen(giving, "wb")
    try:
        process = subprocess.Popen(  # noqa: S603  this very program
            [*_COMMAND, f"{given}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[given],
            env=_environment(),
        )
    finally:
        os.close(given)
    assert process.stdin is not None
    assert process.stdout is not None
    under_way: Apart[Piece, T] = Apart(process, to)
    try:
        with suppress(BrokenPipeError):  # it is gone: whoever waits for the result is told
            pickle.dump((work, args, kwargs), process.stdin)
            process.stdin.flush()
        yield under_way
    finally:
        process.kill()
        process.wait()
        under_way.end()
        process.stdout.close()
        with suppress(BrokenPipeError):
            process.stdin.close()


def _environment() -> dict[str, str]:
    """This one, in which modules are found where they are found here."""
    folders = (str(folder) or str(Path.cwd()) for folder in sys.path)
    return os.environ | {"PYTHONPATH": os.pathsep.join(folders)}


def _main() -> None:
    """The other process: its work comes by stdin, which stays open as long as anyone waits, and the
    pieces by the descriptor that is named.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells both; the other one decides
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is printed is no answer
    work, args, kwargs = pickle.load(sys.stdin.buffer)  # noqa: S301  our own words
    threading.Thread(target=_end_with, args=[sys.stdin.fileno()], daemon=True).start()
    with answers:
        try:
            result = work(_pieces(int(sys.argv[1])), *args, **kwargs)
        except BaseException as error:  # noqa: BLE001  raised again where it is waited for
            answers.write(_told(error))
        else:
            # Not as one text before: that would take the memory of the result once more.
            pickle.dump((result, None), answers)


def _pieces(source: int) -> Iterator[Any]:
    with os.fdopen(source, "rb") as coming:
        while True:
            try:
                piece = pickle.load(coming)  # noqa: S301  our own words
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


def _end_with(source: int) -> None:
    os.read(source, 1)
    os._exit(1)
