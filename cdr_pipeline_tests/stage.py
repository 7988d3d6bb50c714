"""One server for the vendors of many tests."""

from starlette.types import ASGIApp, Receive, Scope, Send

from cdr_pipeline.simulator import Vendor


class Stage(Vendor):
    """Serves the app in `on`, which each test replaces: to stop a server takes too long."""

    on: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.on(scope, receive, send)
