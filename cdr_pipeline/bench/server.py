"""A vendor that costs next to nothing, so that the reader is measured and not the vendor.

Any page of any window is one stretch of a prepared file (see `calls`), and the kernel sends it. The
server runs as a process of its own, which reports its own cost at `/cost`.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

from cdr_pipeline.bench.calls import Corpus

#: No contestant sends a request as long as this.
_LONGEST_REQUEST: Final = 65_536


class Vendor:
    """`GET /v3/cdr` over a corpus: newest first, both bounds included, any token welcome."""

    def __init__(self, corpus: Corpus, latency: float) -> None:
        self._file: BinaryIO = corpus.records.open("rb")
        self._latency = latency
        index = array("q", corpus.index.read_bytes())
        count = len(index) // 2
        self._starts = index[:count]
        self._starts.append(corpus.records.stat().st_size + 1)
        self._ago = array("q", (-second for second in index[count:]))  # ascending, to bisect
        self._lock = threading.Lock()
        self.requests = self.bytes = 0

    def serve(self, connection: socket.socket) -> None:
        """Answer one connection's requests until it ends."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection:
            waiting = b""
            while True:
                while b"\r\n\r\n" not in waiting:
                    more = connection.recv(_LONGEST_REQUEST)
                    if not more or len(waiting) > _LONGEST_REQUEST:
                        return
                    waiting += more
                head, _, waiting = waiting.partition(b"\r\n\r\n")
                url = urlsplit(head.split(b" ", 2)[1].decode("ascii"))
                query = {name: values[-1] for name, values in parse_qs(url.query).items()}
                if url.path == "/cost":
                    self._cost(connection)
                else:
                    time.sleep(self._latency)
                    self._page(connection, query)

    def _page(self, connection: socket.socket, query: dict[str, str]) -> None:
        newest = -_second(query["end_date"], end=True) if "end_date" in query else -(2**62)
        oldest = -_second(query["start_date"]) if "start_date" in query else 2**62
        first, end = bisect_left(self._ago, newest), bisect_right(self._ago, oldest)
        limit, offset = int(query.get("limit", -1)), int(query.get("offset", -1))
        if limit < 0 or offset < 0:
            at = to = end  # as the vendor answers who leaves them out
        else:
            at = min(first + offset, end)
            to = min(at + limit, end)
        start, stop = self._starts[at], max(self._starts[at], self._starts[to] - 1)
        tail = b'],"limit":%d,"offset":-1,"total":%d}' % (limit, end - first)
        self._answer(connection, b'{"data":[', start, stop, tail)

    def _cost(self, connection: socket.socket) -> None:
        spent = {"cpu": time.process_time(), "requests": self.requests, "bytes": self.bytes}
        self._answer(connection, json.dumps(spent).encode(), 0, 0, b"")

    def _answer(
        self, connection: socket.socket, before: bytes, start: int, stop: int, after: bytes
    ) -> None:
        length = len(before) + stop - start + len(after)
        with self._lock:  # before it is sent, or whoever has read it might ask too soon
            self.requests += 1
            self.bytes += length
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        connection.sendall(head % length + before, socket.MSG_MORE if stop > start else 0)
        while start < stop:
            start += os.sendfile(connection.fileno(), self._file.fileno(), start, stop - start)
        connection.sendall(after)


def _second(text: str, *, end: bool = False) -> int:
    """The second that a time names; a day alone as an end: its last."""
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return int(moment.timestamp()) + (86_399 if end and len(text) == 10 else 0)


@dataclass(frozen=True)
class Serving:
    """A running server, and its cost so far."""

    url: str

    def cost(self) -> dict[str, Any]:
        """`cpu` seconds, `requests` and `bytes` sent."""
        with urlopen(f"{self.url}/cost") as answer:  # noqa: S310  our own, on loopback
            return dict(json.load(answer))


@contextmanager
def serving(corpus: Corpus, latency: float = 0) -> Iterator[Serving]:
    """A server over the corpus in a process of its own; `latency` in seconds."""
    command = [sys.executable, "-m", __name__, str(corpus.folder), str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Serving(f"http://127.0.0.1:{int(process.stdout.readline())}")
        finally:
            process.kill()  # it has nothing to lose, and a shell's background job ignores SIGTERM


def main(folder: str, latency: str) -> None:
    """Serve for ever; the port goes to standard output."""
    vendor = Vendor(Corpus(Path(folder)), float(latency))
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        print(listening.getsockname()[1], flush=True)  # noqa: T201  to whoever started this
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=vendor.serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
