"""Spoiled records: pages that list them are whole, and a day has every kind of them."""

import json
from collections import Counter
from random import Random
from typing import Any

import pytest

from cdr_pipeline.simulator import Chaos, Tenant, Vendor
from cdr_pipeline.simulator.messy import SPOILERS, Spoiler
from cdr_pipeline.simulator.source import render
from cdr_pipeline_tests.simulator.conftest import DAY, WHOLE_DAY, Connect

PAGE = WHOLE_DAY | {"limit": "2000", "offset": "0"}


def vendor(chaos: str, calls: int = 1000) -> Vendor:
    return Vendor(tenant=Tenant(calls_per_day=calls), chaos=Chaos.parse(chaos, seed=4))


def spoiled(spoiler: Spoiler, lot: int = 0) -> bytes:
    record = Tenant(calls_per_day=60).day(DAY)[10]
    return spoiler(record, Random(lot)) or render(record)


def test_a_record_is_spoiled_the_same_way_each_time() -> None:
    assert vendor("messy").truth(DAY) == vendor("messy").truth(DAY)


@pytest.mark.parametrize("rate", [0, 0.3, 1])
def test_the_rate_is_the_share_of_records_that_are_spoiled(rate: float) -> None:
    pairs = zip(vendor("").truth(DAY), vendor(f"messy={rate}").truth(DAY), strict=True)
    assert sum(a != b for a, b in pairs) / 950 == pytest.approx(rate, abs=0.1)


def test_a_page_of_spoiled_records_is_whole(connect: Connect) -> None:
    messy = vendor("messy=1")
    body = connect(messy).get("/v3/cdr", params=PAGE).content
    assert body.startswith(b'{"data":[' + b",".join(messy.truth(DAY)[::-1]) + b"],")
    page = json.loads(body.decode(errors="replace"))
    assert len(page["data"]) == page["total"] == len(messy.truth(DAY))


def test_spoiled_records_match_the_same_filters_as_before(connect: Connect) -> None:
    params = PAGE | {"end_date": "2023-03-07 09:59:59", "direction": "outbound"}
    honest = connect(vendor("")).get("/v3/cdr", params=params).json()["total"]
    assert (
        connect(vendor("messy=1"))
        .get("/v3/cdr", params=params)
        .content.endswith(b'"total":%d}' % honest)
    )


def test_drifting_records_are_spoiled_too(connect: Connect) -> None:
    both = vendor("messy=1,drift=50")
    client = connect(both)
    for _ in range(60):
        body = client.get("/v3/cdr", params=PAGE).content
    assert body.startswith(b'{"data":[' + b",".join(both.truth(DAY)[::-1]) + b"],")
    assert both.truth(DAY) != vendor("messy=1").truth(DAY)


@pytest.mark.parametrize("spoiler", SPOILERS, ids=lambda spoiler: spoiler.__name__)
def test_every_spoiler_spoils_and_stays_json(spoiler: Spoiler) -> None:
    texts = [spoiled(spoiler, lot) for lot in range(20)]
    assert any(text != render(Tenant(calls_per_day=60).day(DAY)[10]) for text in texts)
    for text in texts:
        json.loads(text.decode(errors="replace"))
        assert b"\n" not in text


def test_a_day_meets_every_spoiler() -> None:
    texts = vendor("messy=1", 4000).truth(DAY)
    whole = b"\n".join(texts)
    for trace in (
        *(b'"duration":"abc"', b'"\xff\xfe"', rb"\ud83d", rb"\u0000", "\u2028".encode(), b"1e400"),
        *("Tên".encode(), b'"ten__int"', b'"ai_summary"', b'"press_key":{"key":4}', b"127"),
        *(b'"additional":null', b'"additional":[]', b'"additional":"kh', b'"additional":"{'),
        *(b'"id":null', b'"time_started":""', b'"time_started":1678171002', "😀".encode()),
    ):
        assert trace in whole, trace
    kinds = Counter(type(_read(text)).__name__ for text in texts)
    assert kinds.keys() == {"dict", "list", "str", "int", "NoneType"}
    wide = [
        value
        for text in texts
        if isinstance(record := _read(text), dict)
        and isinstance(additional := record.get("additional"), dict)
        for value in additional.values()
        if isinstance(value, int) and value.bit_length() == 70
    ]
    assert wide


def _read(text: bytes) -> Any:
    return json.loads(text.decode(errors="replace"))
