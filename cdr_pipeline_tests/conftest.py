"""Profiles of Hypothesis (in CI its search is the same each time) and the fixtures that tests of
several folders use. No test waits before it repeats a request that failed.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import stamina
from hypothesis import HealthCheck, settings

from cdr_pipeline import environment
from cdr_pipeline.settings import PREFIX
from cdr_pipeline_tests.hook import Hook

settings.register_profile(
    "here",
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("ci", settings.get_profile("here"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(autouse=True)
def _no_pauses() -> Iterator[None]:
    """A failed request is repeated without a pause; four attempts at most.

    This holds in this process only: a process that a test starts waits as usual.
    """
    with stamina.set_testing(True, attempts=4, cap=True):
        yield


@pytest.fixture(autouse=True)
def _nothing_of_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A test works in an empty folder; its environment has none of our settings and no proxy.

    The repository's folder holds its user's `.env`: once, alerts of tests went to a real webhook.
    """
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        ours = name.startswith(PREFIX) or name == "DAGSTER_HOME"
        if ours or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    # Otherwise the next test would take settings away that the `.env` of this test had set.
    monkeypatch.setenv(environment.COVERED, "{}")


@pytest.fixture(scope="session")
def stage() -> Iterator[tuple[Any, str]]:
    """A running `Stage` and its URL."""
    from cdr_pipeline.simulator import serve
    from cdr_pipeline_tests.stage import Stage

    stage = Stage(records=[])
    with serve(stage) as running:
        yield stage, running.base_url


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`world(Switchboard())`: a vendor on loopback and Dagster's daemon, by the test's clock."""
    import dagster as dg

    from cdr_pipeline.api import listing
    from cdr_pipeline.assets import daily
    from cdr_pipeline.automation import freshness, late_calls
    from cdr_pipeline.simulator import Vendor, serve
    from cdr_pipeline_tests.desk import TOKEN, settings_for
    from cdr_pipeline_tests.living import Clock, Switchboard, World

    for module in (freshness, late_calls, daily, listing):
        monkeypatch.setattr(module, "datetime", Clock)
    with ExitStack() as stack:

        def made(board: Switchboard, **given: Any) -> tuple[World, Vendor]:
            vendor = Vendor(tenant=board, token=TOKEN, chaos=given.pop("chaos", None))
            running = stack.enter_context(serve(vendor))
            given = {"page_size": 10, "probe_days": 14} | given
            instance = stack.enter_context(dg.DagsterInstance.ephemeral())
            settings = settings_for(running.base_url, tmp_path, **given)
            return World(board, instance, settings), vendor

        yield made


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Any]:
    """`desk(Vendor(...))`: a running vendor, settings for it and an instance of Dagster."""
    import dagster as dg

    from cdr_pipeline.simulator import Tenant, Vendor, serve
    from cdr_pipeline_tests.desk import TOKEN, Desk, settings_for

    with ExitStack() as stack:

        def made(vendor: Vendor | None = None, **settings: Any) -> Desk:
            vendor = vendor or Vendor(tenant=Tenant(calls_per_day=120), token=TOKEN)
            running = stack.enter_context(serve(vendor))
            instance = stack.enter_context(dg.DagsterInstance.ephemeral())
            return Desk(settings_for(running.base_url, tmp_path, **settings), vendor, instance)

        yield made


@pytest.fixture
def store(tmp_path: Path) -> Any:
    """An empty store whose times are in Vietnam's zone."""
    from cdr_pipeline.tables.store import Store
    from cdr_pipeline_tests.records import SAIGON

    return Store(tmp_path / "data", SAIGON)


@pytest.fixture
def hook() -> Iterator[tuple[str, type[Hook]]]:
    """The URL of a webhook, which is a secret, and the class that keeps its messages."""
    kind = type("OneHook", (Hook,), {"messages": [], "status": 200})
    with HTTPServer(("127.0.0.1", 0), kind) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/s3cret-path", kind
        server.shutdown()
