"""`cdrs`, `cdr_rejects` and `additional_keys`: the day's calls, from `raw_pages` alone."""

import polars as pl

from cdr_pipeline import checks
from cdr_pipeline.assets.layer import Made, Work, made, spec
from cdr_pipeline.errors import CheckFailed
from cdr_pipeline.record import Window
from cdr_pipeline.tables.contract import ADDITIONAL_KEYS, CDRS, RAW_PAGES, RECEIPTS, REJECTS
from cdr_pipeline.tables.flatten import Flat, flatten

#: How many new keys the metadata name.
_NAMED_KEYS = 10

SPECS = [
    spec(CDRS, deps=[RAW_PAGES], kinds=["polars"]),
    spec(REJECTS, deps=[RAW_PAGES], kinds=["polars"]),
    spec(ADDITIONAL_KEYS, deps=[RAW_PAGES], kinds=["polars"]),
]


def examine(work: Work) -> Flat:
    """Flatten the day's pages and check the result; writes nothing. Raises NotThere."""
    store, day = work.store, work.day
    work.require(RAW_PAGES)
    work.require(RECEIPTS)
    most_columns = work.settings.max_additional_columns
    flat = flatten(store.pages(day), Window.of(day), store.zone, most_columns)
    receipt = store.read(RECEIPTS, day).row(0, named=True)
    records = receipt["unique_records"] - receipt["outside_window"]
    work.findings.extend(checks.of_cdrs(flat, day, records, store))
    return flat


def build(work: Work) -> list[Made]:
    """Flatten the day's pages; replace both partitions if the blocking checks pass.

    Raises CheckFailed, NotThere.
    """
    store, day = work.store, work.day
    flat = examine(work)
    failed = [one for one in work.findings if one.check.blocking and not one.passed]
    if failed:
        raise CheckFailed(
            f"{day}: "
            + "; ".join(f"{one.check.name}: {one.summary}" for one in failed)
            + ". What is stored in cdrs is unchanged. Fetch the day again (raw_pages); if it stays"
            " so, it is a fault of this pipeline: please report it."
        )
    before = _known_keys(work)
    return [
        made(
            CDRS,
            flat.cdrs,
            store.write(CDRS, day, flat.cdrs, flat.keys),
            answered=flat.cdrs.select(pl.col("disposition") == "answered").sum().item(),
            rejects=len(flat.rejects),
            additional_columns=len(flat.keys),
        ),
        made(
            REJECTS,
            flat.rejects,
            store.write(REJECTS, day, flat.rejects),
            whole_records=flat.whole_rejects,
        ),
        made(
            ADDITIONAL_KEYS,
            flat.additional_keys,
            store.write(ADDITIONAL_KEYS, day, flat.additional_keys),
            keys=flat.additional_keys["key"].n_unique(),
            **_new_keys(flat.additional_keys, before),
        ),
    ]


def _known_keys(work: Work) -> set[str] | None:
    """The keys of the last day before this one that is stored."""
    days = [day for day in work.store.days(ADDITIONAL_KEYS) if day < work.day]
    return set(work.store.read(ADDITIONAL_KEYS, days[-1])["key"]) if days else None


def _new_keys(keys: pl.DataFrame, known: set[str] | None) -> dict[str, object]:
    """How many keys that day did not have, and which."""
    if known is None:
        return {}
    new = sorted(set(keys["key"]) - known)
    names = ", ".join(key[:40] for key in new[:_NAMED_KEYS])
    return {"new_keys": len(new), "new_keys_named": names or "none"}
