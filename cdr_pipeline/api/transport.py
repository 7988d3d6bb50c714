"""How bytes come and go beneath httpx: over the connections of urllib3.

A page is a large answer in one piece. httpx's own transport takes it through some twenty calls a
read, and over TLS a read is 16 KiB: 5.9 ms of CPU for a page of 1 MB, where this takes 2.3 ms.
What a request is and what an error means stays httpx's; nothing here tries anything twice.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import getproxies

import httpx
import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NewConnectionError,
    ReadTimeoutError,
    SSLError,
)

#: As many as CDR_CONCURRENCY can be: a connection beyond it would be made anew for each request.
_CONNECTIONS = 64

#: Whoever stands between may drop a connection without a word that is idle for long; as httpx.
_IDLE_SECONDS = 5.0

# A header that is none is reported with a traceback and with the address asked, phones and all.
logging.getLogger("urllib3.connection").setLevel(logging.ERROR)


def transport() -> httpx.BaseTransport | None:
    """What asks a vendor who is asked directly; None, which is httpx's own, behind a proxy."""
    return None if {"http", "https", "all"} & getproxies().keys() else Transport()


class Transport(httpx.BaseTransport):
    """Whole answers, from any number of threads; raises httpx.TransportError."""

    def __init__(self) -> None:
        self._pools = urllib3.PoolManager(
            maxsize=_CONNECTIONS, ssl_context=httpx.create_ssl_context()
        )
        self._used = time.monotonic()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One answer, as it came: httpx decodes it."""
        if time.monotonic() - self._used > _IDLE_SECONDS:
            self._pools.clear()
        url, seconds = request.url, request.extensions["timeout"]
        with _errors_of_httpx(tls=httpx.ConnectError):
            pool = self._pools.connection_from_host(url.raw_host.decode(), url.port, url.scheme)
            answer = pool.urlopen(
                request.method,
                url.raw_path.decode(),
                body=request.read() or None,
                headers=dict(request.headers),
                timeout=urllib3.Timeout(connect=seconds["connect"], read=seconds["read"]),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        with _errors_of_httpx(tls=httpx.ReadError):
            body = answer.read()
        self._used = time.monotonic()
        if not body and not _framed(answer):
            raise httpx.RemoteProtocolError("the answer ends within its head")
        headers = [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in answer.headers.items()
        ]
        return httpx.Response(answer.status, headers=headers, content=body)

    def close(self) -> None:
        """Close every connection."""
        self._pools.clear()


def _framed(answer: urllib3.BaseHTTPResponse) -> bool:
    """Whether an answer says where it ends; one whose head was cut off does not, and is empty.

    The standard library takes such a head for a whole one.
    """
    sized = bool(answer.headers.get("Content-Length"))
    return sized or answer.chunked or answer.status in (204, 304)


@contextmanager
def _errors_of_httpx(tls: type[httpx.TransportError]) -> Iterator[None]:
    """urllib3's errors as httpx's, in the words of what lies behind them; `tls`: one of TLS."""
    try:
        yield
    except (NewConnectionError, LocationValueError) as error:
        raise httpx.ConnectError(_words(error)) from error
    except ConnectTimeoutError as error:
        raise httpx.ConnectTimeout("timed out") from error
    except ReadTimeoutError as error:
        # One name for both; OpenSSL alone says which.
        shaking_hands = "handshake" in str(error.__cause__)
        late = httpx.ConnectTimeout if shaking_hands else httpx.ReadTimeout
        raise late("timed out") from error
    except SSLError as error:
        raise tls(_words(error)) from error
    except HTTPError as error:
        raise httpx.RemoteProtocolError(_words(error)) from error


def _words(error: HTTPError) -> str:
    return str(error.__cause__ or error)
