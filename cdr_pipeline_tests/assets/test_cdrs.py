"""A large day is flattened by two processes, and nobody sees a difference."""

import os
import signal
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from cdr_pipeline.errors import ProcessLost
from cdr_pipeline.simulator import Chaos, Tenant, Vendor
from cdr_pipeline.tables.contract import ADDITIONAL_KEYS, CDRS, REJECTS
from cdr_pipeline.tables.flatten import Part, part_of
from cdr_pipeline_tests.assets.conftest import TOKEN, Desk

Set = Callable[..., Desk]
DAY = date(2023, 3, 7)
FLATTENED = (CDRS, REJECTS, ADDITIONAL_KEYS)
ASSETS = [one.name for one in FLATTENED]


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every page is a row group, and two of them are worth a second process."""
    monkeypatch.setattr("cdr_pipeline.tables.store._BODY_BYTES", 1)
    monkeypatch.setattr("cdr_pipeline.tables.store._WORTH_A_PROCESS", 2)


def files(at: Desk) -> dict[str, bytes]:
    return {one.name: at.store.path(one, DAY).read_bytes() for one in FLATTENED}


@pytest.mark.usefixtures("large")
def test_a_day_flattened_by_two_processes_is_the_day_flattened_by_one(
    desk: Set, monkeypatch: pytest.MonkeyPatch
) -> None:
    messy = Chaos.parse("messy", 4)
    at = desk(Vendor(tenant=Tenant(calls_per_day=600), token=TOKEN, chaos=messy))
    assert at.run("2023-03-07").success
    assert len(at.store.halves(DAY)) == 2
    by_two = files(at)
    monkeypatch.setattr("cdr_pipeline.tables.store._WORTH_A_PROCESS", 1000)
    assert at.run("2023-03-07", assets=ASSETS).success
    assert files(at) == by_two


def part_that_dies(*args: Any) -> Part:
    """As `part_of` here; elsewhere its process is killed."""
    if os.environ.get("TESTING_PROCESS") != f"{os.getpid()}":
        os.kill(os.getpid(), signal.SIGKILL)
    return part_of(*args)


@pytest.mark.usefixtures("large")
def test_a_second_process_that_is_killed_leaves_the_day_as_it_was(
    desk: Set, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = desk()
    assert at.run("2023-03-07").success
    before = files(at)
    monkeypatch.setenv("TESTING_PROCESS", f"{os.getpid()}")
    monkeypatch.setattr("cdr_pipeline.assets.cdrs.part_of", part_that_dies)
    assert not at.run("2023-03-07", assets=ASSETS).success
    ((_, error),) = at.ended
    assert isinstance(error, ProcessLost)
    assert files(at) == before
    assert not list(Path(at.store.root / ".staging").glob("2023-*/*"))
