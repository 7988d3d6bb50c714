"""Which stored days are to be made again: those of another contract, and those of an older fetch.

The mark of the contract (`declared.Contract.mark`) stands in the metadata of a `cdrs` partition.
"""

from collections.abc import Sequence
from datetime import date
from typing import Final

from cdr_pipeline.record import spans
from cdr_pipeline.tables.contract import CDRS, RAW_PAGES, RECEIPTS
from cdr_pipeline.tables.footer import footer
from cdr_pipeline.tables.store import Store

#: What to do about days that were made under another contract.
WAY_OUT: Final = (
    "`cdr-pipeline rebuild` makes them again from raw_pages, without the API; so does the job"
    " `rebuild` in Dagster, for the days it is given"
)

#: How many ranges of days are told one by one.
_TOLD: Final = 6


def mark(store: Store, day: date) -> str:
    """The mark of the contract that a stored day of `cdrs` was made under."""
    return footer(store.path(CDRS, day)).mark


def stale_days(store: Store, due: str, first: date = date.min, last: date = date.max) -> list[date]:
    """Stored days of `cdrs`, both ends included, that were made under another mark than `due`."""
    return [day for day in store.days(CDRS, first, last) if mark(store, day) != due]


def unmade_days(store: Store, first: date = date.min, last: date = date.max) -> list[date]:
    """Days, both ends included, that were fetched and have not been made since: their run was
    killed in between, or raw_pages alone were asked for.
    """
    return [
        day
        for day in store.days(RECEIPTS, first, last)
        if store.written_at(CDRS, day) < store.written_at(RAW_PAGES, day)
    ]


def in_words(days: Sequence[date]) -> str:
    """How many days, and which, as ranges."""
    found = spans(days)
    told = [f"{first}" if first == last else f"{first} to {last}" for first, last in found[:_TOLD]]
    more = f" and {len(found) - _TOLD:,} more ranges" if len(found) > _TOLD else ""
    return f"{len(days):,} {'day' if len(days) == 1 else 'days'} ({', '.join(told)}{more})"
