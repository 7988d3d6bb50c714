"""`cdrs`, `cdr_rejects` and `additional_keys`: the day's calls, from `raw_pages` alone."""

import json
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

import polars as pl

from cdr_pipeline import checks
from cdr_pipeline.assets.layer import Made, Work, made, spec
from cdr_pipeline.errors import CheckFailed, Damaged, redacted, shortened
from cdr_pipeline.record import Disposition
from cdr_pipeline.tables import kpi, survey
from cdr_pipeline.tables.datasets import ADDITIONAL_KEYS, CDRS, RAW_PAGES, RECEIPTS, REJECTS
from cdr_pipeline.tables.flattening.additional import Misfits
from cdr_pipeline.tables.flattening.ahead import ahead
from cdr_pipeline.tables.flattening.crew import Crew
from cdr_pipeline.tables.flattening.flatten import Flat
from cdr_pipeline.tables.footer import MadeBy, keys_behind
from cdr_pipeline.tables.provenance import about_calls, about_source
from cdr_pipeline.tables.receipts import last_fetch

#: How many new keys the metadata list by name.
_NAMED_KEYS: Final = 10

#: Chunks of calls that are sorted while a row group (eight chunks) is written. To sort all eight
#: ahead would save another quarter of the writing time, and take 30 MB.
_CHUNKS_AHEAD: Final = 4

#: Footer key of `cdrs`: the additional_* columns beyond CDR_MAX_ADDITIONAL_COLUMNS.
_LEFT_OUT: Final = "left_out"

SPECS = [
    spec(CDRS, deps=[RAW_PAGES], kinds=["polars"]),
    spec(REJECTS, deps=[RAW_PAGES], kinds=["polars"]),
    spec(ADDITIONAL_KEYS, deps=[RAW_PAGES], kinds=["polars"]),
]


def examine(work: Work) -> None:
    """Run the checks of `cdrs` on the stored day, and add the findings to `work`."""
    store, day = work.store, work.day
    tables = checks.Tables.stored(store, day)
    lists = checks.LeadLists(
        keys_behind([store.path(CDRS, day)]),
        json.loads(store.about(CDRS, day).get(_LEFT_OUT, "[]")),
        _misfits(work),
    )
    work.findings.extend(checks.of_cdrs(tables, last_fetch(store, day).records, lists))
    work.findings.append(checks.made_under(store, day, work.contract))


def build(work: Work, crew: Crew) -> list[Made]:
    """Flatten the day's pages; replace its three partitions if the blocking checks pass.

    Raises CheckFailed, NotThere, ProcessLost.
    """
    work.require(RAW_PAGES)
    work.require(RECEIPTS)
    before = _known_keys(work)
    flat = crew.flat()
    _write(work, flat)
    work.findings.append(checks.made_under(work.store, work.day, work.contract))
    return _made(work, flat, before)


def _write(work: Work, flat: Flat) -> None:
    """Replace the three partitions. Raises CheckFailed."""
    store, day = work.store, work.day
    fetch = about_source(store, RECEIPTS, day)
    about = {_LEFT_OUT: json.dumps(flat.left_out), **fetch}
    beside = fetch | about_calls(MadeBy(work.contract.mark, store.zone.key))
    with (
        store.writing(CDRS, day, flat.schema, flat.keys, work.contract, about) as calls,
        store.writing(REJECTS, day, REJECTS.schema(store.zone), about=beside) as rejects,
    ):
        for chunk in ahead(flat.calls(), _CHUNKS_AHEAD):
            calls.add(chunk)
        for chunk in flat.reject_rows():
            rejects.add(chunk)
        calls.close()
        rejects.close()
        tables = checks.Tables(store, day, calls.written(), rejects.written())
        lists = checks.LeadLists(flat.keys, flat.left_out, flat.misfits)
        work.findings.extend(checks.of_cdrs(tables, last_fetch(store, day).records, lists))
        _stop_if_blocked(work)
    store.write(ADDITIONAL_KEYS, day, flat.additional_keys, about=beside)


def _made(work: Work, flat: Flat, known: set[str] | None) -> list[Made]:
    """The written partitions with their figures; `known`: as `_known_keys`."""
    store, day, keys = work.store, work.day, flat.additional_keys
    answered = store.lazy(CDRS, day).select(kpi.is_of(Disposition.ANSWERED).sum())
    figures = {
        "answered": answered.collect().item(),
        "rejects": store.rows(REJECTS, day),
        "additional_columns": len(flat.keys),
        "contract": work.contract.mark,
    }
    new = {"keys": keys["key"].n_unique(), **_new_keys(keys, known)}
    return [
        made(store, day, CDRS, **figures),
        made(store, day, REJECTS, whole_records=flat.whole_rejects),
        made(store, day, ADDITIONAL_KEYS, frame=keys, **new),
    ]


def _misfits(work: Work) -> list[Misfits]:
    """The values of the day's stored calls that do not fit the contract."""
    if not work.contract.keys:
        return []
    most_columns = work.settings.max_additional_columns
    return survey.compare(work.store, work.contract, [work.day], most_columns).misfits


def _stop_if_blocked(work: Work) -> None:
    failed = [one for one in work.findings if one.check.blocking and not one.passed]
    if failed:
        named = "; ".join(f"{one.check.name}: {one.summary}" for one in failed)
        raise CheckFailed(
            f"{named}. What is stored in cdrs is unchanged. Fetch the day again (raw_pages); if it"
            " stays so, it is a fault of this pipeline: please report it."
        )


def _known_keys(work: Work) -> set[str] | None:
    """The keys of the last stored day before this one; None if there is none or it is damaged."""
    before = work.day - timedelta(days=1)
    # Mostly this is the day before: to list years of days for each day takes longer than the rest.
    held = work.store.holds(ADDITIONAL_KEYS, before)
    days = [before] if held else work.store.days(ADDITIONAL_KEYS, last=before)
    with suppress(Damaged):
        return set(work.store.read(ADDITIONAL_KEYS, days[-1])["key"]) if days else None
    return None


def _new_keys(keys: pl.DataFrame, known: set[str] | None) -> dict[str, Any]:
    """How many keys are new since the day of `known`, and the first of their names."""
    if known is None:
        return {}
    new = sorted(set(keys["key"]) - known)
    names = ", ".join(shortened(redacted(key), 40) for key in new[:_NAMED_KEYS])
    return {"new_keys": len(new), "new_keys_named": names or "none"}
