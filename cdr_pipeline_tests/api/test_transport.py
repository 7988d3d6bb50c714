"""What is beneath httpx, against httpx's own: the same answers and errors, on a real wire."""

import gzip
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import httpx
import pytest
from urllib3.exceptions import SSLError

from cdr_pipeline.api import transport as module
from cdr_pipeline.api.transport import Transport, transport

PAGE = b'{"data":[],"total":0}' * 5_000
ZIPPED = gzip.compress(PAGE)

Answers = Callable[[socket.socket], bool]


class Wire:
    """A server that does to each request's connection what it is told: True keeps it open."""

    def __init__(self, answers: Answers) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._answers = answers
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self._listening.getsockname())
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):  # whoever asked may have left
            while request := heard(connection):
                self.requests.append(request)
                if not self._answers(connection):
                    return

    def close(self) -> None:
        self._listening.close()


def heard(connection: socket.socket) -> bytes:
    """One request, whole, in however many packets it comes; nothing where none does.

    Or the first that anyone says who speaks TLS, which begins with 0x16.
    """
    request = connection.recv(65_536)
    while request and request[0] != 0x16:
        head, blank, body = request.partition(b"\r\n\r\n")
        size = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if blank and len(body) == int(size[1] if size else 0):
            break
        request += connection.recv(65_536)
    return request


@pytest.fixture
def wire() -> Iterator[Callable[[Answers], Wire]]:
    with ExitStack() as stack:

        def wired(answers: Answers) -> Wire:
            wire = Wire(answers)
            stack.callback(wire.close)
            return wire

        yield wired


def saying(*parts: bytes, keep: bool = True) -> Answers:
    def answer(connection: socket.socket) -> bool:
        connection.sendall(b"".join(parts))
        return keep

    return answer


def sized(body: bytes, *headers: bytes, more: int = 0) -> bytes:
    """A whole answer; `more`: bytes that it promises and never sends."""
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % (len(body) + more), *headers, b"", body]
    return b"\r\n".join(lines)


def chunked(body: bytes, *headers: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", *headers, b""]
    parts = [body[at : at + 3_000] for at in range(0, len(body), 3_000)]
    return b"\r\n".join([*lines, *(b"%x\r\n%s" % (len(part), part) for part in parts), end])


def client(own: bool) -> httpx.Client:
    """httpx as it comes, or on our transport."""
    return httpx.Client(transport=None if own else Transport(), timeout=0.3)


# ---- answers

ZIP = b"Content-Encoding: gzip"

ANSWERS = {
    "of a known length": saying(sized(PAGE)),
    "in chunks": saying(chunked(PAGE)),
    "gzip": saying(sized(ZIPPED, ZIP)),
    "gzip in chunks": saying(chunked(ZIPPED, ZIP)),
    "until the connection ends": saying(b"HTTP/1.1 200 OK\r\n\r\n", PAGE, keep=False),
    "in HTTP/1.0": saying(b"HTTP/1.0 200 OK\r\n\r\n", PAGE, keep=False),
    "of no chunks": saying(chunked(b"")),
    "of no bytes": saying(sized(b"")),
    "of nothing": saying(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "a redirect": saying(b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n"),
    "an error": saying(b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nno"),
    "after a 100": saying(b"HTTP/1.1 100 Continue\r\n\r\n", sized(PAGE)),
    "with a header twice": saying(sized(PAGE, b"X-One: 1", b"X-One: 2")),
    "with a header beyond ASCII": saying(sized(PAGE, "X-Said: bận".encode(), b"X-Raw: \xb2")),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_is_what_httpx_makes_of_it(kind: str, wire: Callable[[Answers], Wire]) -> None:
    url = f"http://{wire(ANSWERS[kind]).address}/v3/cdr"
    with client(own=True) as theirs, client(own=False) as ours:
        expected, got = theirs.get(url), ours.get(url)
    assert got.content == expected.content
    assert got.status_code == expected.status_code
    given = got.headers.multi_items()
    assert [pair for pair in given if pair in expected.headers.multi_items()] == (
        expected.headers.multi_items()
    )


def test_a_request_is_what_httpx_makes_of_it(wire: Callable[[Answers], Wire]) -> None:
    there = wire(saying(sized(PAGE)))
    url = f"http://{there.address}/a%20b/v3/cdr"
    for own in (True, False):
        with client(own) as asking:
            asking.get(url, params={"start_date": "2023-03-06 17:20:58", "phone": "+84 é/?&#"})
            asking.post(url, json={"api_key": "k"})
    texts = [request.lower().partition(b"\r\n\r\n") for request in there.requests]
    requests = [(sorted(head.split(b"\r\n")), body) for head, _, body in texts]
    assert requests[:2] == requests[2:]


# ---- errors


def silent(connection: socket.socket) -> bool:
    return True


def reset(connection: socket.socket) -> bool:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def reset_in_mid_answer(connection: socket.socket) -> bool:
    connection.sendall(sized(PAGE[:50_000], more=50_000))
    return reset(connection)


BROKEN = {
    "no answer": saying(keep=False),
    "a reset": reset,
    "a reset in mid-answer": reset_in_mid_answer,
    "an answer cut off": saying(sized(PAGE, more=1), keep=False),
    "chunks cut off": saying(chunked(PAGE, end=b""), keep=False),
    "a chunk cut off": saying(chunked(PAGE, end=b"ff\r\nabc"), keep=False),
    "a head cut off": saying(b"HTTP/1.1 200 OK\r\nContent-Le", keep=False),
    "a refusal's head cut off": saying(b"HTTP/1.1 404 Not Found\r\nServer: x\r\n", keep=False),
    "a head cut off in a number": saying(b"HTTP/1.1 200 OK\r\nContent-Length: 2", keep=False),
    "no HTTP": saying(b"SSH-2.0-OpenSSH_9.6\r\n", keep=False),
    "no gzip": saying(sized(PAGE, ZIP)),
    "silence": silent,
    "silence in mid-answer": saying(sized(PAGE, more=1)),
}


def kind_of(error: httpx.RequestError) -> str:
    """What `Client` tells apart."""
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
        return "no connection"
    if isinstance(error, httpx.TimeoutException):
        return "too late"
    assert isinstance(error, (httpx.TransportError, httpx.DecodingError))
    return "broke off"


def failing(url: str, own: bool) -> httpx.RequestError:
    with client(own) as asking, pytest.raises(httpx.RequestError) as caught:
        asking.get(url)
    return caught.value


@pytest.mark.parametrize("kind", BROKEN)
def test_an_error_means_what_it_means_to_httpx(kind: str, wire: Callable[[Answers], Wire]) -> None:
    there = wire(BROKEN[kind])
    theirs, ours = (failing(f"http://{there.address}/", own) for own in (True, False))
    assert kind_of(ours) == kind_of(theirs) == ("too late" if "silence" in kind else "broke off")
    assert str(ours)
    assert len(there.requests) == 2  # neither tries again by itself


def test_a_head_cut_off_says_nothing_of_what_was_asked(
    wire: Callable[[Answers], Wire], caplog: pytest.LogCaptureFixture
) -> None:
    failing(f"http://{wire(BROKEN['a head cut off']).address}/v3/cdr?phone=0899888999", own=False)
    assert "0899888999" not in caplog.text


def test_nobody_there_is_no_connection_in_the_same_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = "http://{}:{}/".format(*taken.getsockname())
    theirs, ours = (failing(url, own) for own in (True, False))
    assert kind_of(ours) == kind_of(theirs) == "no connection"
    assert str(ours) == str(theirs)


@pytest.mark.parametrize("kind", ["no HTTP", "no answer", "silence"])
def test_a_server_without_tls_is_no_connection(kind: str, wire: Callable[[Answers], Wire]) -> None:
    there = wire(BROKEN[kind])
    theirs, ours = (failing(f"https://{there.address}/", own) for own in (True, False))
    assert kind_of(ours) == kind_of(theirs) == "no connection"


def test_tls_that_breaks_in_mid_answer_is_no_lack_of_a_connection() -> None:
    with (
        pytest.raises(httpx.ReadError, match="bad record"),
        module._errors_of_httpx(tls=httpx.ReadError),
    ):
        raise SSLError(ssl.SSLError("bad record"))


# ---- connections


def test_a_connection_serves_many_requests(wire: Callable[[Answers], Wire]) -> None:
    there = wire(saying(sized(PAGE)))
    with client(own=False) as asking:
        for _ in range(5):
            asking.get(f"http://{there.address}/")
    assert (len(there.requests), there.connections) == (5, 1)


def test_a_connection_that_the_server_closed_meanwhile_is_not_used(
    wire: Callable[[Answers], Wire],
) -> None:
    closing = threading.Event()

    def answer(connection: socket.socket) -> bool:
        connection.sendall(sized(PAGE))
        connection.shutdown(socket.SHUT_RDWR)
        closing.set()
        return False

    there = wire(answer)
    with client(own=False) as asking:
        for _ in range(5):
            assert asking.get(f"http://{there.address}/").content == PAGE
            assert closing.wait(5)
            closing.clear()
    assert there.connections == 5


def test_a_connection_that_was_idle_for_long_is_not_used(
    wire: Callable[[Answers], Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_IDLE_SECONDS", -1.0)
    there = wire(saying(sized(PAGE)))
    with client(own=False) as asking:
        for _ in range(3):
            asking.get(f"http://{there.address}/")
    assert there.connections == 3


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"])
def test_behind_a_proxy_it_is_httpx_that_knows_the_way(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)
    assert isinstance(transport(), Transport)
    monkeypatch.setenv(name, "http://127.0.0.1:3128")
    assert transport() is None
