"""Which stored days are to be made again: those of another contract, and those of an older fetch.

The mark of the contract (`declared.Contract.mark`) stands in the metadata of a `cdrs` partition;
which fetch it was made of stands in that of everything made of one (not in the files' times, which
a copy of the folder changes).
"""

from collections.abc import Sequence
from datetime import UTC, date
from typing import Final

from cdr_pipeline.record import spans
from cdr_pipeline.tables.contract import CDRS, DATASETS, RAW_PAGES, RECEIPTS
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
    """Days, both ends included, that were fetched and of which not all was made since: their run
    was killed in between, or some datasets alone were asked for.
    """
    return [day for day in store.days(RECEIPTS, first, last) if not _made(store, day)]


def fetched(store: Store, day: date) -> str:
    """The fetch that a stored day is of, as files made of it say it."""
    finished = store.read(RECEIPTS, day).item(0, "finished_at")
    return f"{finished.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def _made(store: Store, day: date) -> bool:
    if not store.holds(CDRS, day):
        return not store.holds(RAW_PAGES, day)
    due = (fetched(store, day), None)
    return all(
        footer(store.path(dataset, day)).fetched in due
        for dataset in DATASETS.values()
        if dataset not in (RAW_PAGES, RECEIPTS) and store.holds(dataset, day)
    )


def in_words(days: Sequence[date]) -> str:
    """How many days, and which, as ranges."""
    found = spans(days)
    told = [f"{first}" if first == last else f"{first} to {last}" for first, last in found[:_TOLD]]
    more = f" and {len(found) - _TOLD:,} more ranges" if len(found) > _TOLD else ""
    return f"{len(days):,} {'day' if len(days) == 1 else 'days'} ({', '.join(told)}{more})"
