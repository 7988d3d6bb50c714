"""The benchmark's vendor lists its calls as the documented vendor does."""

import json
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from cdr_pipeline.bench.server import Serving
from cdr_pipeline_tests.bench.conftest import CALLS, DAYS

DAY = {"start_date": "2023-03-07", "end_date": "2023-03-07"}


def listed(server: Serving, **query: Any) -> dict[str, Any]:
    with urlopen(f"{server.url}/v3/cdr?{urlencode(query)}") as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def test_pages_of_a_day_are_its_calls_newest_first(server: Serving) -> None:
    pages = [listed(server, **DAY, limit=70, offset=at) for at in range(0, CALLS, 70)]
    found = [record for page in pages for record in page["data"]]
    assert {page["total"] for page in pages} == {CALLS}
    assert len({record["id"] for record in found}) == CALLS
    times = [record["time_started"] for record in found]
    assert times == sorted(times, reverse=True)
    assert {time[:10] for time in times} == {"2023-03-07"}


@pytest.mark.parametrize("offset", [CALLS, CALLS + 1000])
def test_a_page_after_the_last_call_is_empty(server: Serving, offset: int) -> None:
    assert listed(server, **DAY, limit=10, offset=offset)["data"] == []


def test_a_window_holds_the_calls_of_its_seconds_both_ends_included(server: Serving) -> None:
    whole = listed(server, **DAY, limit=CALLS, offset=0)["data"]
    first, last = whole[200]["time_started"], whole[100]["time_started"]
    part = listed(server, start_date=first, end_date=last, limit=CALLS, offset=0)
    assert part["data"] == [one for one in whole if first <= one["time_started"] <= last]
    assert part["total"] == len(part["data"])


def test_without_limit_and_offset_there_is_no_data(server: Serving) -> None:
    answer = listed(server)
    assert (answer["data"], answer["total"]) == ([], CALLS * DAYS)


def test_the_server_counts_its_requests_and_bytes(server: Serving) -> None:
    before = server.cost()
    listed(server, **DAY, limit=1, offset=0)
    after = server.cost()
    assert after["requests"] - before["requests"] == 2  # the page and the first `cost`
    assert after["bytes"] > before["bytes"] + 1000
