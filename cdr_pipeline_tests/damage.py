"""Damaged files, a full disk and a share that hangs."""

import errno
from pathlib import Path
from typing import Never


def cut_short(*paths: Path) -> None:
    """Cut off the ends of Parquet files, and so their footers."""
    for path in paths:
        path.write_bytes(path.read_bytes()[:-20])


def full(*_: object, **__: object) -> Never:
    """Stands in for a function that writes: the disk is full."""
    raise OSError(errno.ENOSPC, "No space left on device")


def stale(*_: object) -> Never:
    """Stands in for a function that reads a folder: the network share hangs."""
    raise OSError(errno.ESTALE, "Stale file handle")
