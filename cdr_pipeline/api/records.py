"""The records of some responses, as the proof needs them: the key of each and when it began.

While a million calls are listed, only this stays in memory.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, Self

import polars as pl

from cdr_pipeline.page import began_in, wall_clock
from cdr_pipeline.window import Window

#: So many records have their times parsed at once: page by page, this takes three times as long.
READ_AT_ONCE = 8_000

_RECORDS: Final = {"key": pl.Int64(), "began": pl.Datetime("us")}
_AS_SENT: Final = {"key": pl.Int64(), "began": pl.String()}


class Records:
    """Distinct records by key, and when each began: some bytes per record."""

    def __init__(self, distinct: Iterable[pl.DataFrame] = ()) -> None:
        """`distinct`: frames of `_RECORDS`, each in the order of `frame` and without equal keys."""
        self._frames = [some for some in distinct if len(some)] or [pl.DataFrame(schema=_RECORDS)]
        self._unread: list[pl.DataFrame] = []
        self._unread_rows = 0

    @classmethod
    def of(cls, sources: Iterable["Records"]) -> Self:
        """The records of all `sources` together."""
        return cls(source.frame for source in sources)

    @property
    def frame(self) -> pl.DataFrame:
        """`key` and `began`, in order of time; for equal keys, the record that came last."""
        self._read_times()
        if len(self._frames) > 1:
            records = pl.concat(self._frames)
            if records["key"].n_unique() < len(records):  # a third of the time of the filter
                # As `unique(keep="last", maintain_order=True)`, in half the time and memory.
                records = records.filter(pl.col("key").is_last_distinct())
            self._frames = [records.sort("began")]
        return self._frames[0]

    def add(self, keys: Sequence[int], started: Sequence[str | None]) -> None:
        """Add the records of one response; `started`: when each began, as the vendor wrote it."""
        self._unread.append(pl.DataFrame({"key": keys, "began": started}, schema=_AS_SENT))
        self._unread_rows += len(keys)
        if self._unread_rows >= READ_AT_ONCE:
            self._read_times()

    def _read_times(self) -> None:
        if self._unread:
            read = pl.concat(self._unread).with_columns(wall_clock(pl.col("began")))
            self._frames.append(read)
            self._unread, self._unread_rows = [], 0

    def __len__(self) -> int:
        return len(self.frame)

    def within(self, window: Window) -> Self:
        """The records that began in the window, and those whose beginning is unknown."""
        began = pl.col("began")
        return type(self)([self.frame.filter(began_in(began, window) | began.is_null())])

    def cut(self, at: datetime) -> tuple[Self, Self]:
        """The records known to have begun before `at`, and all others."""
        frame, times = self.frame, self.times()
        unknown, before = len(frame) - len(times), int(times.search_sorted(at))
        others = pl.concat([frame.head(unknown), frame.slice(unknown + before)])
        return type(self)([frame.slice(unknown, before)]), type(self)([others])

    def without(self, keys: pl.Series) -> pl.DataFrame:
        """The records with a known beginning, without those of these `keys`."""
        others = ~pl.col("key").is_in(keys.implode())
        return self.frame.filter(pl.col("began").is_not_null(), others)

    def keys(self) -> pl.Series:
        """The keys of the records, sorted."""
        return self.frame["key"].sort()

    def times(self) -> pl.Series:
        """The known beginnings, sorted."""
        return self.frame["began"].drop_nulls()
