"""One server for many vendors."""

from starlette.types import ASGIApp, Receive, Scope, Send

from cdr_pipeline.simulator import Vendor


class Stage(Vendor):
    """One server for all the tests, since stopping one takes a while: it serves whoever is on."""

    on: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.on(scope, receive, send)
