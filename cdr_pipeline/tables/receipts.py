"""What `cdr_receipts` says of a stored day, to whoever asks for more than a table of it."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

import polars as pl

from cdr_pipeline.tables.datasets import RECEIPTS
from cdr_pipeline.tables.readers import fixed
from cdr_pipeline.tables.store import Store

#: How far back a total is remembered that need not be doubted again.
_DAYS_REMEMBERED: Final = 31


@dataclass(frozen=True)
class LastFetch:
    """The fetch that a stored day is of.

    total: the vendor's, of the calls that began on the day. records: received for it. Both are
        without those that were listed for the day and began on another.
    proved_at, changed_at: when it ended; when a fetch last found anything else than the one before,
        None if none did. Both in the store's zone.
    first: whether the day had not been fetched before.
    """

    total: int
    records: int
    verified: bool
    proved_at: datetime
    changed_at: datetime | None
    first: bool


def last_fetch(store: Store, day: date) -> LastFetch:
    """What the receipt of a stored day says; one of an earlier version of this software lacks some
    columns. Raises Damaged.
    """
    row = store.read(RECEIPTS, day).row(0, named=True)
    changed_at = row.get("last_change_at")
    return LastFetch(
        total=row["reported_total"] - row["outside_window"],
        records=row["unique_records"] - row["outside_window"],
        verified=row["verified"],
        proved_at=row["finished_at"].astimezone(store.zone),
        changed_at=changed_at and changed_at.astimezone(store.zone),
        first=row.get("new_calls") is None,
    )


def honest_total(store: Store, host: str) -> int:
    """The largest total of this host among the newest stored days, as far as they were proved as a
    whole: it was no ceiling. 0 where a receipt cannot be read: then totals are doubted as on the
    first day, and the receipt's own day says that it is damaged.
    """
    days = store.days(RECEIPTS)[-_DAYS_REMEMBERED:]
    whole = fixed(store, RECEIPTS, days).filter(pl.col("parts") == 1, pl.col("api_host") == host)
    try:
        return int(whole.select(pl.col("reported_total").max().fill_null(0)).collect().item())
    except pl.exceptions.PolarsError:
        return 0
