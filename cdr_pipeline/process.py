"""Begins and ends a process of ours without needless work of Python's garbage collector, and sees
that memory goes back.

Dagster, Polars and what they bring along are some 230,000 objects. Python's collector looks through
them again and again while they come in, and takes each of them apart when the process ends: 1.3 CPU
seconds of every run, as much as loading 60,000 calls.
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

#: New objects between two looks of the collector; by itself it looks after 700.
_BETWEEN_LOOKS: Final = 100_000

#: The name of a setting of glibc's: from how many bytes on a piece of memory is mapped by itself.
_MAPPED_FROM: Final = -3

#: A page of ordinary calls has a quarter of it.
_LARGE: Final = 2**22


def as_program(main: Callable[[], object]) -> None:
    """Run `main` as this process's program, and end the process as it says.

    What was registered with `atexit` is done; where threads are still to be waited for, or what was
    printed cannot be written, the process ends in Python's own way.

    A letter that the terminal's encoding has not is printed as its code, as Python does on stderr.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    gc.set_threshold(_BETWEEN_LOOKS)
    give_back_large()
    code: object = None
    try:
        main()
    except SystemExit as end:
        code = end.code
    if not (code is None or isinstance(code, int)) or _awaited():
        sys.exit(code)  # type: ignore[arg-type]
    atexit._run_exitfuncs()  # noqa: SLF001  as Python does, and nothing public does
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream:  # None where whoever began this process has closed it
                stream.flush()
    except (OSError, ValueError):
        sys.exit(code)
    os._exit(code or 0)


def give_back_large() -> None:
    """Have large pieces of memory go back to the system as soon as they are free.

    By itself glibc does so only until the first piece, of up to 32 MB, is freed; from then on it
    keeps pieces of that size, with holes between them: 300 MB, of pages with long notes.
    """
    with suppress(AttributeError, OSError, TypeError):  # a system without glibc has no such setting
        ctypes.CDLL(None).mallopt(_MAPPED_FROM, _LARGE)


def _awaited() -> bool:
    """Whether Python would wait for a thread."""
    others = (one for one in threading.enumerate() if one is not threading.current_thread())
    return any(not one.daemon for one in others)
