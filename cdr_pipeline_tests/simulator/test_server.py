"""The honest endpoint: the documented interface with its quirks, and options where it is silent."""

import json
from datetime import date
from typing import Any, Self

import httpx
import pytest

from cdr_pipeline.simulator import Fixed, Tenant, Vendor, serve, server
from cdr_pipeline.simulator.tenant import BLANK
from cdr_pipeline_tests.simulator.conftest import DAY, WHOLE_DAY, Connect, Lister

CAMPAIGN = "fdccdbf2-bc4b-4a0f-a7ea-cb0239daaa7d"


def call(id_: str, started: str, **fields: Any) -> dict[str, Any]:
    return BLANK | {"id": id_, "parent_id": id_, "time_started": f"2023-03-07 {started}"} | fields


def ids(listed: dict[str, Any]) -> str:
    return " ".join(record["id"] for record in listed["data"])


# ---- paging


def test_pages_of_a_day_hold_exactly_what_the_vendor_holds(connect: Connect) -> None:
    vendor = Vendor(tenant=Tenant(calls_per_day=300))
    client = connect(vendor)
    bodies = [
        client.get("/v3/cdr", params=WHOLE_DAY | {"limit": "50", "offset": str(offset)}).content
        for offset in range(0, len(vendor.truth(DAY)), 50)
    ]
    found = [text for text in vendor.truth(DAY) if any(text in body for body in bodies)]
    assert found == vendor.truth(DAY)
    assert sum(len(json.loads(body)["data"]) for body in bodies) == len(found)


def test_records_are_compact_and_not_escaped() -> None:
    text = Vendor(tenant=Tenant()).truth(DAY)[100]
    record = json.loads(text)
    assert text == json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()


def test_an_offset_of_0_is_echoed_as_minus_1(lister: Lister) -> None:
    listed = lister(Vendor(records=[call("a", "10:00:00"), call("b", "11:00:00")]))
    assert listed(limit=1, offset=0) | {"data": ""} == {
        "data": "",
        "limit": 1,
        "offset": -1,
        "total": 2,
    }
    assert listed(limit=1, offset=1)["offset"] == 1


def test_without_limit_and_offset_there_is_no_data(connect: Connect) -> None:
    answer = connect(Vendor(records=[call("a", "10:00:00")])).get("/v3/cdr")
    assert answer.status_code == 200
    assert answer.json() == {"data": [], "limit": -1, "offset": -1, "total": 1}


def test_an_offset_past_the_end_gives_an_empty_page(lister: Lister) -> None:
    listed = lister(Vendor(records=[call("a", "10:00:00")]))(offset=5)
    assert (listed["data"], listed["total"]) == ([], 1)


# ---- order


@pytest.fixture
def ten() -> list[dict[str, Any]]:
    return [call(letter, f"10:00:0{n}") for n, letter in enumerate("abcdefghij")]


@pytest.mark.parametrize(
    ("order", "found"), [({}, "j i h g f e d c b a"), ({"order": "oldest"}, "a b c d e f g h i j")]
)
def test_calls_come_newest_first_or_oldest_first(
    lister: Lister, ten: list[dict[str, Any]], order: dict[str, Any], found: str
) -> None:
    assert ids(lister(Vendor(records=ten, **order))()) == found


def test_a_shuffled_order_is_the_same_each_time(lister: Lister, ten: list[dict[str, Any]]) -> None:
    listed = lister(Vendor(records=ten, order="shuffled"))
    assert ids(listed()) == ids(listed())
    assert ids(listed()) not in ("j i h g f e d c b a", "a b c d e f g h i j")
    assert sorted(ids(listed()).split()) == list("abcdefghij")


# ---- filters


@pytest.fixture(scope="module")
def filtered() -> Vendor:
    return Vendor(
        records=[
            call("auto", "09:00:00", status="answered", campaign_uuid=CAMPAIGN,
                 from_number="02873003586", to_number="0899888999", direction="outbound",
                 time_ended="2023-03-07 09:01:00"),
            call("in", "10:00:00", status="no-answered", from_number="0899888999",
                 to_number="02873003586", direction="inbound",
                 time_ended="2023-03-07 10:00:30"),
            call("local", "23:59:30", status="answered", from_number="101", to_number="102",
                 extension="101", direction="local", time_ended="2023-03-08 00:00:30"),
        ]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({}, "local in auto"),
        ({"status": "answered"}, "local auto"),
        ({"status": "ANSWERED"}, "local auto"),
        ({"extension": "101"}, "local"),
        ({"hotline": "02873003586"}, "auto"),
        ({"phone": "0899888999"}, "in auto"),
        ({"direction": "inbound"}, "in"),
        ({"campaign_uuid": CAMPAIGN}, "auto"),
        ({"phone": "0899888999", "direction": "outbound"}, "auto"),
        ({"phone": "899888999"}, ""),
        ({"start_date": "2023-03-07 09:30:00"}, "local in"),
        ({"end_date": "2023-03-07 09:30:00"}, "auto"),
        ({"start_date": "2023-03-07", "end_date": "2023-03-07"}, "local in auto"),
        ({"start_date": "2023-03-08", "end_date": "2023-03-09"}, ""),
        ({"start_date": "2023-03-08", "end_date": "2023-03-07"}, ""),
        ({"start_date_ended": "2023-03-08", "end_date_ended": "2023-03-08"}, "local"),
        ({"start_date_ended": "2023-03-07", "end_date_ended": "2023-03-07"}, "in auto"),
        ({"start_date_ended": "2023-03-07 10:00:00"}, "local in"),
        ({"end_date_ended": "2023-03-07 10:00:00"}, "auto"),
        ({"start_date": "2023-03-07", "end_date_ended": "2023-03-07 10:00:30"}, "in auto"),
    ],
)
def test_each_parameter_filters(
    lister: Lister, filtered: Vendor, params: dict[str, str], found: str
) -> None:
    listed = lister(filtered)(**params)
    assert ids(listed) == found
    assert listed["total"] == len(found.split())


def test_a_range_may_span_days(lister: Lister) -> None:
    tenant = Tenant(calls_per_day=40)
    listed = lister(Vendor(tenant=tenant))(start_date="2023-03-06", end_date="2023-03-08")
    days = [tenant.day(date(2023, 3, day)) for day in (6, 7, 8)]
    assert listed["total"] == sum(map(len, days))


class Tuesday(date):
    """A `date` whose today is Tuesday, 2023-03-07."""

    @classmethod
    def today(cls) -> Self:
        return cls(2023, 3, 7)


def test_an_open_range_of_a_tenant_is_a_week_and_without_bounds_ends_today(
    lister: Lister, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdr_pipeline.simulator.tenant.date", Tuesday)
    listed = lister(Vendor(tenant=Tenant(calls_per_day=40)))

    def days(**range_: str) -> set[str]:
        return {record["time_started"][:10] for record in listed(**range_)["data"]}

    assert days(start_date="2023-03-06") == {f"2023-03-{day:02}" for day in range(6, 13)}
    assert days(end_date="2023-03-12") == {f"2023-03-{day:02}" for day in range(6, 13)}
    assert days() == {f"2023-03-{day:02}" for day in range(1, 8)}


# ---- bounds


@pytest.mark.parametrize(
    ("bounds", "found"),
    [("inclusive", "last inner first"), ("exclusive", "inner"), ("half-open", "inner first")],
)
def test_bounds_with_times_are_inclusive_exclusive_or_half_open(
    lister: Lister, bounds: Any, found: str
) -> None:
    records = [call("first", "10:00:00"), call("inner", "10:30:00"), call("last", "11:00:00")]
    listed = lister(Vendor(records=records, bounds=bounds))
    assert ids(listed(start_date="2023-03-07 10:00:00", end_date="2023-03-07 11:00:00")) == found


@pytest.mark.parametrize("bounds", ["inclusive", "exclusive", "half-open"])
def test_dates_are_whole_days_whatever_the_bounds(lister: Lister, bounds: Any) -> None:
    records = [call("first", "00:00:00"), call("last", "23:59:59")]
    assert ids(lister(Vendor(records=records, bounds=bounds))(**WHOLE_DAY)) == "last first"


@pytest.mark.parametrize("bounds", ["inclusive", "exclusive", "half-open"])
def test_a_range_with_one_more_second_on_each_side_lists_the_whole_day(
    lister: Lister, bounds: Any
) -> None:
    tenant = Tenant(calls_per_day=50)
    window = {"start_date": "2023-03-06 23:59:59", "end_date": "2023-03-08 00:00:00"}
    listed = lister(Vendor(tenant=tenant, bounds=bounds))(**window)["data"]
    day = [record for record in listed if record["time_started"].startswith(str(DAY))]
    assert len(day) == len(tenant.day(DAY))
    assert (len(listed) > len(day)) == (bounds != "exclusive")


# ---- authentication


def test_a_request_needs_the_ready_token(connect: Connect) -> None:
    client = connect(Vendor(records=[], token="secret"))
    assert client.get("/v3/cdr", headers={"Authorization": "Bearer secret"}).status_code == 200
    for headers in ({}, {"Authorization": "Bearer other"}):
        answer = client.get("/v3/cdr", headers=headers)
        assert (answer.status_code, answer.json()) == (
            401,
            {"error": "token is invalid or expired"},
        )


def test_an_api_key_is_exchanged_for_a_token(connect: Connect) -> None:
    client = connect(Vendor(records=[], api_key="key"))
    signed_in = client.post("/v3/auth/token", json={"api_key": "key"}).json()
    assert signed_in.keys() == {
        *("client_id", "domain_uuid", "expired_in", "refresh_token"),
        *("token", "token_type", "user_id"),
    }
    assert signed_in["expired_in"] == 160 * 24 * 3600
    assert (signed_in["token_type"], signed_in["refresh_token"]) == ("Bearer", "")
    headers = {"Authorization": f"Bearer {signed_in['token']}"}
    assert client.get("/v3/cdr", headers=headers).status_code == 200


def test_a_wrong_api_key_is_refused(connect: Connect) -> None:
    client = connect(Vendor(records=[], api_key="key"))
    assert client.post("/v3/auth/token", json={"api_key": "other"}).status_code == 401
    for content in (b"", b"null", b"{}", b"[]"):
        answer = client.post("/v3/auth/token", content=content)
        assert (answer.status_code, answer.json()) == (
            400,
            {"error": [{"(root)": "api_key is required"}]},
        )


def test_without_token_and_key_anybody_may_ask(connect: Connect) -> None:
    assert connect(Vendor(records=[])).get("/v3/cdr").status_code == 200


# ---- errors


@pytest.mark.parametrize(
    "params",
    [
        {"limit": "many"},
        {"limit": "-2"},
        {"offset": "x"},
        {"start_date": "07/03/2023"},
        {"end_date": "2023-03-07T10:00:00"},
        {"end_date_ended": "2023-02-30"},
        {"start_date": "2023-01-01", "end_date": "2023-12-31"},
        {"start_date": "2023-01-01", "end_date_ended": "2023-12-31"},
    ],
)
def test_a_parameter_that_cannot_be_read_is_a_400_that_names_it(
    connect: Connect, params: dict[str, str]
) -> None:
    answer = connect(Vendor(records=[])).get("/v3/cdr", params=params)
    assert answer.status_code == 400
    assert answer.json()["error"][0].keys() == {next(iter(params))}


def test_errors_have_the_vendors_shape(connect: Connect) -> None:
    client = connect(Vendor(records=[], forbidden=True))
    answers = {
        403: client.get("/v3/cdr"),
        404: client.get("/v3/cdrs"),
        405: client.post("/v3/cdr"),
    }
    for status, answer in answers.items():
        assert answer.status_code == status
        assert isinstance(answer.json()["error"], str)
        assert answer.headers["content-type"].startswith("application/json")


# ---- given records


def test_the_documented_response_can_be_served_again(lister: Lister) -> None:
    records = [call("a", "13:36:12"), call("b", "13:36:42")]
    assert lister(Vendor(records=records))()["data"] == records[::-1]


def test_bytes_are_served_verbatim(connect: Connect) -> None:
    texts = [
        b'{ "id" : "1",\t"time_started":"2023-03-07 10:00:00", "note":"\xff" }',
        b'{"id":"2","id":"3","time_started":"2023-03-07 11:00:00","note":"\\ud83d"}',
    ]
    vendor = Vendor(records=[*texts, ("2023-03-07 09:00:00", b"null")], order="oldest")
    body = connect(vendor).get("/v3/cdr", params=WHOLE_DAY | {"limit": "9", "offset": "0"}).content
    assert body.startswith(b'{"data":[null,' + b",".join(texts) + b"],")
    assert vendor.truth(DAY) == [b"null", *texts]


def test_a_record_without_a_readable_time_needs_a_start() -> None:
    with pytest.raises(ValueError, match="say when this call began"):
        Fixed([b'{"id":"1","time_started":"yesterday"}'])


# ---- serving


def test_the_vendor_keeps_its_requests(connect: Connect) -> None:
    vendor = Vendor(records=[call("a", "10:00:00")], keep_bodies=True)
    client = connect(vendor)
    answer = client.get("/v3/cdr", params={"limit": "1", "offset": "0"})
    client.get("/nowhere")
    first, second = vendor.requests
    assert (first.method, first.path, first.status) == ("GET", "/v3/cdr", 200)
    assert first.params == {"limit": "1", "offset": "0"}
    assert first.body == answer.content
    assert (second.path, second.status) == ("/nowhere", 404)


def test_answers_are_compressed_for_those_who_accept_it(connect: Connect) -> None:
    client = connect(Vendor(tenant=Tenant(calls_per_day=50)))
    params = WHOLE_DAY | {"limit": "20", "offset": "0"}
    answer = client.get("/v3/cdr", params=params)
    assert answer.headers["content-encoding"] == "gzip"
    plain = client.get("/v3/cdr", params=params, headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == answer.content


def test_a_served_vendor_ends_with_its_context() -> None:
    with serve(Vendor(records=[])) as running:
        assert httpx.get(f"{running.base_url}/v3/cdr").status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{running.base_url}/v3/cdr")


def test_no_websocket_library_is_loaded() -> None:
    config = server._config(Vendor(records=[]))
    config.load()
    assert config.ws_protocol_class is None
