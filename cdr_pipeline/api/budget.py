"""Requests a second and requests in flight, shared by every process of one user on this machine.

A backfill runs several processes against one vendor whose limits are not documented. So the budget
is kept in small files under the system's temporary folder, one folder per host. The operating
system holds the locks on these files and releases them when a process is killed.
"""

import hashlib
import math
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import BinaryIO

from filelock import FileLock, lock_descriptor, unlock_descriptor

from cdr_pipeline.errors import SettingsError, Unavailable

#: The interval between turns is longer than the budget needs by this factor, so that network jitter
#: never puts one request too many into a second.
_SPACING = 1.05

#: A stored pause longer than this (seconds), or more turns booked ahead, comes from a wrong clock.
_LONGEST_PAUSE = 3600.0
_MOST_TURNS = 100

_POLL_SECONDS = 0.002


class Budget:
    """Gives out the right to send one request, in turn, to every process that asks one host."""

    def __init__(self, host: str, per_second: float, in_flight: int) -> None:
        self._host = host
        self._interval = _SPACING / per_second if per_second else 0.0
        folder = _shared_folder(host)
        self._turns = folder / "turns"
        self._turns_lock = FileLock(f"{self._turns}.lock", poll_interval=_POLL_SECONDS)
        # One thread of this process uses a place at a time, and locks it against other processes.
        self._places: SimpleQueue[Path] = SimpleQueue()
        for number in range(in_flight):
            self._places.put(folder / f"slot-{number}")

    @contextmanager
    def request(self, over: Event, longest: float = math.inf) -> Iterator[None]:
        """Hold one of the places in flight from our turn to send on. Once `over` is set, this waits
        for nothing. Raises Unavailable if the vendor asked for a pause and more than `longest`
        seconds of the pause are left.
        """
        with self._place(over):
            while (wait := self._take_turn()) > 0:
                if wait > longest and self._paused():
                    raise Unavailable(
                        f"{self._host} has asked to be left alone (Retry-After) for {wait:.0f} s"
                        " more: nothing was asked for. Try again then."
                    )
                if over.wait(wait) or not self._paused():
                    break
            yield

    def pause(self, seconds: float) -> None:
        """Stop all processes from sending for so many seconds (an hour at most): Retry-After."""
        with self._ledger() as ledger:
            until = time.time() + min(seconds, _LONGEST_PAUSE)
            ledger.paused_until = max(ledger.paused_until, until)

    def _take_turn(self) -> float:
        """Book the next free turn; return the seconds until then."""
        if not self._interval and not self._turns.exists():
            return 0.0  # there is no budget, and the vendor never asked for a pause
        now = time.time()
        with self._ledger() as ledger:
            turn = max(now, ledger.next_turn, ledger.paused_until)
            ledger.next_turn = turn + self._interval
        return turn - now

    def _paused(self) -> bool:
        with self._ledger() as ledger:
            return ledger.paused_until > time.time()

    @contextmanager
    def _place(self, over: Event) -> Iterator[None]:
        """Hold one of the places in flight. Once `over` is set, the place need not be free: another
        process may hold it during a pause.
        """
        while True:
            place = self._places.get()
            try:
                with _held(place) as held:
                    if held or over.is_set():
                        yield
                        return
            finally:
                self._places.put(place)
            time.sleep(_POLL_SECONDS)

    @contextmanager
    def _ledger(self) -> Iterator["_Ledger"]:
        with self._turns_lock:
            ledger = _Ledger.read(self._turns, self._interval)
            yield ledger
            ledger.write(self._turns)


@dataclass
class _Ledger:
    """When the next request may be sent, and until when none may; both in seconds since 1970."""

    next_turn: float
    paused_until: float

    @classmethod
    def read(cls, path: Path, interval: float) -> "_Ledger":
        now = time.time()
        try:
            next_turn, paused_until = map(float, path.read_text().split())
        except (OSError, ValueError):  # no file yet, or the machine lost power during a write
            return cls(0.0, 0.0)
        paused_until = paused_until if paused_until <= now + _LONGEST_PAUSE else 0.0
        last_turn = max(now, paused_until) + max(1.0, _MOST_TURNS * interval)
        return cls(next_turn if next_turn < last_turn else 0.0, paused_until)

    def write(self, path: Path) -> None:
        try:
            path.write_text(f"{self.next_turn!r} {self.paused_until!r}")
        except OSError as error:  # the error of a full disk names no file
            raise OSError(error.errno, error.strerror, f"{path}") from None


@contextmanager
def _held(place: Path) -> Iterator[bool]:
    """Try to lock a place, and yield whether this succeeded; it fails if another process has it.

    Locks the file descriptor directly. A FileLock also checks the folder, which takes ten times as
    long: a sixteenth of the cost of a request.
    """
    with _opened(place) as file:
        held = lock_descriptor(file.fileno(), blocking=False)
        try:
            yield held
        finally:
            if held:  # to close the file is not enough: a forked process may have it open, too
                unlock_descriptor(file.fileno())


def _opened(path: Path) -> BinaryIO:
    """Open a file to lock it; if the folder was deleted in the meantime, make it again."""
    try:
        return path.open("ab")
    except FileNotFoundError:
        return _private(path.parent).joinpath(path.name).open("ab")


def _shared_folder(host: str) -> Path:
    name = hashlib.sha256(host.encode()).hexdigest()[:16]
    try:
        shared = Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise SettingsError(
            f"{error.strerror}. TMPDIR must name a folder that this user may write: what all runs"
            " may ask of the vendor is counted there."
        ) from None
    return _private(shared / f"cdr-pipeline-{os.getuid()}" / name)


def _private(folder: Path) -> Path:
    """Make a host's folder inside the user's folder: no other user may change a budget."""
    for path in (folder.parent, folder):  # `parents=True` alone gives the upper the umask's mode
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
