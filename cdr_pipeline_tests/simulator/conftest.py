"""A client for the vendor under test, over real HTTP on loopback."""

from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import httpx
import pytest

from cdr_pipeline.simulator import Vendor
from cdr_pipeline_tests.stage import Stage

DAY = date(2023, 3, 7)
WHOLE_DAY = {"start_date": "2023-03-07", "end_date": "2023-03-07"}

Connect = Callable[[Vendor], httpx.Client]
Lister = Callable[[Vendor], Callable[..., dict[str, Any]]]


@pytest.fixture
def connect(stage: tuple[Stage, str]) -> Iterator[Connect]:
    """Serves a vendor and returns a client for it: `client = connect(Vendor(...))`."""
    acts, base_url = stage
    with httpx.Client(base_url=base_url, verify=False, trust_env=False) as client:

        def connected(vendor: Vendor) -> httpx.Client:
            acts.on = vendor
            return client

        yield connected


@pytest.fixture
def lister(connect: Connect) -> Lister:
    """Serves a vendor, to list its calls: `listed = lister(Vendor(...)); listed(limit=2)`."""

    def listing(vendor: Vendor) -> Callable[..., dict[str, Any]]:
        client = connect(vendor)

        def listed(**params: object) -> dict[str, Any]:
            asked = {"limit": 1000, "offset": 0} | params
            answer = client.get("/v3/cdr", params={k: str(v) for k, v in asked.items()})
            answer.raise_for_status()
            content: dict[str, Any] = answer.json()
            return content

        return listed

    return listing
