"""One request to the vendor: sign-in, retry, budget. Only this module imports httpx, so it also
sends the message to a webhook (`post`).

`listing` decides what a page means and how many requests make a day.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final, Generic, Self, TypeVar
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
import stamina
import stamina.instrumentation

from cdr_pipeline import __version__
from cdr_pipeline.api.budget import Budget
from cdr_pipeline.api.tokens import Tokens
from cdr_pipeline.errors import (
    ApiError,
    Refused,
    SettingsError,
    Unauthorized,
    Unavailable,
    Unreachable,
    redacted,
)
from cdr_pipeline.page import UNREADABLE, MalformedPage
from cdr_pipeline.settings import Connection, Settings, fits_a_header

_CDR_PATH: Final = "/v3/cdr"
_TOKEN_PATH: Final = "/v3/auth/token"  # noqa: S105  a path, not a secret

_HOOK_SECONDS = 10.0

#: No connection was made: the vendor or the webhook received nothing.
_NOT_REACHED: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)

#: Statuses of a webhook, or of a proxy before it, that is busy or down and took nothing.
_LATER: Final = frozenset({429, 502, 503})

#: Hosts that are never asked through a proxy: the proxy would ask its own machine.
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})

#: Statuses with which some vendors answer a page that is too large, without saying so.
_MAYBE_TOO_LARGE: Final = frozenset({500, 504})

_Read = TypeVar("_Read")

# Where structlog is installed (Dagster brings it), stamina writes each retry with its arguments to
# standard output. The receipt counts retries instead.
stamina.instrumentation.set_on_retry_hooks([])


@dataclass(frozen=True)
class Query:
    """Every documented query parameter; None is not sent. Times are the vendor's wall clock."""

    start_date: datetime | None = None
    end_date: datetime | None = None
    start_date_ended: datetime | None = None
    end_date_ended: datetime | None = None
    extension: str | None = None
    status: str | None = None
    hotline: str | None = None
    phone: str | None = None
    direction: str | None = None
    campaign_uuid: str | None = None

    def parameters(self, *, limit: int, offset: int) -> dict[str, str | int]:
        """The parameters to send. `limit` and `offset` always: without them there is no data."""
        given = {name: f"{value}" for name, value in asdict(self).items() if value is not None}
        return {**given, "limit": limit, "offset": offset}


@dataclass(frozen=True)
class Patience:
    """How often and how long (in seconds) a request is retried, with growing, jittered pauses.

    Before the vendor's first answer, a wrong host is more likely than a bad moment. So
    `first_attempts` is smaller.
    """

    attempts: int = 12
    first_attempts: int = 6
    seconds: float = 120.0
    first_pause: float = 0.2
    longest_pause: float = 10.0


@dataclass(frozen=True)
class Answer(Generic[_Read]):
    """A readable response: its bytes as received, its value, and how many retries it took."""

    body: bytes
    value: _Read
    fetched_at: datetime
    retries: int


class _Transient(ApiError):
    """A failure after which the request is retried.

    kind: the error to raise after the last try. pause: the vendor's Retry-After, in seconds. busy:
    the vendor was too busy or the token had expired, which says nothing about this request. large:
    the vendor might have answered a smaller page.
    """

    def __init__(
        self,
        message: str,
        kind: type[ApiError] = Unavailable,
        *,
        pause: float = 0.0,
        busy: bool = False,
        large: bool = False,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.pause = pause
        self.busy = busy
        self.large = large


class Client:
    """Asks `GET /v3/cdr`, from any number of threads."""

    def __init__(
        self, connection: Connection, budget: Budget, *, timeout: float, patience: Patience
    ) -> None:
        self._connection = connection
        self._budget = budget
        self._patience = patience
        self._tokens = Tokens(connection, self._sign_in)
        self._not_reached = f"could not be reached{_proxy(connection.base_url)}"
        self._http = _http(
            connection.base_url,
            timeout=timeout,
            headers={
                "User-Agent": f"cdr-pipeline/{__version__}",
                "Content-Type": "application/json",
            },
            event_hooks={"response": [partial(_bound, seconds=timeout)]},
        )
        self.answered = False
        self._stopped = threading.Event()

    @classmethod
    def from_settings(cls, settings: Settings, patience: Patience | None = None) -> Self:
        """A client for the vendor that the settings name. Raises SettingsError."""
        connection = settings.connection()
        budget = Budget(connection.host, settings.requests_per_second, settings.concurrency)
        return cls(
            connection,
            budget,
            timeout=settings.timeout_seconds,
            patience=patience or Patience(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def stop(self) -> None:
        """Send no more requests. A request under way may end; a thread that waits to send another
        gets Unavailable.
        """
        self._stopped.set()

    @property
    def host(self) -> str:
        """The vendor's host."""
        return self._connection.host

    def get(
        self,
        query: Query,
        *,
        limit: int,
        offset: int,
        read: Callable[[bytes], _Read],
        attempts: int | None = None,
    ) -> Answer[_Read]:
        """One page of `query`, read by `read` (which raises MalformedPage if it is no page).

        Raises Unauthorized, Refused (another 4xx), Unreachable, or Unavailable: nothing usable came
        within the bounds of `Patience`, or in `attempts` tries (tries for which the vendor was too
        busy or the token had expired do not count).
        """
        parameters = query.parameters(limit=limit, offset=offset)

        def once() -> tuple[bytes, _Read]:
            response = self._authorized(parameters)
            body = response.content
            try:
                return body, read(body)
            except MalformedPage as error:
                raise _Transient(f"answered 200, but {error}{self._said(response)}") from error

        (body, value), retries = self._persist(once, limit, attempts)
        self.answered = True
        return Answer(body, value, datetime.now(UTC), retries)

    def _persist(
        self, once: Callable[[], _Read], limit: int, attempts: int | None
    ) -> tuple[_Read, int]:
        patience = self._patience
        most = attempts or (patience.attempts if self.answered else patience.first_attempts)
        busy: list[bool] = []  # of each try that failed

        def again(error: Exception) -> bool:
            """Whether to try again. (`Budget` waits for a pause that the vendor asks for.)"""
            if not isinstance(error, _Transient):
                return False
            busy.append(error.busy)
            spent = busy.count(False) >= most
            return not (spent or self._stopped.is_set()) and error.pause <= patience.seconds

        persist = stamina.RetryingCaller(
            attempts=patience.attempts,
            timeout=patience.seconds,
            wait_initial=patience.first_pause,
            wait_max=patience.longest_pause,
            wait_jitter=patience.first_pause,
        )
        try:
            return persist(again, once), len(busy)
        except _Transient as error:
            tries = f"{len(busy)} {'try' if len(busy) == 1 else 'tries'}"
            advice = ", or with a smaller CDR_PAGE_SIZE" if error.large and limit > 1 else ""
            advice += "" if self.answered or error.busy else ", or check CDR_API_BASE_URL"
            given_up = error.kind(f"{self.host} {error} ({tries}). Try again later{advice}.")
            given_up.retries = len(busy) - 1
            raise given_up from error
        except ApiError as error:
            error.retries = len(busy)
            raise

    def _authorized(self, parameters: Mapping[str, Any]) -> httpx.Response:
        # Encode a space as %20: not every server reads + as a space.
        path = f"{_CDR_PATH}?{urlencode(parameters, quote_via=quote)}"
        token = self._tokens.get()
        response = self._send("GET", path, token)
        if response.status_code == 401 and self._tokens.refused(token):
            raise _Transient("answered 401: the token has expired", busy=True)
        self._raise_for(response)
        self._tokens.accepted(token)
        return response

    def _send(
        self, method: str, path: str, token: str | None = None, **request: Any
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = self._connection.base_url + path
        with self._failing_in_words(), self._budget.request(self._stopped, self._patience.seconds):
            if self._stopped.is_set():
                raise Unavailable(f"{self.host} was not asked: the run has ended.")
            response = self._http.request(method, url, headers=headers, **request)
            # The stream refers back to the response: a cycle, so that only the garbage collector
            # would free the body.
            response.stream = httpx.ByteStream(b"")
        if response.status_code in _TRANSIENT or response.status_code > 504:
            pause = _retry_after(response)
            if pause:
                self._budget.pause(pause)
            asks = f" and asks to wait {pause:.0f} s" if pause else ""
            busy = response.status_code == 429 or pause > 0
            said = f"answered {response.status_code}{self._said(response)}{asks}"
            large = method == "GET" and response.status_code in _MAYBE_TOO_LARGE
            raise _Transient(said, pause=pause, busy=busy, large=large)
        return response

    @contextmanager
    def _failing_in_words(self) -> Iterator[None]:
        """Turn the errors of httpx into `_Transient` or Unreachable, with a message."""
        try:
            yield
        except _NOT_REACHED as error:
            if "CERTIFICATE_VERIFY_FAILED" in f"{error}":
                raise Unreachable(
                    f"{self.host} shows a certificate that is not trusted here: {error}. If your"
                    " company has an authority of its own, name its file in SSL_CERT_FILE; else it"
                    " may be another host. Nothing was sent."
                ) from error
            plain = "WRONG_VERSION_NUMBER" in f"{error}"  # the host answered without TLS
            said = self._told(f"{error}") or "timed out"
            why = "it does not speak https: write http:// before it" if plain else said
            raise _Transient(f"{self._not_reached}: {why}", Unreachable) from None
        except httpx.TimeoutException as error:
            page = error.request.method == "GET"  # and no sign-in
            raise _Transient("did not answer in time", large=page) from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            # h11 quotes the bytes that it cannot read, and they may echo the request.
            raise _Transient(f"broke off in mid-answer: {self._told(f'{error}')}") from None

    def _raise_for(self, response: httpx.Response) -> None:
        status = response.status_code
        if status == 200:
            return
        said = self._said(response)
        if status in (401, 403):
            name = "CDR_API_TOKEN" if self._connection.token else "CDR_API_KEY"
            raise self._not_accepted(status, said, name)
        if 300 <= status < 400:
            to = response.next_request and response.next_request.url
            where = f" to {to.scheme}://{to.netloc.decode()}" if to else ""
            said = f", a redirect{where}. Check CDR_API_BASE_URL."
        elif status in (404, 405):
            said += ": it has no CDR endpoint there. Check CDR_API_BASE_URL."
        else:
            said += ". If it does so again later, ask the vendor why."
        raise Refused(f"{self.host} answered {status}{said}", status)

    def _not_accepted(self, status: int, how: str, name: str) -> Unauthorized:
        advice = "Check it, and that it belongs to this host."
        if self.answered and name == "CDR_API_KEY":  # the key was accepted until now
            advice += " If each sign-in ends the one before, let one run load at a time."
        return Unauthorized(
            f"{self.host} answered {status}{how}: it does not accept {name}. {advice}"
        )

    def _said(self, response: httpx.Response) -> str:
        """The vendor's error message, in either documented shape (API.md); empty for none."""
        try:
            error = response.json()["error"] or ""
        except (*UNREADABLE, KeyError, TypeError):
            return ""
        parts = error if isinstance(error, list) else [error]
        texts = [
            str(text)
            for part in parts
            for text in (part.values() if isinstance(part, dict) else [part])
        ]
        said = self._told("; ".join(texts))
        return f" ({said})" if said else ""

    def _told(self, text: str) -> str:
        """The beginning of a message that is not ours, without our secrets and without phone
        numbers and links.
        """
        # JSON may hold a lone surrogate, which cannot be encoded for a webhook.
        text = text.encode(errors="replace").decode()
        for secret in self._tokens.secrets():
            text = text.replace(secret, "***")
        return redacted(text)[:200]

    def _sign_in(self, api_key: str) -> tuple[str, object]:
        """A fresh token, and for how many seconds the vendor says that it is valid."""
        response = self._send("POST", _TOKEN_PATH, json={"api_key": api_key})
        if 400 <= response.status_code < 500 and response.status_code not in (404, 405):
            raise self._not_accepted(response.status_code, " to the sign-in", "CDR_API_KEY")
        if not response.is_success:  # a vendor may answer 201, since it creates a token
            self._raise_for(response)
        try:
            granted = response.json()
            token, expires = granted["token"].strip(), granted.get("expired_in")
        except (*UNREADABLE, KeyError, TypeError, AttributeError) as error:
            raise _Transient("answered the sign-in without a token") from error
        if not fits_a_header(token):
            raise _Transient("answered the sign-in with a token that cannot be sent")
        return token, expires


def _bound(response: httpx.Response, seconds: float) -> None:
    """Bound the time from a response's head to the end of its body: httpx bounds only each single
    read, and a body may come byte by byte.
    """
    stream = response.stream
    assert isinstance(stream, httpx.SyncByteStream)
    response.stream = _Bounded(stream, seconds)


class _Bounded(httpx.SyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream, seconds: float) -> None:
        self._stream = stream
        self._until = time.monotonic() + seconds

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            if time.monotonic() > self._until:
                raise httpx.ReadTimeout("the body took too long")
            yield chunk

    def close(self) -> None:
        self._stream.close()


def _http(url: str, **ways: Any) -> httpx.Client:
    """An HTTP client for the host of `url`: direct for this machine, else by the proxy that is set.

    Raises SettingsError, without the proxy's URL (it may hold a password), if it cannot be used.
    """
    here = urlsplit(url).hostname in _LOOPBACK
    try:
        return httpx.Client(transport=httpx.HTTPTransport() if here else None, **ways)
    except (ImportError, ValueError, httpx.InvalidURL):
        raise SettingsError(
            "The proxy in HTTPS_PROXY, HTTP_PROXY or ALL_PROXY cannot be used: it must begin with"
            " http:// or https://. Take it out, or say NO_PROXY=* to do without."
        ) from None


def _proxy(url: str) -> str:
    """The proxy that is set for the host of `url`, as part of a message; empty without a proxy."""
    parts, proxies = urlsplit(url), getproxies()
    host = parts.hostname or ""
    asked = bool(proxies.keys() & {parts.scheme, "all"}) and host not in _LOOPBACK
    if not asked or proxy_bypass(host):
        return ""
    return f" by the proxy that is set for it ({parts.scheme.upper()}_PROXY, NO_PROXY)"


def post(url: str, content: Mapping[str, Any]) -> None:
    """Send `content` as JSON to a webhook. Raises Unreachable if the webhook cannot have received
    it but may later; else Unavailable, Refused or SettingsError. No message holds the URL.

    Retries only if the webhook cannot have received it, so that it receives nothing twice.
    """
    persist = stamina.RetryingCaller(attempts=3, timeout=10).on(_NOT_REACHED)
    try:
        with _http(url, timeout=_HOOK_SECONDS) as http:
            response = persist(http.post, url, json=content)
    except httpx.HTTPError as error:
        name = type(error).__name__
        why = {"ConnectError": f"{error}", "ReadTimeout": f"no answer in {_HOOK_SECONDS} s"}
        raise (Unreachable if isinstance(error, _NOT_REACHED) else Unavailable)(
            f"the webhook could not be told: {why.get(name) or name}. Check CDR_ALERT_URL, and that"
            " its host answers."
        ) from None
    if not response.is_success:
        status = response.status_code
        said = f"the webhook answered {status}; check CDR_ALERT_URL"
        raise Unreachable(said) if status in _LATER else Refused(said, status)


def _retry_after(response: httpx.Response) -> float:
    """Seconds that the vendor asks us to wait; 0 for none. The header holds seconds or a date. A
    date is compared with the vendor's own clock (header Date) if it is there: ours may be wrong.
    """
    value = response.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    until, now = _moment(value), _moment(response.headers.get("Date", ""))
    return max(0.0, (until - (now or datetime.now(UTC))).total_seconds()) if until else 0.0


def _moment(header: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(header)
    except (ValueError, TypeError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
