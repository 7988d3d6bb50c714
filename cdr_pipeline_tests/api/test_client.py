"""One request over real HTTP: what is sent, sign-in, repeated attempts, and error messages."""

import asyncio
import socket
import threading
import time
from datetime import UTC, datetime, timedelta, tzinfo
from email.utils import format_datetime
from itertools import pairwise
from typing import Any, Self
from urllib.parse import unquote

import pytest
from starlette.types import Receive, Scope, Send

from cdr_pipeline import __version__
from cdr_pipeline.api.budget import Budget
from cdr_pipeline.api.client import Client, Patience, Query, post
from cdr_pipeline.api.reading import SECOND
from cdr_pipeline.errors import (
    ApiError,
    Refused,
    SettingsError,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from cdr_pipeline.page import Seen, see
from cdr_pipeline.settings import Connection
from cdr_pipeline.simulator import Chaos, Tenant, Vendor
from cdr_pipeline_tests.api.conftest import (
    DAY,
    KEY,
    QUICK,
    TOKEN,
    WINDOW,
    Clock,
    Connect,
    Reply,
    Script,
    ask,
    error,
    granted,
    secret,
)
from cdr_pipeline_tests.hook import Hook

PAGE = b'{"data":[{"id":"1","time_started":"2023-03-07 10:00:00"}],"total":1}'
OF_THE_DAY = Query(start_date=WINDOW.start, end_date=WINDOW.end - SECOND)


# ---- what is sent


def test_a_request_carries_token_version_limit_and_offset_and_nothing_that_was_not_asked(
    connect: Connect,
) -> None:
    script = Script(Reply())
    ask(connect(script))
    (heard,) = script.heard
    assert (heard.method, heard.path) == ("GET", "/v3/cdr")
    assert heard.headers["authorization"] == f"Bearer {TOKEN}"
    assert heard.headers["user-agent"] == f"cdr-pipeline/{__version__}"
    assert heard.headers["content-type"] == "application/json"
    assert heard.params == {"limit": "500", "offset": "0"}


# For each documented parameter, see `cli.test_ask`.
def test_a_server_that_does_not_decode_forms_reads_the_same_query(connect: Connect) -> None:
    """To such a server `+` is a plus and not a space."""
    script = Script(Reply())
    query = Query(start_date=datetime(2023, 3, 6, 17, 20, 58), phone="+84 899&x=%é")
    ask(connect(script), query)
    (heard,) = script.heard
    pairs = (pair.split("=") for pair in heard.query.split("&"))
    assert {name: unquote(value) for name, value in pairs} == heard.params
    assert heard.params["phone"] == "+84 899&x=%é"


def test_an_answer_holds_the_bytes_that_the_vendor_wrote(connect: Connect) -> None:
    vendor = Vendor(tenant=Tenant(calls_per_day=40), keep_bodies=True, token=TOKEN)
    answer = ask(connect(vendor), OF_THE_DAY)
    assert answer.body == vendor.requests[-1].body
    assert len(answer.value) == len(vendor.truth(DAY)) > 0
    assert answer.retries == 0
    assert answer.fetched_at.tzinfo is UTC


# ---- signing in


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_wrong_key_is_one_clear_error(connect: Connect, status: int) -> None:
    script = Script(error(status, said=f"api_key {KEY} is invalid"))
    match = f"answered {status} .* does not accept CDR_API_KEY"
    with pytest.raises(Unauthorized, match=match) as caught:
        ask(connect(script, token=None, api_key=KEY))
    assert len(script.heard) == 1
    assert KEY not in all_messages(caught.value)


@pytest.mark.parametrize("status", [302, 404])
def test_a_host_where_nobody_can_sign_in_is_named_at_once(connect: Connect, status: int) -> None:
    script = Script(error(status))
    with pytest.raises(Refused, match=f"answered {status}.* Check CDR_API_BASE_URL"):
        ask(connect(script, token=None, api_key=KEY))
    assert len(script.heard) == 1


def test_signing_in_is_tried_again_like_any_request(connect: Connect) -> None:
    nothing = [Reply(body=body) for body in (b"<html>", b"[]", b'{"token":""}', b'{"token":null}')]
    script = Script(error(503), *nothing, granted("t"), Reply())
    assert ask(connect(script, token=None, api_key=KEY)).retries == 5
    assert script.heard[-1].headers["authorization"] == "Bearer t"


@pytest.mark.parametrize("token", ["QXQ QXQ", "QXQ\nQXQ", "QXQ\x00", "QXQ-ö", "QXQ\ud800"])
def test_a_token_that_no_header_can_hold_is_an_error_without_its_text(
    connect: Connect, token: str
) -> None:
    script = Script(granted(token))
    with pytest.raises(Unavailable, match="a token that cannot be sent") as caught:
        ask(connect(script, token=None, api_key=KEY))
    assert "QXQ" not in all_messages(caught.value)
    assert {heard.method for heard in script.heard} == {"POST"}


# ---- refusals


def all_messages(error: BaseException | None) -> str:
    """The messages of an error and of all its causes."""
    said = ""
    while error:
        said += f"{error!s} {error!r}"
        error = error.__cause__ or error.__context__
    return said


@pytest.mark.parametrize(
    ("status", "kind", "hint"),
    [
        (400, Refused, "400"),
        (401, Unauthorized, "CDR_API_TOKEN"),
        (403, Unauthorized, "CDR_API_TOKEN"),
        (404, Refused, "CDR_API_BASE_URL"),
        (405, Refused, "CDR_API_BASE_URL"),
        (410, Refused, "410"),
        (422, Refused, "422"),
    ],
)
@pytest.mark.parametrize("shape", ["text", "list", "html"])
def test_a_4xx_is_one_error_in_the_vendors_words_without_our_token(
    connect: Connect, status: int, kind: type[ApiError], hint: str, shape: str
) -> None:
    words = f"sorry, not with {TOKEN} today"
    shapes: dict[str, Reply] = {
        "text": error(status, said=words),
        "list": error(status, said=[{"(root)": words}]),
        "html": Reply(status, f"<html>{words}</html>".encode()),
    }
    script = Script(shapes[shape])
    client = connect(script)
    with pytest.raises(kind) as caught:
        ask(client)
    assert getattr(caught.value, "status", status) == status
    assert f"{client.host} answered {status}" in (message := str(caught.value))
    assert hint in message
    assert ("sorry, not with *** today" in message) == (shape != "html")
    assert TOKEN not in all_messages(caught.value)
    assert len(script.heard) == 1


def test_a_message_that_is_cut_shows_no_part_of_a_token(connect: Connect) -> None:
    for before in range(170, 200):
        script = Script(error(400, said="." * before + TOKEN))
        with pytest.raises(Refused) as caught:
            ask(connect(script))
        assert TOKEN[:8] not in str(caught.value)


def test_phone_numbers_and_links_in_the_vendors_words_are_cut(
    connect: Connect,
) -> None:
    said = "no calls of 0939 815 815 on 2023-03-07, see https://vendor.example/rec/1.wav"
    with pytest.raises(Refused) as caught:
        ask(connect(Script(error(400, said=said))))
    assert "(no calls of 093… on 2023-03-07, see htt…)" in str(caught.value)


def test_a_token_from_a_sign_in_is_not_in_messages_either(connect: Connect) -> None:
    script = Script(granted(TOKEN), error(403, said=f"{TOKEN} may not"))
    with pytest.raises(Unauthorized) as caught:
        ask(connect(script, token=None, api_key=KEY))
    assert TOKEN not in all_messages(caught.value)


@pytest.mark.parametrize(
    ("location", "where"),
    [
        (
            {"location": f"https://me:{TOKEN}@vn.example:8443/{TOKEN}"},
            " to https://vn.example:8443",
        ),
        ({}, ""),
    ],
)
def test_a_redirect_is_named_and_not_followed(
    connect: Connect, location: dict[str, str], where: str
) -> None:
    script = Script(Reply(302, b"", location))
    with pytest.raises(Refused) as caught:
        ask(connect(script))
    assert f"302, a redirect{where}. Check CDR_API_BASE_URL" in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert len(script.heard) == 1


# ---- repeated attempts

# For all other bodies that are no page, see `test_page`.
NO_PAGES = {
    "html": b"<!DOCTYPE html><html><body>Just a moment...</body></html>",
    "empty": b"",
    "cut off": PAGE[:-20],
    "an error beside an empty page": b'{"error":"busy","data":[],"total":0}',
}


@pytest.mark.parametrize("body", NO_PAGES.values(), ids=NO_PAGES)
def test_a_200_that_is_no_page_is_asked_for_again_and_given_up_at_last(
    connect: Connect, body: bytes
) -> None:
    script = Script(Reply(body=body), Reply(body=body), Reply(body=PAGE))
    answer = ask(connect(script))
    assert (answer.body, answer.retries) == (PAGE, 2)
    for_ever = Script(Reply(body=body))
    with pytest.raises(Unavailable, match=r"answered 200, but .* \(6 tries\)"):
        ask(connect(for_ever))
    assert len(for_ever.heard) == 6


@pytest.mark.parametrize("status", [200, 500, 503])
def test_an_error_that_lasts_is_told_in_the_vendors_words(connect: Connect, status: int) -> None:
    script = Script(error(status, said=[{"(root)": f"no {TOKEN} here"}]))
    with pytest.raises(Unavailable) as caught:
        ask(connect(script))
    assert f"answered {status}" in (message := str(caught.value))
    assert "(no *** here) (6 tries)" in message
    assert TOKEN not in all_messages(caught.value)


@pytest.mark.parametrize("status", [500, 504])
def test_a_500_or_504_of_a_large_page_suggests_a_smaller_page(
    connect: Connect, status: int
) -> None:
    """A vendor answered 500 to too large a limit, and the message blamed only the host."""
    client = connect(Script(error(status, said="internal error")))
    way_out = r"Try again later, or with a smaller CDR_PAGE_SIZE, or check CDR_API_BASE_URL\.$"
    with pytest.raises(Unavailable, match=rf"{status} \(internal error\) \(6 tries\)\. {way_out}"):
        ask(client)
    with pytest.raises(Unavailable, match=r"Try again later, or check CDR_API_BASE_URL\.$"):
        client.get(Query(), limit=1, offset=0, read=see)


@pytest.mark.parametrize(
    "vendor", [Script(error(500)), Vendor(records=[], chaos=Chaos.parse("slow=1:0.3"))]
)
def test_a_sign_in_that_fails_says_nothing_of_pages(connect: Connect, vendor: Any) -> None:
    with pytest.raises(Unavailable, match=r"Try again later, or check CDR_API_BASE_URL\.$"):
        ask(connect(vendor, token=None, api_key=KEY, timeout=0.05))


def test_a_null_error_is_not_told(connect: Connect) -> None:
    with pytest.raises(Unavailable, match=r"it has no `total` \(6 tries\)"):
        ask(connect(Script(Reply(body=b'{"error":null,"data":[]}'))))


@pytest.mark.parametrize("status", [200, 400, 500])
def test_half_a_character_in_the_vendors_words_becomes_a_question_mark(
    connect: Connect, status: int
) -> None:
    script = Script(Reply(status, rb'{"error": "cut \ud83d off"}'))
    with pytest.raises(ApiError, match=r"\(cut \? off\)"):
        ask(connect(script))


def test_a_client_that_is_stopped_tries_nothing_again_and_asks_for_nothing_more(
    connect: Connect,
) -> None:
    script = Script(Reply(body=b"broken"))
    client = connect(script)

    def read(body: bytes) -> Seen:
        client.stop()
        return see(body)

    with pytest.raises(Unavailable, match=r"\(1 try\)"):
        client.get(Query(), limit=1, offset=0, read=read)
    with pytest.raises(Unavailable, match="the run has ended"):
        client.get(Query(), limit=1, offset=0, read=read)
    assert len(script.heard) == 1


@pytest.mark.parametrize("chaos", ["truncated=0.5", "flaky=0.5", "html=0.5", "throttle=0.5:0"])
def test_answers_that_break_on_the_way_are_got_in_the_end(connect: Connect, chaos: str) -> None:
    vendor = Vendor(tenant=Tenant(calls_per_day=40), chaos=Chaos.parse(chaos, seed=3))
    client = connect(vendor, patience=Patience(30, 30, 20, 0.001, 0.002))
    answers = [ask(client, OF_THE_DAY) for _ in range(8)]
    assert {len(answer.value) for answer in answers} == {len(vendor.truth(DAY))}
    assert sum(answer.retries for answer in answers) == len(vendor.requests) - 8 > 0


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 520])
def test_a_passing_error_is_tried_again_within_bounds(connect: Connect, status: int) -> None:
    script = Script(error(status), error(status), Reply())
    client = connect(script)
    assert ask(client).retries == 2
    few = 5 if status != 429 else QUICK.attempts
    for attempts, tries in ((None, QUICK.attempts), (5, few)):
        script = Script(error(status, said=TOKEN))
        match = rf"answered {status} \(\*\*\*\) \({tries} tries\)"
        with pytest.raises(Unavailable, match=match) as caught:
            ask(client_on(connect, script, client), attempts=attempts)
        assert TOKEN not in all_messages(caught.value)
        assert len(script.heard) == tries


def client_on(connect: Connect, script: Script, client: Client) -> Client:
    """The same client, after the stage has got another script."""
    connect(script)
    return client


def test_a_vendor_that_never_answered_is_given_up_sooner(connect: Connect) -> None:
    script = Script(error(503))
    with pytest.raises(Unavailable):
        ask(connect(script))
    assert len(script.heard) == QUICK.first_attempts < QUICK.attempts


def test_tries_are_bounded_in_time_too(connect: Connect) -> None:
    script = Script(error(503))
    with pytest.raises(Unavailable):
        ask(connect(script, patience=Patience(10**6, 10**6, 0.5, 0.001, 0.002)))
    assert 1 < len(script.heard) < 10**4


def test_pauses_grow_and_end_growing(connect: Connect, clock: Clock) -> None:
    script = Script(error(503))
    with pytest.raises(Unavailable):
        ask(connect(script, patience=Patience(12, 12, 10**6, first_pause=1, longest_pause=10)))
    assert len(clock.pauses) == 11
    assert max(clock.pauses) <= 11
    assert all(1 <= first < later + 1 for first, later in pairwise(clock.pauses))


def test_an_answer_that_does_not_come_in_time_is_not_waited_for(connect: Connect) -> None:
    vendor = Vendor(records=[], chaos=Chaos.parse("slow=1:0.3"))
    hasty = Patience(attempts=2, first_attempts=2, seconds=20, first_pause=0.001)
    with pytest.raises(Unavailable, match=r"in time \(2 tries\).* a smaller CDR_PAGE_SIZE"):
        ask(connect(vendor, patience=hasty, timeout=0.05))


def test_a_body_that_comes_byte_by_byte_is_not_waited_for_either(connect: Connect) -> None:
    async def trickling(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for byte in PAGE * 100:
            await asyncio.sleep(0.02)
            await send({"type": "http.response.body", "body": bytes([byte]), "more_body": True})

    client = connect(trickling, timeout=0.3, patience=Patience(attempts=1, first_attempts=1))
    with pytest.raises(Unavailable, match="did not answer in time"):
        ask(client)


def test_a_host_that_cannot_be_reached_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        host = "{}:{}".format(*taken.getsockname())
    connection = Connection(f"http://{host}", secret(TOKEN), None)
    budget = Budget(host, per_second=0, in_flight=1)
    client = Client(connection, budget, timeout=5, patience=QUICK)
    with client, pytest.raises(Unreachable, match=rf"{host} could not be reached.*\(6 tries\)"):
        ask(client)


# ---- proxies


def remote_client() -> Client:
    connection = Connection("http://api.example.vn", secret(TOKEN), None)
    return Client(
        connection, Budget(connection.host, per_second=0, in_flight=1), timeout=5, patience=QUICK
    )


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9"])
def test_hosts_on_this_machine_are_reached_without_a_proxy(
    connect: Connect, hook: tuple[str, type[Hook]], monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    """The demo failed for users behind a proxy, and blamed CDR_API_BASE_URL."""
    monkeypatch.setenv("ALL_PROXY", proxy)
    assert ask(connect(Script(Reply()))).retries == 0
    url, heard = hook
    post(url, {"text": "hello"})
    assert heard.messages == [{"text": "hello"}]


def test_a_proxy_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("HTTP_PROXY", "http://{}:{}".format(*taken.getsockname()))
    reached = r"vn could not be reached by the proxy .*HTTP_PROXY"
    with remote_client() as client, pytest.raises(Unreachable, match=reached):
        ask(client)


def test_a_webhook_that_the_proxy_does_not_reach_is_unreachable(
    hook: tuple[str, type[Hook]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy is asked for a tunnel before anything is sent, so the host received nothing."""
    proxy, heard = hook
    monkeypatch.setenv("HTTPS_PROXY", proxy.removesuffix("/s3cret-path"))
    with pytest.raises(Unreachable, match="the webhook could not be told: ProxyError"):
        post("https://hooks.example.vn/s3cret-path", {"text": "hello"})
    assert heard.messages == []


@pytest.mark.parametrize("proxy", ["socks5://user:pass@127.0.0.1:9", "socks://127.0.0.1:9"])
def test_a_proxy_that_cannot_be_used_is_a_setting_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(SettingsError, match=r"ALL_PROXY cannot be used: [^@]+$"):
        remote_client()


# ---- Retry-After


def test_a_vendor_that_is_busy_at_first_is_not_given_up_sooner(connect: Connect) -> None:
    """A run that began when others had used up the vendor's limit of a minute failed in seconds."""
    busy = [error(429)] * (QUICK.first_attempts + 2)
    assert ask(connect(Script(*busy, Reply()))).retries == len(busy)
    with pytest.raises(Unavailable, match=rf"\({QUICK.attempts} tries\). Try again later.$"):
        ask(connect(Script(error(429))))


def test_busy_answers_do_not_count_as_attempts_at_a_page(connect: Connect) -> None:
    """A page that was refused by a rate limit was taken for one at too deep an offset."""
    busy, broken = [error(429)] * 3 + [error(503, retry_after="1")], [error(500)] * 2
    client = connect(Script(Reply()))
    ask(client)
    script = Script(broken[0], *busy, broken[1], Reply())
    assert ask(client_on(connect, script, client), attempts=3).retries == 6
    script = Script(*busy, *broken, error(500), Reply())
    with pytest.raises(Unavailable, match=r"answered 500 \(no\) \(7 tries\)"):
        ask(client_on(connect, script, client), attempts=3)


@pytest.mark.parametrize("form", ["seconds", "date"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_vendor_that_asks_to_wait_is_waited_for(
    connect: Connect, clock: Clock, form: str, status: int
) -> None:
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=8)
    after = "7" if form == "seconds" else format_datetime(until, usegmt=True)
    began = time.time()
    assert ask(connect(Script(error(status, retry_after=after), Reply()))).retries == 1
    assert time.time() >= (began + 7 if form == "seconds" else until.timestamp())
    assert sum(clock.pauses) <= 9


@pytest.mark.parametrize("minutes", [-10, 10])
def test_a_retry_after_date_is_compared_with_the_vendors_own_clock(
    connect: Connect, clock: Clock, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    """A machine whose clock was ten minutes slow waited ten minutes too long; a fast one did not
    wait at all.
    """

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(minutes=minutes)

    until = datetime.now(UTC) + timedelta(seconds=7)
    monkeypatch.setattr("cdr_pipeline.api.client.datetime", Wrong)
    busy = error(503, retry_after=format_datetime(until, usegmt=True))
    assert ask(connect(Script(busy, Reply()))).retries == 1
    assert 5 < sum(clock.pauses) <= 9


def test_a_retry_after_holds_for_all_who_share_the_budget(connect: Connect, clock: Clock) -> None:
    once = Patience(attempts=1, first_attempts=1)
    client = connect(Script(error(429, retry_after="9")), patience=once)
    with pytest.raises(Unavailable, match="asks to wait 9 s"):
        ask(client)
    assert sum(clock.pauses) == 0
    ask(connect(Script(Reply())))
    assert 8 < sum(clock.pauses) <= 9


def test_a_wait_beyond_our_patience_is_an_error_that_names_it(
    connect: Connect, clock: Clock
) -> None:
    script = Script(error(429, retry_after="3000"))
    match = r"answered 429 \(no\) and asks to wait 3000 s \(1 try\)"
    with pytest.raises(Unavailable, match=match):
        ask(connect(script))
    assert clock.pauses == []


@pytest.mark.parametrize(
    "written",
    ["", "soon", "-5", "Wed, 21 Oct 2015 07:28:00 GMT", "²", f"7 Mar 2023 1{'0' * 20}:00"],
)
def test_a_retry_after_that_cannot_be_read_is_no_wait(
    connect: Connect, clock: Clock, written: str
) -> None:
    after: dict[str, Any] = {"retry_after": written}
    assert ask(connect(Script(error(429, **after), Reply()))).retries == 1
    assert clock.pauses == []


def test_a_request_during_a_long_retry_after_fails_without_being_sent(
    connect: Connect, clock: Clock
) -> None:
    script = Script(error(429, Retry_After="1000"), Reply())
    with pytest.raises(Unavailable):
        ask(connect(script))
    with pytest.raises(Unavailable, match=r"left alone \(Retry-After\) for \d+ s more"):
        ask(connect(script))
    assert len(script.heard) == 1
    assert clock.pauses == []


def test_a_request_that_waits_for_a_pause_ends_at_once_when_the_client_is_stopped(
    connect: Connect,
) -> None:
    script = Script(error(429, retry_after="15"), Reply())
    client = connect(script)
    threading.Timer(0.2, client.stop).start()
    began = time.monotonic()
    with pytest.raises(Unavailable, match="the run has ended"):
        ask(client)
    assert time.monotonic() - began < 10
    assert len(script.heard) == 1


def test_every_error_is_an_api_error(connect: Connect) -> None:
    deep = b'{"error":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    for reply in (
        Reply(204, b""),
        Reply(206, PAGE),
        error(418),
        error(599),
        Reply(301, b""),
        Reply(400, deep),
    ):
        with pytest.raises(ApiError):
            ask(connect(Script(reply)))
    with pytest.raises(ApiError):
        ask(connect(Script(Reply(200, deep)), token=None, api_key=KEY))
