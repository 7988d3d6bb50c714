"""`raw_pages` and `cdr_receipts`: a day as the vendor sent it, proved complete."""

from collections.abc import Generator
from dataclasses import asdict
from datetime import datetime

import polars as pl

from cdr_pipeline import checks
from cdr_pipeline.api.listing import Lister, Receipt
from cdr_pipeline.api.reading import Page
from cdr_pipeline.assets.layer import STEP, Made, Work, made, spec
from cdr_pipeline.checks import VERIFIED, Finding
from cdr_pipeline.errors import NotProved, Shrunk
from cdr_pipeline.tables.datasets import RAW_PAGES, RECEIPTS
from cdr_pipeline.tables.provenance import about_fetch
from cdr_pipeline.tables.raw_pages import OnGroup, PageWriter
from cdr_pipeline.tables.receipts import last_fetch
from cdr_pipeline.tables.store import Store
from cdr_pipeline.tables.versions import Difference, versions
from cdr_pipeline.window import Window

SPECS = [
    spec(RAW_PAGES, kinds=["http"]),
    spec(RECEIPTS, deps=[RAW_PAGES]),
]


def fetch(
    work: Work, lister: Lister, on_group: OnGroup | None = None
) -> Generator[list[Made], None, None]:
    """A generator of two steps: the first fetches and proves the day, replaces no partition, and
    yields an empty list; the second replaces both partitions and yields them. Raises NotProved,
    Shrunk, Damaged, and what `Client.get` raises.

    `on_group` is called with each row group of responses as it is written, also with responses that
    will not count.
    """
    store, day = work.store, work.day
    with store.writing_pages(day, on_group) as pages:
        try:
            receipt = lister.prove(Window.of(day), lambda page: pages.add(_row(page)))
        except NotProved as error:
            work.findings.append(Finding(VERIFIED, False, str(error)))
            raise
        about = about_fetch(receipt.finished_at)
        pages.close(about)
        difference = _since_last_time(work, receipt, pages)
        changed = _last_change(work, receipt, difference)
        yield []
    frame = _receipt_frame(store, receipt, difference, changed)
    store.write(RECEIPTS, day, frame, about=about)
    work.findings.append(checks.verified(frame))
    row = frame.row(0, named=True)
    figures = {key: value for key, value in row.items() if type(value) in (int, float)}
    figures["seconds"] = (receipt.finished_at - receipt.started_at).total_seconds()
    figures |= _lateness(work, receipt, changed)
    yield [made(store, day, RAW_PAGES, **figures), made(store, day, RECEIPTS, frame=frame)]


def _row(page: Page) -> dict[str, object]:
    return {
        "pass": page.pass_,
        "offset": page.offset,
        "limit": page.limit,
        "window_start": page.window.start,
        "window_end": page.window.end,
        "fetched_at": page.fetched_at,
        "body": page.body,
    }


def _since_last_time(work: Work, receipt: Receipt, pages: PageWriter) -> Difference | None:
    """New, changed and gone calls since the day was last fetched; None if its pages are not stored:
    then only the number of calls in the receipt is compared. Raises Shrunk.
    """
    store, day = work.store, work.day
    if not store.holds(RAW_PAGES, day):
        if store.holds(RECEIPTS, day):
            before = last_fetch(store, day).records
            if receipt.records < before:
                _refuse_less(work, receipt.records, before, "its raw_pages are gone")
        return None
    window = Window.of(day)
    old = versions(store.pages(day), window)
    new = versions(pages.written(), window)
    difference = Difference.between(old, new)
    fewer, others = len(new) < len(old), difference.gone_calls > len(old) / 2
    if fewer or others:
        how = f"{difference.gone_calls:,} gone, {difference.new_calls:,} new"
        _refuse_less(work, len(new), len(old), how, others=others)
    return difference


def _refuse_less(work: Work, now: int, before: int, how: str, *, others: bool = False) -> None:
    """Raises Shrunk, unless the run accepts it (`accept_shrink`). `others`: most of the stored
    calls are gone, as if another vendor was asked.
    """
    if work.accept_shrink:
        return
    doubt = " Is it the same vendor (CDR_API_BASE_URL)?" if others else ""
    raise Shrunk(
        f"the vendor now proves {now:,} calls where {before:,} are stored ({how}). What is stored"
        f" is kept.{doubt} If the vendor really deleted them, load the day again with"
        " `cdr-pipeline run --accept-shrink`, or in Dagster with the run config"
        f" `{{ops: {{{STEP}: {{config: {{accept_shrink: true}}}}}}}}`."
    )


def _last_change(work: Work, receipt: Receipt, difference: Difference | None) -> datetime | None:
    """When a fetch of the day last found other calls than the fetch before it.

    If a run was killed before it wrote its receipt, `difference` compares with the pages of that
    run; the number of calls in the receipt then compares with the fetch before.
    """
    if difference is None or not work.store.holds(RECEIPTS, work.day):
        return None
    before = last_fetch(work.store, work.day)
    if receipt.records != before.records or any(asdict(difference).values()):
        return receipt.finished_at
    return before.changed_at


def _lateness(work: Work, receipt: Receipt, changed: datetime | None) -> dict[str, float]:
    """Hours from the day's end to this fetch, if the fetch found new, changed or gone calls."""
    if changed != receipt.finished_at:
        return {}
    return {"late_hours": round(Window.of(work.day).hours_after(changed, work.store.zone), 1)}


def _receipt_frame(
    store: Store, receipt: Receipt, difference: Difference | None, changed: datetime | None
) -> pl.DataFrame:
    row = asdict(receipt) | (asdict(difference) if difference else {}) | {"last_change_at": changed}
    schema = RECEIPTS.schema(store.zone)
    return pl.DataFrame(
        [pl.Series(name, [row.get(name)], dtype=dtype) for name, dtype in schema.items()]
    )
