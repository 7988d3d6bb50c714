"""What stored receipts tell the proof of another day."""

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from cdr_pipeline.tables.datasets import RECEIPTS
from cdr_pipeline.tables.receipts import honest_total
from cdr_pipeline.tables.store import Store
from cdr_pipeline_tests.records import SAIGON


def test_the_honest_total_is_of_days_read_whole_from_the_same_host(tmp_path: Path) -> None:
    store = Store(tmp_path, SAIGON)
    known = [("a", 1, 500), ("a", 3, 900), ("b", 1, 1832), ("a", 1, 700)]
    for number, (host, parts, total) in enumerate(known, 1):
        day = date(2023, 3, number)
        row = {
            **dict.fromkeys(RECEIPTS.schema(SAIGON)),
            "api_host": host,
            "parts": parts,
            "reported_total": total,
            "verified": True,
            "started_at": datetime(2023, 3, 9, tzinfo=UTC),
        }
        frame = pl.DataFrame([row], schema=RECEIPTS.schema(SAIGON))
        store.write(RECEIPTS, day, frame)
    assert honest_total(store, "a") == 700
    assert honest_total(store, "b") == 1832
    assert honest_total(store, "c") == 0
