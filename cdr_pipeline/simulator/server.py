"""The vendor's endpoint: checks tokens, finds the calls of a query, answers, and serves over HTTP.

The endpoint itself is honest. Its calls come from a `Source`, its faults from a `Chaos`.
"""

import json
from asyncio import sleep
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from random import Random
from socket import create_server
from threading import Thread
from typing import Final, NamedTuple
from zlib import crc32

import uvicorn
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from cdr_pipeline.simulator.chaos import Chaos
from cdr_pipeline.simulator.exchange import (
    AS_JSON,
    LISTING,
    SIGN_IN,
    Asked,
    Bounds,
    Order,
    Page,
    Query,
    Refusal,
    Reply,
)
from cdr_pipeline.simulator.source import Call, Fixed, Given, Source, whole_day
from cdr_pipeline.simulator.tenant import Tenant

_FILTERS: Final[dict[str, Callable[[Call, str], bool]]] = {
    "extension": lambda call, extension: call.extension == extension,
    "status": lambda call, status: call.status.lower() == status.lower(),
    "hotline": lambda call, number: call.from_number == number,
    "phone": lambda call, number: number in (call.from_number, call.to_number),
    "direction": lambda call, direction: call.direction == direction,
    "campaign_uuid": lambda call, uuid: call.campaign_uuid == uuid,
}


class Exchange(NamedTuple):
    """One request and its answer, kept by the vendor so that tests can see what a client did.

    status: 0 if the connection was dropped without an answer. body: the bytes of the answer before
    compression; b"" unless the vendor keeps bodies.
    """

    method: str
    path: str
    params: Mapping[str, str]
    status: int
    body: bytes


class Vendor:
    """The vendor's API over the calls of a tenant, or over given records; an ASGI application.

    token, api_key: clients need this token, or a token from signing in with this key; if both are
    "", they need none. forbidden: every listing is answered with 403. keep_bodies: keep the body of
    each answer in `requests`. chaos: it has a state, so give each vendor its own.
    """

    def __init__(
        self,
        *,
        tenant: Source | None = None,
        records: Iterable[Given] | None = None,
        token: str = "",
        api_key: str = "",
        forbidden: bool = False,
        bounds: Bounds = "inclusive",
        order: Order = "newest",
        keep_bodies: bool = False,
        chaos: Chaos | None = None,
    ) -> None:
        chaos = chaos or Chaos()
        self.requests: deque[Exchange] = deque(maxlen=100_000)
        self._source = chaos.holds(Fixed(records) if records is not None else tenant or Tenant())
        self._list = chaos.lists(self._page)
        self._answer = chaos.answers(self._route)
        self._token = token
        self._api_key = api_key
        self._signed_in: set[str] = set()
        self._forbidden = forbidden
        self._bounds: Bounds = bounds
        self._order = order
        self._keep_bodies = keep_bodies
        self._random = Random(0)

    def truth(self, day: date) -> list[bytes]:
        """The JSON text of every record that the vendor holds now for calls begun on `day`."""
        return [call.text for call in self._source.between(*whole_day(day))]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, over ASGI."""
        request = Request(scope, receive)
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        params = dict(request.query_params)
        asked = Asked(request.method, request.url.path, params, token, await request.body())
        reply = self._answer(asked)
        kept = reply.body[: reply.cut] if self._keep_bodies else b""
        self.requests.append(Exchange(asked.method, asked.path, asked.params, reply.status, kept))
        await sleep(reply.delay)
        if reply.cut is None:
            response = Response(reply.body, reply.status, reply.headers)
            await GZipMiddleware(response, 1000, compresslevel=1)(scope, receive, send)
        else:
            await _hang_up(reply, reply.cut, receive, send)

    def _route(self, asked: Asked) -> Reply:
        answers = {LISTING: ("GET", self._answer_listing), SIGN_IN: ("POST", self._answer_sign_in)}
        try:
            if asked.path not in answers:
                raise Refusal(404, "page not found")
            method, answer = answers[asked.path]
            if asked.method != method:
                raise Refusal(405, "method not allowed")
            return answer(asked)
        except Refusal as refusal:
            return refusal.reply

    def _answer_sign_in(self, asked: Asked) -> Reply:
        try:
            api_key = json.loads(asked.body)["api_key"]
        except (ValueError, KeyError, TypeError):
            raise Refusal.of("(root)", "api_key is required") from None
        if not self._api_key or api_key != self._api_key:
            raise Refusal(401, "api_key is invalid")
        token = f"signed-in-{len(self._signed_in) + 1}-{self._random.getrandbits(128):032x}"
        self._signed_in.add(token)
        content = {
            "client_id": "5f0c6f0e-0a52-4f0e-9a57-6f2f3b1f7c11",
            "domain_uuid": "b3a0f5b2-7f5c-4d0a-8f57-2c9a2b0f4d22",
            "expired_in": 160 * 24 * 3600,  # seconds; the vendor's documentation also says 24 hours
            "refresh_token": "",
            "token": token,
            "token_type": "Bearer",
            "user_id": "e1f7c9a4-3f67-4f1b-b8f1-7d5a6c3e9b33",
        }
        return Reply.json(200, content)

    def _answer_listing(self, asked: Asked) -> Reply:
        if not self._admits(asked.token):
            raise Refusal(401, "token is invalid or expired")
        if self._forbidden:
            raise Refusal(403, "permission denied")
        query = Query.read(asked.params, self._bounds)
        page = self._list(query)
        # The vendor echoes the limit and the offset of the request, but -1 for an offset of 0.
        echo = f'"limit":{query.limit},"offset":{query.offset or -1},"total":{page.total}'
        body = b'{"data":[%b],%b}' % (b",".join(page.records), echo.encode())
        return Reply(200, body, AS_JSON)

    def _admits(self, token: str) -> bool:
        if not self._token and not self._api_key:
            return True
        return token == (self._token or None) or token in self._signed_in

    def _page(self, query: Query) -> Page:
        """The page as an honest vendor lists it: without records if the client sent no limit."""
        found = self._find(query)
        if query.unstable:
            found.sort(key=lambda _: self._random.random())
        elif self._order == "newest":
            found.reverse()
        elif self._order == "shuffled":
            found.sort(key=lambda call: crc32(call.id.encode()))
        first = max(query.offset, 0)
        page = found[first : first + max(query.limit, 0)]
        return Page([call.text for call in page], len(found))

    def _find(self, query: Query) -> list[Call]:
        """All calls that match the query, oldest first."""
        found = list(self._source.between(query.start, query.end))
        if query.ended:
            first, last = query.ended
            found = [call for call in found if first <= call.ended <= last]
        for name, matches in _FILTERS.items():
            if value := query.params.get(name):
                found = [call for call in found if matches(call, value)]
        return found


async def _hang_up(reply: Reply, cut: int, receive: Receive, send: Send) -> None:
    """Send the reply up to byte `cut` of its body (nothing if its status is 0), then close the
    connection.
    """
    if reply.status:
        headers = {**reply.headers, "content-length": str(len(reply.body))}
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": reply.status, "headers": raw})
        await send({"type": "http.response.body", "body": reply.body[:cut], "more_body": True})
    # ASGI has no message to close a connection, so take the transport of uvicorn's own `send`.
    send.__self__.transport.close()  # type: ignore[attr-defined]
    await receive()  # returns after the close: uvicorn logs an error if we end before that


@dataclass(frozen=True, slots=True)
class Running:
    """A vendor that is being served, and the URL it is served at."""

    base_url: str
    vendor: Vendor


@contextmanager
def serve(vendor: Vendor) -> Iterator[Running]:
    """Serve the vendor from a thread of this process, on any free port of loopback.

    The socket listens before the thread starts. So a client's first request waits and does not
    fail, and clients need not check whether the server is ready.
    """
    with create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(_config(vendor))
        thread = Thread(target=server.run, args=([listening],), name="simulator", daemon=True)
        base_url = "http://{}:{}".format(*listening.getsockname())
        thread.start()
        try:
            yield Running(base_url, vendor)
        finally:
            server.should_exit = True
            thread.join()


def run_forever(vendor: Vendor, host: str, port: int, on_listening: Callable[[str], None]) -> None:
    """Serve the vendor in the foreground until Ctrl-C. Once the socket listens, `on_listening` is
    called with its URL. Raises OSError if the port cannot be used.
    """
    with create_server((host, port)) as listening, suppress(KeyboardInterrupt):
        on_listening("http://{}:{}".format(*listening.getsockname()))
        uvicorn.Server(_config(vendor)).run([listening])


def _config(vendor: Vendor) -> uvicorn.Config:
    """Settings of uvicorn: log errors only, and wait for open requests 1 s at most when stopped."""
    return uvicorn.Config(
        vendor,
        lifespan="off",
        ws="none",  # no client uses it, and uvicorn 0.41 imports a deprecated part of websockets
        log_config=None,
        log_level="error",
        access_log=False,
        timeout_graceful_shutdown=1,
    )
