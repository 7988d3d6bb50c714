"""The receipt of a stored day (`cdr_receipts`) as typed values."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

import polars as pl

from cdr_pipeline.tables.datasets import RECEIPTS
from cdr_pipeline.tables.readers import fixed
from cdr_pipeline.tables.store import Store

#: The newest stored days whose totals are used as a total that is no ceiling.
_DAYS_REMEMBERED: Final = 31


@dataclass(frozen=True)
class LastFetch:
    """The last fetch of a stored day.

    total: the vendor's total of the calls that began on the day. records: how many were received.
        Both without the calls that were listed for the day and began on another.
    proved_at, changed_at: when the fetch ended; when a fetch last found other calls than the fetch
        before it, None if none did. Both in the store's zone.
    first: whether the day had not been fetched before.
    """

    total: int
    records: int
    verified: bool
    proved_at: datetime
    changed_at: datetime | None
    first: bool


def last_fetch(store: Store, day: date) -> LastFetch:
    """The last fetch of a stored day, by its receipt. (Receipts of earlier versions of this
    software lack some columns.) Raises Damaged.
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
    """The largest total of this host among the newest stored days that were proved as a whole: it
    was no ceiling. 0 if a receipt cannot be read: then totals are checked as on the first day, and
    the day of the receipt reports the damage.
    """
    days = store.days(RECEIPTS)[-_DAYS_REMEMBERED:]
    whole = fixed(store, RECEIPTS, days).filter(pl.col("parts") == 1, pl.col("api_host") == host)
    try:
        return int(whole.select(pl.col("reported_total").max().fill_null(0)).collect().item())
    except pl.exceptions.PolarsError:
        return 0
