"""`cdrs` and `cdr_rejects`: the day's calls, typed, from `raw_pages` alone."""

import polars as pl

from cdr_pipeline import checks
from cdr_pipeline.assets.layer import Made, Work, made, spec
from cdr_pipeline.errors import CheckFailed
from cdr_pipeline.record import Window
from cdr_pipeline.tables.contract import CDRS, RAW_PAGES, RECEIPTS, REJECTS
from cdr_pipeline.tables.flatten import Flat, flatten

SPECS = [
    spec(CDRS, deps=[RAW_PAGES, RECEIPTS], kinds=["polars"]),
    spec(REJECTS, deps=[RAW_PAGES, RECEIPTS], kinds=["polars"]),
]


def examine(work: Work) -> Flat:
    """Flatten the day's pages and check the result; writes nothing. Raises NotThere."""
    store, day = work.store, work.day
    work.require(RAW_PAGES)
    work.require(RECEIPTS)
    flat = flatten(store.pages(day), Window.of(day), store.zone)
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
    sizes = store.write(CDRS, day, flat.cdrs, flat.keys), store.write(REJECTS, day, flat.rejects)
    return [
        made(
            CDRS,
            flat.cdrs,
            sizes[0],
            answered=flat.cdrs.select(pl.col("disposition") == "answered").sum().item(),
            rejects=len(flat.rejects),
            additional_columns=len(flat.keys),
        ),
        made(REJECTS, flat.rejects, sizes[1], whole_records=flat.whole_rejects),
    ]
