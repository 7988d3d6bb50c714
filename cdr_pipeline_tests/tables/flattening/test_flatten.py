"""From responses to typed calls and rejects: the documented record, hostile records, and laws.

Single steps are tested in `test_records`, `test_typed`, `test_counting` and `test_runs`.
"""

import pickle
from datetime import datetime, timedelta, timezone
from itertools import repeat
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdr_pipeline import page
from cdr_pipeline.record import FIELDS, Kind
from cdr_pipeline.simulator import Chaos, Tenant, Vendor
from cdr_pipeline.simulator.messy import SPOILERS, Spoiler
from cdr_pipeline.simulator.source import render
from cdr_pipeline.tables.datasets import CDRS, REJECTS, schema_faults
from cdr_pipeline.tables.flattening import counting, runs
from cdr_pipeline.tables.flattening import records as reading
from cdr_pipeline.tables.flattening.flatten import (
    Flat,
    columns_to_keep,
    flatten,
    part_of,
    united,
)
from cdr_pipeline.tables.flattening.typed import Rules
from cdr_pipeline.tables.raw_pages import StoredPage
from cdr_pipeline.window import Window
from cdr_pipeline_tests.records import (
    DAY,
    ENTRY,
    SAIGON,
    Sent,
    a_record,
    as_text,
    call,
    everything,
    flat,
    flat_pages,
    members_text,
    page_of,
    reject_rows,
    rejects_of,
    verbatim,
)

LOCAL = timezone(timedelta(hours=7))


def at(hour: int, minute: int = 0, second: int = 0) -> datetime:
    """An instant of the day, in the vendor's zone."""
    return datetime(2023, 3, 7, hour, minute, second, tzinfo=LOCAL)


# ---- the documented response, field by field

DOCUMENTED = (Path(__file__).parents[1] / "list_cdrs_response.json").read_bytes()


FIRST: dict[str, Any] = {
    "id": "366d2a16-7d73-47ad-bc94-9bab059f0f85",
    "parent_id": "366d2a16-7d73-47ad-bc94-9bab059f0f85",
    "sip_call_id": "436447b4-3755-123c-18b6-fa163e71cc82",
    "cause": "USER_BUSY",
    "duration": 27,
    "direction": "outbound",
    "recording_url": None,
    "extension": None,
    "from_number": "02873003586",
    "to_number": "0775702541",
    "receive_dest": None,
    "time_started": at(13, 36, 42),
    "time_answered": None,
    "time_ended": at(13, 37, 9),
    "time_ringing": at(13, 36, 42),
    "status": "busy",
    "billsec": 0,
    "app": "autocall",
    "press_key": "{}",
    "fullname": None,
    "email": None,
    "username": None,
    "sip_hangup_disposition": "recv_refuse",
    "campaign_uuid": "fdccdbf2-bc4b-4a0f-a7ea-cb0239daaa7d",
    "lead_uuid": "2f8b1c0f-da79-4dfb-959d-1b611cf0cd6a",
    "rate": None,
    "digits": None,
    "note": None,
    "customer_fullname": None,
    "customer_email": None,
    "demand_customer": None,
    "interest_segment": None,
    "autocall_presskey_epoch": None,
    "time_presskey": None,
    "presskey_delay": 0,
    "autocall_recording_url": None,
    "disposition": "user_busy",
    "is_root": True,
    "hour": 13,
    "ring_seconds": 27,
    "pdd_seconds": 0,
    "key_pressed": None,
    "additional": """{
        "data1": 1,
        "miengiam": "Giảm 50% gốc",
        "phone_number": "0775702541",
        "sdt": "0981218709",
        "ten": "Đỗ Thị Ngà"
      }""",
    "additional_data1__int": 1,
    "additional_miengiam": "Giảm 50% gốc",
    "additional_phone_number": "0775702541",
    "additional_sdt": "0981218709",
    "additional_ten": "Đỗ Thị Ngà",
    "extra": None,
}


SECOND = FIRST | {
    "id": "35a4bf10-d536-40a6-826f-7ff10ed43d94",
    "parent_id": "35a4bf10-d536-40a6-826f-7ff10ed43d94",
    "sip_call_id": "3188d6eb-3755-123c-18b6-fa163e71cc82",
    "duration": 20,
    "time_started": at(13, 36, 12),
    "time_ended": at(13, 36, 32),
    "time_ringing": at(13, 36, 12),
    "ring_seconds": 20,
}


@pytest.fixture(scope="module")
def documented() -> Flat:
    return flatten([StoredPage(1, DOCUMENTED)], Rules(Window.of(DAY), SAIGON))


def test_each_field_of_the_documented_response_becomes_the_expected_cell(documented: Flat) -> None:
    second, first = documented.cdrs.rows(named=True)  # by time
    for made, due in ((first, FIRST), (second, SECOND)):
        for column, value in due.items():
            assert made[column] == value, column
            assert type(made[column]) is type(value), column
        assert list(made) == list(due)
    assert documented.rejects.is_empty()


def test_the_documented_response_has_the_promised_types(documented: Flat) -> None:
    kinds = {
        Kind.TEXT: pl.String(),
        Kind.COUNT: pl.Int64(),
        Kind.TIME: pl.Datetime("us", "Asia/Ho_Chi_Minh"),
    }
    assert dict(documented.cdrs.schema) == {
        **{field.label: kinds[field.kind] for field in FIELDS},
        "disposition": pl.String(),
        "is_root": pl.Boolean(),
        "hour": pl.Int8(),
        **dict.fromkeys(("ring_seconds", "pdd_seconds"), pl.Int64()),
        "key_pressed": pl.Int8(),
        "additional": pl.String(),
        "additional_data1__int": pl.Int64(),
        **{
            f"additional_{name}": pl.String() for name in ("miengiam", "phone_number", "sdt", "ten")
        },
        "extra": pl.String(),
    }
    assert documented.rejects.schema == REJECTS.schema(SAIGON)


def test_the_keys_behind_the_documented_columns_are_known(documented: Flat) -> None:
    assert documented.keys == {
        "additional_data1__int": ["data1"],
        **{f"additional_{name}": [name] for name in ("miengiam", "phone_number", "sdt", "ten")},
    }


def test_an_empty_day_has_every_column_and_no_row() -> None:
    for nothing in (flat(), flatten([], Rules(Window.of(DAY), SAIGON))):
        assert nothing.cdrs.schema == CDRS.schema(SAIGON)
        assert nothing.rejects.schema == REJECTS.schema(SAIGON)
        assert len(nothing.cdrs) == len(nothing.rejects) == nothing.whole_rejects == 0


# ---- records that cannot be a call


@pytest.mark.parametrize(
    ("record", "id_", "reason"),
    [
        (b'{"id":"x","time_started":"2023-03-07 10:00:00","note":"\xff\xfe"}', "x", "UTF-8"),
        (b'{"id":"x","time_started":"2023-03-07 10:00:00","note":"\xed\xa0\xbd"}', "x", "UTF-8"),
        (verbatim("note", r'"\ud83d"', "x"), "x", "surrogate"),
        (verbatim("additional", r'{"ten":"\ud83d"}', "x"), "x", "surrogate"),
        (verbatim("ai_summary", r'["a\ude00b"]', "x"), "x", "surrogate"),
        (verbatim("note", '"a\x01b"', "x"), "x", "not valid JSON"),
        *((record, None, "not an object") for record in (b"null", b"17", b'"x"', b'["x",null]')),
        *(
            (record, None, "no id")
            for record in (call(""), {"time_started": "2023-03-07 10:00:00"})
        ),
        (verbatim("id", "null"), None, "no id"),
        (call("x", ""), "x", "no time_started"),
        (call("x", "0001-01-01T00:00:00Z"), "x", "no time_started"),
        ({"id": "x"}, "x", "no time_started"),
        (verbatim("time_started", "null", "x"), "x", "no time_started"),
        (call("x", "07/03/2023 13:36"), "x", "time_started is unreadable"),
        (call("x", "2023-02-30 10:00:00"), "x", "time_started is unreadable"),
        (verbatim("time_started", "[]", "x"), "x", "time_started is unreadable"),
    ],
)
def test_a_record_that_cannot_be_a_call_is_rejected_whole_and_alone(
    record: Sent, id_: str | None, reason: str
) -> None:
    made = flat(call("before", duration=5), record, call("behind"))
    assert sorted(made.cdrs["id"]) == ["before", "behind"]
    (reject,) = made.rejects.rows(named=True)
    assert (reject["id"], reject["field"], reject["payload"]) == (id_, None, as_text(record))
    assert reason in reject["reason"]
    assert made.whole_rejects == 1


def test_a_record_with_several_faults_is_one_reject_when_it_is_no_call() -> None:
    made = flat(call("x", "hôm qua", duration="abc", additional=[1]))
    assert rejects_of(made) == [("x", None, "hôm qua", "time_started is unreadable")]
    made = flat(call("x", "", duration="abc", additional=[1]))
    assert rejects_of(made) == [("x", None, None, "no time_started")]


# ---- laws


def cells(made: Flat) -> dict[str, dict[str, object]]:
    """id -> the call's cells that are not null."""
    return {
        row["id"]: {name: value for name, value in row.items() if value is not None}
        for row in made.cdrs.rows(named=True)
    }


@given(
    st.lists(a_record(), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
    st.sampled_from((1, 2, 16_000)),
    st.integers(1, 4),
)
def test_the_cells_of_a_record_do_not_depend_on_other_records(
    drawn: list[dict[str, str]], random: Random, batch_rows: int, page_rows: int
) -> None:
    records: list[Sent] = [
        members_text({"id": f'"{n}"', **members}) for n, members in enumerate(drawn)
    ]
    alone = [flat(record) for record in records]
    random.shuffle(records)
    pages = [records[n : n + page_rows] for n in range(0, len(records), page_rows)]
    with patch.object(reading, "BATCH_ROWS", batch_rows):
        together = flat_pages(pages)
    assert cells(together) == {id_: row for one in alone for id_, row in cells(one).items()}
    assert reject_rows(together) == sorted(row for one in alone for row in reject_rows(one))
    for one in alone:
        for name, keys in one.keys.items():
            assert set(keys) <= set(together.keys[name])
    assert schema_faults(CDRS, together.cdrs.schema, SAIGON) == []


@pytest.mark.parametrize("spoiler", SPOILERS, ids=lambda spoiler: spoiler.__name__)
def test_each_kind_of_messy_record_balances_and_leaves_the_others_alone(spoiler: Spoiler) -> None:
    records = Tenant(calls_per_day=40).day(DAY)
    honest = cells(flat(*(render(record) for record in records)))
    spoiled: list[Sent] = []
    for lot, record in enumerate(records):
        text = render(record)
        spoiled.append(text if lot % 2 else spoiler(record, Random(lot)) or render(record))
    made = flat(*spoiled)
    assert len(made.cdrs) + made.whole_rejects == len(records)
    untouched = {page.identity(as_text(text))[0]: text for text in spoiled[1::2]}
    made_cells = cells(made)
    assert {id_: made_cells[str(id_)] for id_ in untouched} == {
        id_: honest[str(id_)] for id_ in untouched
    }


def test_a_messy_day_balances_and_has_the_promised_schema() -> None:
    texts = Vendor(tenant=Tenant(calls_per_day=3000), chaos=Chaos.parse("messy", 4)).truth(DAY)
    pages = [texts[n : n + 200] for n in range(0, len(texts), 200)]
    made = flat_pages(pages)
    assert len(made.cdrs) + made.whole_rejects == len(texts)
    assert 0 < made.whole_rejects < len(texts) / 5
    assert schema_faults(CDRS, made.cdrs.schema, SAIGON) == []
    assert {"no id", "not an object", "invalid UTF-8", "a lone surrogate"} <= set(
        made.rejects["reason"]
    )
    with patch.object(reading, "BATCH_ROWS", 500):
        assert flat_pages(pages).cdrs.equals(made.cdrs)


@given(
    st.lists(ENTRY, max_size=12), st.lists(st.integers(0, 2)), st.integers(1, 3), st.integers(1, 3)
)
def test_a_day_flattened_in_parts_equals_the_day_flattened_at_once(
    records: list[bytes], shares: list[int], again: int, rows: int
) -> None:
    """The pages may be shared between processes in any way and any order."""
    bodies = [(1, page_of(record)) for record in records]
    bodies += [(2, page_of(record)) for record in records[::again]]
    pages = [
        StoredPage(pass_, body, place=at, offset=at) for at, (pass_, body) in enumerate(bodies)
    ]
    parts: list[list[StoredPage]] = [[], [], []]
    for stored, share in zip(pages, [*shares, *repeat(0, len(pages))], strict=False):
        parts[share].append(stored)
    rules = Rules(Window.of(DAY), SAIGON, most_columns=3)
    whole = flatten(pages, rules)
    with (
        TemporaryDirectory() as folder,
        patch.object(reading, "BATCH_ROWS", rows),
        patch.object(runs, "_RUN_ROWS", rows),
        patch.object(counting, "CHUNK_ROWS", rows),
    ):
        taken = [
            pickle.loads(pickle.dumps(part_of(part, rules, Path(folder), number)))
            for number, part in enumerate((parts[2], parts[1] + parts[0]))
        ]
        kept = columns_to_keep(taken, rules)
        if kept is not None:
            taken = [part_of(pages, rules, Path(folder), 2, kept)]
        assert everything(united(taken, rules)) == everything(whole)


def test_a_part_with_too_many_columns_makes_none() -> None:
    records = [call(n, additional={f"key{n}": n}) for n in range(4)]
    stored = [StoredPage(1, page_of(*records))]
    with patch.object(reading, "BATCH_ROWS", 1):
        part = part_of(stored, Rules(Window.of(DAY), SAIGON, most_columns=2), None)
    assert part.cut
    assert len(part.filled) == 4
    assert [name for name in part.calls.schema if name.startswith("additional_")] == []


@pytest.mark.parametrize("rows", [7, 1000])
def test_calls_of_neighbouring_days_take_no_column_from_the_days_own_calls(rows: int) -> None:
    """A vendor that filters by the date lists three days for one."""
    own = [call(n, additional={f"own{key}": n for key in range(8)}) for n in range(10)]
    before = [
        call(f"b{n}", "2023-03-06 10:00:00", additional={f"other{key}": n for key in range(40)})
        for n in range(30)
    ]
    rules = Rules(Window.of(DAY), SAIGON, most_columns=3)
    stored = [StoredPage(1, page_of(*before, *own))]
    with patch.object(reading, "BATCH_ROWS", rows):
        made = flatten(stored, rules)
    assert list(made.keys) == [f"additional_own{key}__int" for key in range(3)]
    assert made.left_out == [f"additional_own{key}__int" for key in range(3, 8)]


def test_a_column_that_only_an_older_version_had_is_not_left_out() -> None:
    older, newer = call("1", additional={"a": 1}), call("1", additional={"b": 1})
    stored = [StoredPage(1, page_of(one), place=at) for at, one in enumerate((older, newer))]
    made = flatten(stored, Rules(Window.of(DAY), SAIGON, most_columns=1))
    assert (made.keys, made.left_out) == ({"additional_b__int": ["b"]}, [])
