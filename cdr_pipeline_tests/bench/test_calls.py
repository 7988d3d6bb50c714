"""The corpus: its truth equals the JSON as the standard library reads it."""

import json
from pathlib import Path
from typing import Any

import polars as pl

from cdr_pipeline.bench import calls
from cdr_pipeline.bench.calls import FIELDS, KEY, Corpus
from cdr_pipeline_tests.bench.conftest import CALLS, DAYS


def records(corpus: Corpus) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(b"[" + corpus.records.read_bytes() + b"]")
    return found


def truth(corpus: Corpus) -> pl.DataFrame:
    return pl.read_parquet(corpus.truth / "*.parquet")


def marked(value: Any) -> str | None:
    """A value in the notation of the truth: its type's letter, a colon, its text."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return f"b:{json.dumps(value)}"
    if isinstance(value, dict):
        return "j:" + json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return {int: "i:", float: "f:", str: "s:"}[type(value)] + str(value)


def test_every_field_and_key_of_the_truth_equals_the_record(corpus: Corpus) -> None:
    known = truth(corpus)
    sent = records(corpus)
    assert len(sent) == len(known) == CALLS * DAYS
    for record, row in zip(sent, known.iter_rows(named=True), strict=True):
        assert [name for name in FIELDS if name in record] == list(record)
        for name in FIELDS:
            if name != "additional":
                text = str(record[name])
                reached = not name.startswith("time_") or text >= "1980"
                assert row[name] == (text if text and reached else None), name
        spread = record.get("additional") or {}
        due = {KEY + key: marked(value) for key, value in spread.items()}
        got = {name: value for name, value in row.items() if name.startswith(KEY) and value}
        assert got == {name: value for name, value in due.items() if value is not None}


def test_the_lead_lists_hold_values_that_readers_get_wrong(corpus: Corpus) -> None:
    values = truth(corpus)
    first_hundred = values.head(100)
    assert {one[0] for one in values[KEY + "data1"].drop_nulls()} == set("isfb")
    both = pl.all_horizontal(pl.col(KEY + "data1", KEY + "Data1").is_not_null())
    assert not values.filter(both).is_empty()
    assert values[KEY + "sdt"].str.starts_with("s:0").drop_nulls().all()
    assert first_hundred[KEY + "mã cuối"].null_count() == 100  # a late key
    assert values[KEY + "mã cuối"].null_count() < len(values)
    number = values[KEY + "số thẻ"].drop_nulls().str.slice(2).cast(pl.Int64)
    assert bool((number > 2**53).all())


def test_the_same_seed_makes_the_same_calls_and_another_does_not(tmp_path: Path) -> None:
    same, again, other = (
        calls.make(tmp_path / name, 50, seed=seed).records.read_bytes()
        for name, seed in (("a", 7), ("b", 7), ("c", 8))
    )
    assert same == again != other


def test_more_keys_and_more_campaigns_can_be_asked_for(tmp_path: Path) -> None:
    known = truth(calls.make(tmp_path / "more", 200, keys=3, copies=10))
    assert {KEY + f"cột {n}" for n in range(3)} <= set(known.columns)
    assert known["campaign_uuid"].n_unique() > 20
