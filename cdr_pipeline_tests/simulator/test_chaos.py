"""Each fault by itself: what a client receives, and that `truth` stays right."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import pairwise
from typing import Any

import httpx
import pytest

from cdr_pipeline.simulator import Chaos, Tenant, Vendor
from cdr_pipeline_tests.simulator.conftest import DAY, WHOLE_DAY, Connect, Lister

PAGE = WHOLE_DAY | {"limit": "1000", "offset": "0"}


def vendor(chaos: str, seed: int = 1, **options: Any) -> Vendor:
    return Vendor(tenant=Tenant(calls_per_day=60), chaos=Chaos.parse(chaos, seed), **options)


def ids(listed: dict[str, Any]) -> list[str]:
    return [record["id"] for record in listed["data"]]


# ---- how faults are named


def test_a_vendor_without_chaos_is_honest() -> None:
    assert Chaos.parse("").faults == []
    assert vendor("").truth(DAY) == Vendor(tenant=Tenant(calls_per_day=60)).truth(DAY)


def test_faults_are_named_with_their_settings() -> None:
    faults = Chaos.parse("slow=0.1:2, drift,cap=50").faults
    assert [repr(fault) for fault in faults] == [
        "Drift(listings=40)",
        "Cap(limit=50)",
        "Slow(rate=0.1, seconds=2.0)",
    ]


def test_every_fault_is_explained_in_a_line() -> None:
    assert Chaos.names().keys() == {
        *("drift", "messy", "unstable", "repeat", "ceiling", "lying-total", "short", "overfull"),
        *("cap", "max-range", "expiring-token", "slow", "truncated", "html", "throttle", "flaky"),
    }
    for name, what in Chaos.names().items():
        assert 40 < len(what) < 160
        assert "\n" not in what
        Chaos.parse(name)


def test_an_unknown_fault_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no fault is called 'flakey'") as caught:
        Chaos.parse("drift,flakey=0.2")
    for name, what in Chaos.names().items():
        assert f"  {name}: {what}" in str(caught.value).splitlines()


@pytest.mark.parametrize(
    "words", ["flaky=often", "flaky=1.5", "cap=1:2", "ceiling=10:404", "repeat=1"]
)
def test_settings_that_make_no_sense_are_refused(words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Chaos.parse(words)


def test_the_same_seed_makes_the_same_chaos(connect: Connect) -> None:
    def statuses(seed: int) -> list[int]:
        flaky = vendor("throttle=0.3,html=0.3", seed)
        client = connect(flaky)
        for _ in range(20):
            client.get("/v3/cdr", params=PAGE)
        return [exchange.status for exchange in flaky.requests]

    assert statuses(5) == statuses(5) != statuses(6)


# ---- faults of the vendor's calls


def test_drift_changes_one_call_between_two_listings_and_then_ends(lister: Lister) -> None:
    drifting = vendor("drift=30")
    listed = lister(drifting)
    honest = vendor("").truth(DAY)
    held = []
    for _ in range(40):
        listed(**WHOLE_DAY)
        held.append(Counter(drifting.truth(DAY)))
    steps = [(len(after - before), len(before - after)) for before, after in pairwise(held)]
    assert set(steps[:29]) == {(1, 0), (0, 1), (1, 1)}  # arrived, vanished, edited
    assert set(steps[29:]) == {(0, 0)}
    assert drifting.truth(DAY) != honest


def test_drift_moves_rows_between_pages_and_changes_the_total(lister: Lister) -> None:
    listed = lister(vendor("drift=100"))
    pages = [listed(**WHOLE_DAY, limit=5, offset=offset) for offset in range(0, 50, 5)]
    seen = [one for page in pages for one in ids(page)]
    assert len(set(seen)) < len(seen)
    assert len({page["total"] for page in pages}) > 1


def test_after_drift_the_listed_calls_equal_the_truth(connect: Connect) -> None:
    drifting = vendor("drift=20")
    client = connect(drifting)
    for _ in range(25):
        body = client.get("/v3/cdr", params=PAGE).content
    assert body.startswith(b'{"data":[' + b",".join(drifting.truth(DAY)[::-1]) + b"],")


# ---- faults of lists


def test_an_unstable_order_differs_at_each_request(lister: Lister) -> None:
    listed = lister(vendor("unstable"))
    first, second = ids(listed(**WHOLE_DAY)), ids(listed(**WHOLE_DAY))
    assert first != second
    assert sorted(first) == sorted(second)


def test_repeat_gives_page_one_for_ever(lister: Lister) -> None:
    listed = lister(vendor("repeat"))
    assert ids(listed(limit=5, offset=5, **WHOLE_DAY)) == ids(listed(limit=5, **WHOLE_DAY))


@pytest.mark.parametrize("beyond", ["400", "500", "empty"])
def test_a_ceiling_ends_the_total_and_the_offsets(connect: Connect, beyond: str) -> None:
    client = connect(vendor(f"ceiling=20:{beyond}"))
    near = client.get("/v3/cdr", params=PAGE | {"offset": "15"}).json()
    assert (len(near["data"]), near["total"]) == (5, 20)
    past = client.get("/v3/cdr", params=PAGE | {"offset": "20"})
    if beyond == "empty":
        assert (past.json()["data"], past.json()["total"]) == ([], 20)
    else:
        assert past.status_code == int(beyond)
        assert "error" in past.json()
    narrow = PAGE | {"end_date": "2023-03-07 08:30:00"}
    assert 0 < client.get("/v3/cdr", params=narrow).json()["total"] < 20


def test_a_lying_total_differs_from_the_number_of_calls(lister: Lister) -> None:
    truth = len(vendor("").truth(DAY))
    assert lister(vendor("lying-total=-2"))(**WHOLE_DAY)["total"] == truth - 2
    listed = lister(vendor("lying-total=3:0.5"))
    assert {listed(**WHOLE_DAY)["total"] for _ in range(20)} == {truth, truth + 3}


def test_short_pages_come_although_more_follow(lister: Lister) -> None:
    listed = lister(vendor("short=0.5"))
    lengths = {len(listed(limit=10, **WHOLE_DAY)["data"]) for _ in range(30)}
    assert max(lengths) == 10
    assert 0 < min(lengths) < 10


def test_overfull_pages_have_more_than_asked_for(lister: Lister) -> None:
    listed = lister(vendor("overfull=3"))
    assert len(listed(limit=10, **WHOLE_DAY)["data"]) == 13


def test_a_cap_is_silent(lister: Lister) -> None:
    page = lister(vendor("cap=7"))(**WHOLE_DAY)
    assert (len(page["data"]), page["limit"]) == (7, 1000)


@pytest.mark.parametrize("faults", ["cap=7,overfull=3", "overfull=3,cap=7"])
def test_faults_add_up_in_any_order(lister: Lister, faults: str) -> None:
    assert len(lister(vendor(faults))(**WHOLE_DAY)["data"]) == 10


def test_ranges_over_a_day_are_refused(connect: Connect) -> None:
    client = connect(vendor("max-range"))

    def status(**params: str) -> int:
        return client.get("/v3/cdr", params={"limit": "1", "offset": "0"} | params).status_code

    assert status(**WHOLE_DAY) == 200
    assert status(start_date="2023-03-07 00:00:00", end_date="2023-03-08 00:00:00") == 200
    assert status(start_date="2023-03-07 10:00:00", end_date="2023-03-07 10:00:00") == 200
    assert status(start_date="2023-03-06 23:59:59", end_date="2023-03-08 00:00:00") == 400
    assert status(start_date="2023-03-07", end_date="2023-03-08") == 400
    assert status(start_date="2023-03-07") == 400


# ---- faults of answers


def test_signed_in_tokens_expire_and_ready_ones_do_not(connect: Connect) -> None:
    client = connect(vendor("expiring-token=3", api_key="key", token="ready"))

    def statuses(token: str) -> list[int]:
        headers = {"Authorization": f"Bearer {token}"}
        answers = [client.get("/v3/cdr", params=PAGE, headers=headers) for _ in range(5)]
        return [answer.status_code for answer in answers]

    for _ in range(2):
        signed_in = client.post("/v3/auth/token", json={"api_key": "key"}).json()["token"]
        assert statuses(signed_in) == [200, 200, 200, 401, 401]
    assert statuses("ready") == [200] * 5


def test_slow_answers_come_late(connect: Connect) -> None:
    client = connect(vendor("slow=1:0.2"))
    with pytest.raises(httpx.ReadTimeout):
        client.get("/v3/cdr", params=PAGE, timeout=0.05)
    assert client.get("/v3/cdr", params=PAGE).elapsed >= timedelta(seconds=0.2)


def test_truncated_bodies_break_off_or_look_whole(connect: Connect) -> None:
    client = connect(vendor("truncated=1"))
    endings = Counter[str]()
    for _ in range(20):
        try:
            answer = client.get("/v3/cdr", params=PAGE)
        except httpx.RemoteProtocolError:
            endings["broken off"] += 1
            continue
        assert answer.status_code == 200
        with pytest.raises(json.JSONDecodeError):
            answer.json()
        endings["looks whole"] += 1
    assert endings.keys() == {"broken off", "looks whole"}


def test_a_proxy_answers_in_html_or_not_at_all(connect: Connect) -> None:
    client = connect(vendor("html=1"))
    answers = [client.get("/v3/cdr", params=PAGE) for _ in range(20)]
    kinds = {(a.status_code, a.headers["content-type"][:9], a.text[:5]) for a in answers}
    assert kinds == {
        (200, "text/html", "<!DOC"),
        (502, "text/html", "<!DOC"),
        (200, "applicati", ""),
    }


def test_throttling_sends_a_retry_after(connect: Connect) -> None:
    client = connect(vendor("throttle=1:30"))
    forms = set()
    for _ in range(10):
        answer = client.get("/v3/cdr", params=PAGE)
        assert answer.status_code == 429
        after = answer.headers["retry-after"]
        forms.add(after.isdigit())
        if after.isdigit():
            assert after == "30"
        else:
            wait = parsedate_to_datetime(after) - datetime.now(UTC)
            assert timedelta(seconds=25) < wait <= timedelta(seconds=30)
    assert forms == {True, False}


def test_flaky_requests_fail_in_five_ways(connect: Connect) -> None:
    flaky = vendor("flaky=1")
    client = connect(flaky)
    dropped = 0
    for _ in range(40):
        try:
            assert "error" in client.get("/v3/cdr", params=PAGE).json()
        except httpx.RemoteProtocolError:
            dropped += 1
    statuses = Counter(exchange.status for exchange in flaky.requests)
    assert statuses.keys() == {0, 500, 502, 503, 504}
    assert statuses[0] == dropped


@pytest.mark.parametrize("fault", ["flaky", "throttle", "truncated", "html"])
def test_faults_have_a_rate(connect: Connect, fault: str) -> None:
    client = connect(vendor(f"{fault}=0.25"))
    good = 0
    for _ in range(200):
        try:
            answer = client.get("/v3/cdr", params=PAGE)
            good += answer.status_code == 200 and answer.content.endswith(b"}")
        except httpx.RemoteProtocolError:
            pass
    assert good / 200 == pytest.approx(0.75, abs=0.1)


def test_faults_of_answers_do_not_change_the_truth(connect: Connect) -> None:
    hostile = vendor("flaky=0.5,throttle=0.5:0,truncated=0.5,html=0.5")
    client = connect(hostile)
    honest = vendor("").truth(DAY)
    got: list[Any] | None = None
    while got is None:
        try:
            got = client.get("/v3/cdr", params=PAGE).json().get("data")
        except (httpx.RemoteProtocolError, json.JSONDecodeError):
            continue
    assert [json.loads(text) for text in honest[::-1]] == got
    assert hostile.truth(DAY) == honest


def test_all_faults_at_once_still_answer(connect: Connect) -> None:
    everything = ",".join(name for name in Chaos.names() if name not in ("throttle", "repeat"))
    hostile = vendor(everything.replace("slow", "slow=1:0"))
    client = connect(hostile)
    for _ in range(200):
        try:
            answer = client.get("/v3/cdr", params=PAGE)
        except httpx.RemoteProtocolError:
            continue
        assert answer.status_code in (200, 500, 502, 503, 504)
    assert len(hostile.requests) == 200
