"""Which days must be fetched or made again, according to the footers of their files.

The footer of every file of a day says from which fetch it was made: the time at which the fetch
ended. (The modification times of files are not used, since a copy of the folder changes them. But
see `outdated_days`.) The footer of `cdrs` also says by what the calls were made: the contract's
mark, the zone of the times, and the version of our rules (`record.RULES`). A day is

    stale      if its calls were made under another contract or zone than is in force, or by another
               version of our rules: make it again
    unmade     if it was fetched, and not all datasets were made from this fetch: make it again
    torn       if its raw_pages and its receipt are from different fetches: fetch it again
    outdated   for a dataset that was made from other `cdrs` than are stored now
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from cdr_pipeline.errors import Damaged
from cdr_pipeline.tables.contract import NO_MARK
from cdr_pipeline.tables.datasets import CDRS, DATASETS, RAW_PAGES, RECEIPTS, Dataset
from cdr_pipeline.tables.footer import CALLS, FETCHED, MadeBy, footer
from cdr_pipeline.tables.store import Store
from cdr_pipeline.window import every_day, ranges

#: Datasets that only a fetch can give, in the order of writing; the others are made from them.
ASKED_FOR: Final = (RAW_PAGES, RECEIPTS)
MADE: Final = tuple(dataset for dataset in DATASETS.values() if dataset not in ASKED_FOR)

#: What to do about stale and unmade days, for messages.
WAY_OUT: Final = (
    "`cdr-pipeline rebuild` makes such days again from raw_pages, without the API; so does the job"
    " `rebuild` in Dagster, for the days it is given"
)

#: How many ranges of days a message names one by one.
_TOLD: Final = 6


def made_by(store: Store, day: date) -> MadeBy:
    """By what a stored day of `cdrs` was made. Raises Damaged, as every function here that reads
    footers does unless it says otherwise.
    """
    return footer(store.path(CDRS, day)).made_by


def damaged_files(
    store: Store, first: date = date.min, last: date = date.max
) -> dict[date, list[Path]]:
    """The files of the days, both ends included, whose footers cannot be read, by day."""
    found: dict[date, list[Path]] = {}
    for dataset in DATASETS.values():
        for day in store.days(dataset, first, last):
            try:
                footer(store.path(dataset, day))
            except Damaged as error:
                found.setdefault(day, []).extend(error.paths)
    return found


def stale_days(store: Store, due: str, first: date = date.min, last: date = date.max) -> list[date]:
    """Stored days of `cdrs`, both ends included, that are stale if the contract with the mark `due`
    is in force. A day whose file cannot be read is left out.
    """
    now, stale = MadeBy(due, store.zone.key), []
    for day in store.days(CDRS, first, last):
        with suppress(Damaged):
            if made_by(store, day) != now:
                stale.append(day)
    return stale


def counted_otherwise(store: Store, days: Sequence[date]) -> list[date]:
    """The stored `days` of `cdrs` whose zone or version of our rules differs from the last day:
    their figures cannot be compared with it.
    """
    counted = {day: made_by(store, day)._replace(contract=NO_MARK) for day in days}
    return [day for day in days if counted[day] != counted[days[-1]]]


def stale_in_words(days: Sequence[date]) -> str:
    """The message about `stale_days`."""
    return (
        f"{days_in_words(days)} {were(days)} made under another contract or zone (CDR_CONTRACT,"
        f" CDR_TIMEZONE) than is in force, or by the rules of another version. {WAY_OUT}."
    )


def about_fetch(finished_at: datetime) -> dict[str, str]:
    """Footer metadata for the files of a fetch, and for files made from it: when it ended (UTC)."""
    return {FETCHED: f"{finished_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"}


def about_source(store: Store, source: Dataset, day: date) -> dict[str, str]:
    """Footer metadata for a file made from a stored partition: the fetch of that partition, if it
    says so; if it is of `cdrs`, also by what these were made.
    """
    told = footer(store.path(source, day))
    fetched = {FETCHED: told.fetched} if told.fetched else {}
    return fetched | (about_calls(told.made_by) if source is CDRS else {})


def about_calls(calls: MadeBy) -> dict[str, str]:
    """Footer metadata for files made from `cdrs`, or together with them."""
    return {CALLS: f"{calls}"}


def of_the_fetch(store: Store, day: date, datasets: Sequence[Dataset]) -> bool:
    """Whether these partitions of a day are stored, and come from the fetch of its receipt."""
    if not all(store.holds(one, day) for one in (RECEIPTS, *datasets)):
        return False
    due = _fetch(store, RECEIPTS, day)
    return all(_fetch(store, one, day) == due for one in datasets)


def is_made(store: Store, day: date) -> bool:
    """Whether all datasets of a day are stored, made from the fetch of its receipt and from its
    calls as they are now (a rebuild may have been killed in between). False if a file cannot be
    read.
    """
    with suppress(Damaged):
        calls = (_of_these_calls(store, day, one) for one in MADE)
        return of_the_fetch(store, day, MADE) and all(calls)
    return False


def is_torn(store: Store, day: date) -> bool:
    """Whether a day's raw_pages and its receipt are from different fetches: a run was killed
    between the two. False if one of them cannot be read.
    """
    readable = all(is_readable(store, one, day) for one in ASKED_FOR)
    return readable and not of_the_fetch(store, day, [RAW_PAGES])


def is_unmade(store: Store, day: date) -> bool:
    """Whether a day was fetched and not all datasets were made from it: the run was killed in
    between, or only some datasets were asked for.
    """
    return of_the_fetch(store, day, [RAW_PAGES]) and not is_made(store, day)


def is_ahead(store: Store, day: date, now: datetime) -> bool:
    """Whether a day was fetched later than `now`: a clock was wrong then, or is now."""
    return (_fetch(store, RECEIPTS, day) or "") > about_fetch(now)[FETCHED]


def missing_days(store: Store, first: date = date.min, last: date = date.max) -> list[date]:
    """Days between stored days, both ends included, that have neither a receipt nor calls."""
    stored = {day for one in (RECEIPTS, CDRS) for day in store.days(one, first, last)}
    between = every_day(min(stored), max(stored)) if stored else []
    return [day for day in between if day not in stored]


def to_make(store: Store, due: str | None, first: date, last: date) -> list[date]:
    """Days, both ends included, to be made again from `raw_pages`: every day that is stale if the
    contract with the mark `due` is in force, every unmade day, and days with a file that cannot be
    read; or all days, if `due` is None. Days without `raw_pages` and torn days are left out: they
    must be fetched first.
    """
    if due is None:
        days = store.days(RAW_PAGES, first, last)
    else:
        damaged = damaged_files(store, first, last)
        fetched = store.days(RECEIPTS, first, last)
        unmade = [day for day in fetched if day not in damaged and is_unmade(store, day)]
        days = sorted({*stale_days(store, due, first, last), *unmade, *damaged})
    return [day for day in days if store.holds(RAW_PAGES, day) and not is_torn(store, day)]


def is_readable(store: Store, dataset: Dataset, day: date) -> bool:
    """Whether a partition is stored, and its footer can be read."""
    with suppress(Damaged):
        return store.holds(dataset, day) and bool(footer(store.path(dataset, day)))
    return False


def outdated_days(store: Store, dataset: Dataset) -> list[date]:
    """The days of a dataset whose file is older than the file of `cdrs`, and was made from other
    calls than that has now, or cannot be read.

    Modification times are compared first, since to read a footer takes thirty times as long. So if
    a folder was copied without its times, this may miss a day; `is_unmade` does not.
    """
    return [
        day
        for day in store.days(dataset)
        if store.holds(CDRS, day)
        and store.written_at(dataset, day) < store.written_at(CDRS, day)
        and not (
            is_readable(store, dataset, day)
            and _fetch(store, dataset, day) == _fetch(store, CDRS, day)
            and _of_these_calls(store, day, dataset)
        )
    ]


def _of_these_calls(store: Store, day: date, dataset: Dataset) -> bool:
    """Whether a partition was made from, or with, calls of the contract, zone and rules that the
    day's calls have now. True if its footer does not say.
    """
    said = footer(store.path(dataset, day)).calls
    return said is None or said == f"{made_by(store, day)}"


def _fetch(store: Store, dataset: Dataset, day: date) -> str | None:
    """The fetch from which a stored partition was made, if its footer says so."""
    return footer(store.path(dataset, day)).fetched


def days_in_words(days: Sequence[date]) -> str:
    """How many days, and which, as ranges, for messages."""
    return f"{len(days):,} {'day' if len(days) == 1 else 'days'} ({ranges(days, _TOLD)})"


def were(days: Sequence[date]) -> str:
    """The verb for `days_in_words`."""
    return "was" if len(days) == 1 else "were"
