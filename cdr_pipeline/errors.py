"""The errors a person acts on.

    CdrError                  what happened, to which day, what is safe, what to do next
    ├── SettingsError         a setting is missing or wrong
    ├── ApiError              the vendor did not give what was asked for
    │   ├── Unauthorized      the token or key is wrong
    │   ├── Refused           another 4xx: asking again the same way is useless
    │   ├── Unreachable       no connection could be made
    │   └── Unavailable       nothing usable came, however often we asked
    ├── NotProved             a day's listing never agreed with the vendor's own total
    ├── Shrunk                a proved day holds fewer calls than what is stored, or others
    ├── NotThere              a partition that another is to be made from has not been made
    ├── Damaged               a stored file cannot be read, or some
    ├── NotTogether           what needs several days could not be made, the days could
    ├── CheckFailed           data that must not flow on
    └── ProcessLost           a process of ours ended without a result

Each message is written for the person who reads it in a terminal or in Dagster's UI. None holds
a token, a recording's link or a whole phone number.
"""

import errno
import os
import re
from pathlib import Path
from typing import Final

#: What is safe, if a part of a day may already have been written.
SAFE: Final = "Every partition holds its old content or its new."

#: Statuses with which a vendor may refuse a page that is too large, or a range that is too long.
_TOO_MUCH: Final = frozenset({400, 413, 422})

_MAKE_ROOM: Final = "Make room on its disk, then try again."
_MAY_WRITE: Final = "See that this user may read and write there."
_WAYS_OUT: Final = {
    errno.ENOSPC: _MAKE_ROOM,
    errno.EDQUOT: _MAKE_ROOM,
    errno.EACCES: _MAY_WRITE,
    errno.EPERM: _MAY_WRITE,
    errno.EROFS: _MAY_WRITE,
    errno.ENOENT: "See that its folder is there.",
    errno.EXDEV: "Keep all of CDR_DATA_DIR on one file system: a file takes its place by a rename.",
}


#: A phone number (but no date), or a link. In names of columns, the separator of a number or a date
#: is `_`. The scheme of a link is bounded: otherwise a long word is searched again from each of its
#: letters, and a word of 100,000 letters took a minute.
_DATE: Final = r"(?:\d{4}[-./_]\d\d?[-./_]\d\d?|\d\d?[-./_]\d\d?[-./_]\d{4})(?!\d)"
_PHONE_OR_LINK: Final = re.compile(
    rf"(?<!\d)(?!{_DATE})\d(?:[ ._-]?\d){{7,}}|\w{{1,20}}://[^\s\"]+"
)


def shortened(text: str, most: int) -> str:
    """A text of at most `most` characters; it ends in … if it was cut."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def redacted(text: str) -> str:
    """A text from outside, safe to log: of each phone number and each link only the first three
    characters.
    """
    return _PHONE_OR_LINK.sub(lambda found: f"{found[0][:3]}…", text)


def way_out(error: OSError) -> str:
    """What to do about an error of the disk; empty if its own message must be enough."""
    return _WAYS_OUT.get(error.errno or 0, "")


class CdrError(Exception):
    """Anything this pipeline raises on purpose."""


class SettingsError(CdrError):
    """One or more settings are missing or wrong; the message names all of them."""


class ApiError(CdrError):
    """The vendor did not give what was asked for, in the first try and in `retries` more."""

    retries = 0


class Unauthorized(ApiError):
    """The token or the API key is not accepted (401, 403): no other request will fare better."""


class Refused(ApiError):
    """The vendor answered with another 4xx: the same request will be refused again."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status

    @property
    def may_be_too_much(self) -> bool:
        """Whether the vendor may accept a smaller page or a shorter range."""
        return self.status in _TOO_MUCH


class Unreachable(ApiError):
    """No connection could be made at all: a wrong host, no network, or a vendor that is down."""


class Unavailable(ApiError):
    """Nothing usable came within the bound on retries."""


class NotProved(CdrError):
    """The records received never agreed with the vendor's own total within the bound on cost."""


class Shrunk(CdrError):
    """A re-fetch proves fewer calls than the stored partition holds, or mostly others."""


class NotThere(CdrError):
    """A partition that this one is made from has not been made."""


class Damaged(CdrError):
    """Stored files (`paths`) that are no whole Parquet files, or that cannot be opened."""

    def __init__(self, *paths: Path) -> None:
        super().__init__(*paths)
        self.paths = paths

    def __str__(self) -> str:
        closed = [one for one in self.paths if os.access(one, os.F_OK) > os.access(one, os.R_OK)]
        broken = [one for one in self.paths if one not in closed]
        told = {
            "cannot be read by this user. See that it may; do not delete such a file.": closed,
            "cannot be read: damaged, or a part is missing. Delete such a file; `cdr-pipeline"
            " rebuild` then makes it again from raw_pages, and where it is itself one of raw_pages"
            " or cdr_receipts, `cdr-pipeline run` loads its day again.": broken,
        }
        return " ".join(f"{', '.join(map(str, of))} {what}" for what, of in told.items() if of)


class NotTogether(CdrError):
    """Aggregates over several days could not be made, although each day by itself was made."""


class CheckFailed(CdrError):
    """A blocking check failed: the data must not replace a partition."""


class ProcessLost(CdrError):
    """A process of ours ended without a result; its exit code tells whether it was killed."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code

    def __str__(self) -> str:
        why = "killed, most likely for want of memory" if self.code < 0 else "ended by itself"
        return (
            f"a process that worked on a part of it is gone: {why} (exit code {self.code})."
            f" {SAFE} Try again with more memory, or with fewer runs at once."
        )
