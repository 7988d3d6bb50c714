"""Work in a process of its own: Python code keeps one core of a process busy, however many threads
it has.
"""

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

#: Pieces of work that may wait for a process that is busy.
_WAITING: Final = 1

#: Not by `multiprocessing`, which would first import whatever program this is: Dagster, mostly.
#: `-P`, or a module would be looked for in the working folder first, among somebody's data.
_COMMAND: Final = [sys.executable, "-P", "-c", f"from {__name__} import _main; _main()"]


class Apart(Generic[Piece, T]):
    """Work under way in another process, which is given piece by piece what to work on."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._pieces: Queue[Piece | None] = Queue(_WAITING)
        self._error: Exception | None = None
        # A daemon, lest whoever breaks off in a hurry wait for it; the process is gone by then.
        self._giving = threading.Thread(target=self._give_all, name="cdr-apart", daemon=True)
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
    """Begin `work` in another process, on pieces that are given to it as they come.

    All that goes there and back is pickled. The process ends with this context, and with this
    process, however that ends. Raises OSError where none can be begun.
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
    """This one, in which modules are found where they are found here.

    Polars gets one thread: on the core that is left for this process a second would only wait for
    the first, which takes a twelfth of its time.
    """
    folders = (str(folder) or str(Path.cwd()) for folder in sys.path)
    return os.environ | {"PYTHONPATH": os.pathsep.join(folders), "POLARS_MAX_THREADS": "1"}


def _main() -> None:
    """The other process: its work comes by stdin, and then the pieces."""
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
