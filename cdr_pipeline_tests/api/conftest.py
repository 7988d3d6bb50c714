"""What tests of `api` use: a server for vendors and scripts, a clock that skips long pauses, a
vendor in memory, and proofs.
"""

import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, TypeVar, cast
from zlib import crc32

import pytest
import stamina
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from cdr_pipeline.api.budget import Budget
from cdr_pipeline.api.client import Answer, Client, Patience, Query
from cdr_pipeline.api.listing import Lister, Receipt
from cdr_pipeline.api.reading import PROBE, SECOND, Page
from cdr_pipeline.errors import Refused
from cdr_pipeline.page import Seen, see, split
from cdr_pipeline.settings import Connection
from cdr_pipeline.window import Window
from cdr_pipeline_tests.stage import Stage

TOKEN = "a-token-nobody-may-see"
KEY = "an-api-key-nobody-may-see"
DAY = date(2023, 3, 7)
WINDOW = Window.of(DAY)
QUICK = Patience(seconds=20, first_pause=0.001, longest_pause=0.004)

T = TypeVar("T")


@pytest.fixture(autouse=True)
def _pauses() -> Iterator[None]:
    """Attempts and pauses of the client as in production, since they are tested here."""
    with stamina.set_testing(False):
        yield


@pytest.fixture(autouse=True)
def _budget_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test shares a budget with another test, or with a run on this machine."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


# ---- over HTTP


@dataclass(frozen=True)
class Reply:
    """One response of a script."""

    status: int = 200
    body: bytes = b'{"data":[],"limit":1,"offset":-1,"total":0}'
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Received:
    """One request that a script received."""

    method: str
    path: str
    query: str
    params: dict[str, str]
    headers: Mapping[str, str]
    body: bytes


class Script:
    """A vendor that gives the replies in order, repeats the last, and keeps each request."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.heard: list[Received] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = Request(scope, receive)
        params = dict(asked.query_params)
        path, query = asked.url.path, asked.url.query
        body = await asked.body()
        self.heard.append(Received(asked.method, path, query, params, asked.headers, body))
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        await Response(reply.body, reply.status, reply.headers)(scope, receive, send)


Connect = Callable[..., Client]


@pytest.fixture
def connect(stage: tuple[Stage, str]) -> Iterator[Connect]:
    """`connect(app)`: the stage serves this app; returns a `Client` for it."""
    acts, base_url = stage
    with ExitStack() as clients:

        def connected(
            app: ASGIApp,
            *,
            token: str | None = TOKEN,
            api_key: str | None = None,
            patience: Patience = QUICK,
            timeout: float = 5,
        ) -> Client:
            acts.on = app
            connection = Connection(base_url, secret(token), secret(api_key))
            budget = Budget(connection.host, per_second=0, in_flight=8)
            client = Client(connection, budget, timeout=timeout, patience=patience)
            return clients.enter_context(client)

        yield connected


def secret(text: str | None) -> SecretStr | None:
    return SecretStr(text) if text else None


def ask(client: Client, query: Query | None = None, attempts: int | None = None) -> Answer[Seen]:
    return client.get(query or Query(), limit=500, offset=0, read=see, attempts=attempts)


def granted(token: str, expired_in: object = 13_824_000, status: int = 200) -> Reply:
    return Reply(status, json.dumps({"token": token, "expired_in": expired_in}).encode())


def error(status: int, *, said: object = "no", **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, json.dumps({"error": said}).encode(), named)


# ---- time


class Clock:
    """Skips pauses of 0.1 s or more and sets the time of day forward instead; others are real."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pauses: list[float] = []
        self._now, self._sleep, really = time.time, time.sleep, threading.Event.wait

        def wait(event: threading.Event, seconds: float | None = None) -> bool:
            if seconds is None:
                return really(event)
            self._pass(seconds)
            return event.is_set()

        # The server's `Date` stays true: uvicorn keeps it for a second, until after this test.
        monkeypatch.setattr("uvicorn.server.time", SimpleNamespace(time=self._now))
        monkeypatch.setattr(time, "time", lambda: self._now() + sum(self.pauses))
        monkeypatch.setattr(time, "sleep", self._pass)
        monkeypatch.setattr(threading.Event, "wait", wait)

    def _pass(self, seconds: float) -> None:
        if seconds < 0.1:
            self._sleep(seconds)
        else:
            self.pauses.append(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


# ---- in memory


class Model:
    """A vendor in memory, in place of a client. `calls`: id -> start time.

    `between` is called before each response but the first, and may change `calls`. A range longer
    than `longest` and a `limit` above `largest` are refused with the status `too_much`. At offsets
    from `deep` or `ceiling` on, `beyond` is the status, or "empty" for an empty page. With the
    bounds "dates" the times of day of a range are ignored.
    """

    host = "model"

    def __init__(
        self,
        calls: Mapping[str, datetime],
        *,
        cap: int = 10**9,
        order: str = "newest",
        bounds: str = "inclusive",
        ceiling: int | None = None,
        deep: int | None = None,
        beyond: str = "400",
        longest: timedelta = timedelta.max,
        largest: int = 10**9,
        too_much: int = 400,
        between: Callable[["Model"], None] = lambda model: None,
    ) -> None:
        self.calls = dict(calls)
        self.answered = True
        self.asked: list[tuple[Query, int, int]] = []
        self.held: list[set[str]] = []
        """The ids of the day's calls at each response."""
        self.total_most = len(calls)
        self._cap, self._order, self._bounds = cap, order, bounds
        self._ceiling, self._deep, self._beyond = ceiling, deep, beyond
        self._longest, self._largest, self._too_much = longest, largest, too_much
        self._between = between
        self._random = Random(0)
        self._lock = threading.Lock()

    def get(
        self,
        query: Query,
        *,
        limit: int,
        offset: int,
        read: Callable[[bytes], T],
        attempts: int | None = None,
    ) -> Answer[T]:
        with self._lock:
            if self.asked:
                self._between(self)
            self.asked.append((query, limit, offset))
            self.held.append(self.truth())
            self.total_most = max(self.total_most, len(self.calls))
            body = self._page(query, limit, offset)
        return Answer(body, read(body), datetime.now(UTC), 0)

    def truth(self, window: Window = WINDOW) -> set[str]:
        return {id_ for id_, began in self.calls.items() if began in window}

    @property
    def requests(self) -> int:
        return len(self.asked)

    def _page(self, query: Query, limit: int, offset: int) -> bytes:
        start, end = query.start_date, query.end_date
        assert isinstance(start, datetime)
        assert isinstance(end, datetime)
        if end - start > self._longest or limit > self._largest:
            raise Refused("too much at once", self._too_much)
        found = self._found(start, end)
        total = len(found) if self._ceiling is None else min(len(found), self._ceiling)
        edges = [edge for edge in (self._ceiling, self._deep) if edge is not None]
        edge = min(edges, default=len(found))
        if edges and offset >= edge and self._beyond != "empty":
            raise Refused("result window is too large", int(self._beyond))
        page = found[offset : min(offset + min(limit, self._cap), edge)]
        return self.body(page, total)

    def body(self, ids: list[str], total: int) -> bytes:
        records = [{"id": id_, "time_started": str(self.calls[id_])} for id_ in ids]
        return json.dumps({"data": records, "total": total}).encode()

    def _found(self, start: datetime, end: datetime) -> list[str]:
        if self._bounds == "dates":
            start, end = Window.of(start.date()).start, Window.of(end.date()).end
        first = start + SECOND if self._bounds == "exclusive" else start
        last = end if self._bounds == "inclusive" else end - SECOND
        found = [id_ for id_, began in self.calls.items() if first <= began <= last]
        if self._order == "unstable":
            self._random.shuffle(found)
        elif self._order == "shuffled":
            found.sort(key=lambda id_: crc32(id_.encode()))
        else:
            newest = self._order == "newest"
            found.sort(key=lambda id_: (self.calls[id_], id_), reverse=newest)
        return found


class ByTheMinute(Model):
    """Ignores the seconds of a range: both bounds are cut to the full minute."""

    def _found(self, start: datetime, end: datetime) -> list[str]:
        return super()._found(start.replace(second=0), end.replace(second=0))


class ByTheRoot(Model):
    """Lists a leg (`root#1`) wherever its root began, newest first."""

    def _found(self, start: datetime, end: datetime) -> list[str]:
        roots = {id_ for id_ in super()._found(start, end) if "#" not in id_}
        found = [id_ for id_ in self.calls if id_.partition("#")[0] in roots]
        return sorted(found, key=self.calls.__getitem__, reverse=True)


class WholeMinutes(Model):
    """Compares minutes: a range contains all seconds of its first and of its last minute."""

    def _found(self, start: datetime, end: datetime) -> list[str]:
        return super()._found(start.replace(second=0), end.replace(second=59))


def spread(count: int, over: timedelta = timedelta(days=1), seed: int = 0) -> dict[str, datetime]:
    """`count` calls at random in the first part of the day, `over` long; two of them in its first
    and its last second.
    """
    random = Random(seed)
    seconds = int(over / SECOND)
    times = [WINDOW.start + timedelta(seconds=random.randrange(seconds)) for _ in range(count)]
    if count > 1:
        times[:2] = WINDOW.start, WINDOW.start + over - SECOND
    return {f"call-{number}": began for number, began in enumerate(times)}


# ---- proofs


@dataclass
class Proof:
    """The result of proving a window: the receipt and the pages."""

    receipt: Receipt
    pages: list[Page]

    @property
    def texts(self) -> list[bytes]:
        """All records of the readings in force."""
        return [text for page in in_force(self.pages) for text in split(page.body)]

    @property
    def ids(self) -> set[str]:
        """The ids of the calls that count: of readings in force, begun in their page's window."""
        return {
            head["id"]
            for page in in_force(self.pages)
            for head in map(json.loads, split(page.body))
            if datetime.fromisoformat(head["time_started"]) in page.window
        }

    def adds_up(self) -> None:
        """Assert that the receipt's figures agree with each other and with the pages."""
        receipt = self.receipt
        assert receipt.verified
        assert receipt.unique_records == receipt.reported_total
        assert receipt.received == receipt.unique_records + receipt.duplicates
        assert receipt.unique_records - receipt.outside_window == len(self.ids)
        assert receipt.pages == len(self.pages) <= receipt.requests
        assert receipt.passes == max(page.pass_ for page in self.pages)
        listed = [page for page in self.pages if page.pass_ != PROBE]
        assert receipt.received == sum(len(split(page.body)) for page in listed)
        assert receipt.started_at <= receipt.finished_at


def in_force(pages: list[Page]) -> list[Page]:
    """The pages of readings that no later reading overlaps, by the rule in `Lister.prove`."""
    last: dict[Window, int] = {}
    for page in pages:
        last[page.window] = max(last.get(page.window, 0), page.pass_)
    return [
        page
        for page in pages
        if page.pass_ != PROBE
        and not any(
            number > page.pass_
            and window.start < page.window.end
            and page.window.start < window.end
            for window, number in last.items()
        )
    ]


def lister_of(
    client: Client | Model, page_size: int = 500, concurrency: int = 1, honest: int = 0
) -> Lister:
    stand_in = cast("Client", client)
    return Lister(stand_in, page_size=page_size, concurrency=concurrency, honest=honest)


def prove(
    client: Client | Model,
    page_size: int = 500,
    concurrency: int = 1,
    pages: list[Page] | None = None,
    honest: int = 0,
) -> Proof:
    """Prove the day by a new lister; `pages` receives every response even if the proof fails."""
    kept = [] if pages is None else pages
    with lister_of(client, page_size, concurrency, honest) as lister:
        return Proof(lister.prove(WINDOW, kept.append), kept)


def ids_of(texts: list[bytes]) -> set[str]:
    return {cast("dict[str, Any]", json.loads(text))["id"] for text in texts}
