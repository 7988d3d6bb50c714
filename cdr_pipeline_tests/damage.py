"""What becomes of files in the long run."""

import errno
from pathlib import Path


def cut_short(*paths: Path) -> None:
    """Files whose end was not written: their footers are gone."""
    for path in paths:
        path.write_bytes(path.read_bytes()[:-20])


def stale(*_: object) -> None:
    """In place of whatever looks into a share that hung."""
    raise OSError(errno.ESTALE, "Stale file handle")
