"""Starts and ends our processes without needless work of Python's garbage collector, and has glibc
return free memory to the system.

Dagster, Polars and their dependencies create some 230,000 objects. The collector traverses them
again and again during the imports, and Python frees each of them at the end of the process: 1.3 CPU
seconds of every run, as much as to load 60,000 calls.
"""

import atexit
import ctypes
import gc
import io
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

#: New objects between two collections; Python's default is 700.
_OBJECTS_PER_COLLECTION: Final = 100_000

#: glibc's M_MMAP_THRESHOLD: blocks of so many bytes or more are mapped separately.
_MMAP_THRESHOLD: Final = -3

#: Bytes of a large block of memory; a page of ordinary calls has a quarter of this.
_LARGE: Final = 2**22


def as_program(main: Callable[[], object]) -> None:
    """Run `main`, then end this process with the exit code of its SystemExit, else with 0.

    Functions registered with `atexit` are called, but objects are not freed. The process ends in
    Python's own way if a thread has to be waited for, if output cannot be written, if the exit code
    is a message, or if `main` raises another exception.

    A character that the terminal's encoding lacks is printed as an escape, as Python does on
    stderr.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    gc.set_threshold(_OBJECTS_PER_COLLECTION)
    give_back_large()
    code: object = None
    try:
        main()
    except SystemExit as end:
        code = end.code
    if not (code is None or isinstance(code, int)) or _has_threads_to_join():
        sys.exit(code)  # type: ignore[arg-type]
    atexit._run_exitfuncs()  # noqa: SLF001  there is no public function for this
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream:  # None if the parent process closed it
                stream.flush()
    except (OSError, ValueError):
        sys.exit(code)
    os._exit(code or 0)


def give_back_large() -> None:
    """Have glibc return each large block of memory to the system as soon as it is free.

    By default glibc does so only until the first such block, of up to 32 MB, is freed. From then on
    it keeps blocks up to that size, with gaps between them: 300 MB with pages of long notes.
    """
    with suppress(AttributeError, OSError, TypeError):  # a system without glibc has no such setting
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE)


def _has_threads_to_join() -> bool:
    """Whether Python would wait for a thread at the end of this process."""
    others = (other for other in threading.enumerate() if other is not threading.current_thread())
    return any(not other.daemon for other in others)
