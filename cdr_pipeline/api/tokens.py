"""The bearer token to send: the user's own, or one that a sign-in gave and that is kept."""

import threading
import time
from collections.abc import Callable
from typing import Final

from cdr_pipeline.settings import Connection

#: API.md says 24 hours in one place and `expired_in` in another: the shorter one is used.
_LIFETIME_SECONDS: Final = 24 * 3600.0


class Tokens:
    """Gives the token to any number of threads, and signs in again when it has expired."""

    def __init__(
        self, connection: Connection, sign_in: Callable[[str], tuple[str, object]]
    ) -> None:
        """`sign_in(api_key)` returns a token and the vendor's `expired_in` (seconds)."""
        self._fixed = connection.token
        self._api_key = connection.api_key
        self._sign_in = sign_in
        self._lock = threading.Lock()
        self._token = ""
        self._signed_in: set[str] = set()
        self._good_until = 0.0
        self._refused_in_a_row = 0

    def get(self) -> str:
        """The token to send."""
        if self._fixed:
            return self._fixed.get_secret_value()
        with self._lock:
            if not self._token or time.monotonic() >= self._good_until:
                assert self._api_key is not None, "settings ask for a token or a key"
                self._token, expired_in = self._sign_in(self._api_key.get_secret_value())
                self._signed_in.add(self._token)
                self._good_until = time.monotonic() + _lifetime(expired_in) * 0.95
            return self._token

    def accepted(self, token: str) -> None:
        """Note that the vendor accepted this token: a later 401 then means that it has expired."""
        if token == self._token:
            self._refused_in_a_row = 0

    def refused(self, token: str) -> bool:
        """Drop this token, which the vendor refused; return whether to try with another one."""
        if self._fixed:
            return False
        with self._lock:
            if token == self._token:
                self._token = ""
                self._refused_in_a_row += 1
            return self._refused_in_a_row < 2

    def secrets(self) -> list[str]:
        """The texts that no message may hold, the longest first."""
        given = [secret.get_secret_value() for secret in (self._fixed, self._api_key) if secret]
        return sorted({*given, *self._signed_in}, key=len, reverse=True)


def _lifetime(expired_in: object) -> float:
    """For how many seconds a token is used; a day if `expired_in` is no positive number."""
    try:
        told = max(0.0, float(expired_in))  # type: ignore[arg-type]
    except (ValueError, TypeError, OverflowError):
        told = 0.0
    return min(told or _LIFETIME_SECONDS, _LIFETIME_SECONDS)
