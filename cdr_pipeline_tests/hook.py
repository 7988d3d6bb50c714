"""A webhook on loopback."""

import json
from http.server import BaseHTTPRequestHandler
from typing import Any


class Hook(BaseHTTPRequestHandler):
    """Keeps the JSON of each request in `messages` and answers with `status`."""

    messages: list[Any]
    status: int

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).messages.append(json.loads(body))
        self.send_response(type(self).status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing on the terminal."""
