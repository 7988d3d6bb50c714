"""A webhook on loopback."""

import json
from http.server import BaseHTTPRequestHandler
from typing import Any


class Hook(BaseHTTPRequestHandler):
    """A webhook that remembers what it was told."""

    told: list[Any]
    status: int

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).told.append(json.loads(body))
        self.send_response(type(self).status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""
