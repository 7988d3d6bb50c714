"""A large day is flattened by two processes, with the same result as by one."""

import os
import signal
from datetime import date
from errno import ENOMEM
from pathlib import Path
from typing import Any, Never

import pytest

from cdr_pipeline.errors import NotProved, ProcessLost
from cdr_pipeline.simulator import Chaos, Tenant, Vendor
from cdr_pipeline.tables.datasets import ADDITIONAL_KEYS, CDRS, REJECTS
from cdr_pipeline.tables.flattening.crew import Crew, _part_of
from cdr_pipeline.tables.flattening.flatten import Part
from cdr_pipeline_tests.desk import TOKEN, Desk, NewDesk

DAY = date(2023, 3, 7)
FLATTENED = (CDRS, REJECTS, ADDITIONAL_KEYS)
ASSETS = [one.name for one in FLATTENED]


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every page is a row group, and a second process starts from two row groups on."""
    monkeypatch.setattr("cdr_pipeline.tables.raw_pages._BODY_BYTES", 1)
    monkeypatch.setattr("cdr_pipeline.tables.flattening.crew._WORTH_A_PROCESS", 2)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An entry for each second process that was started: what it began to flatten."""
    starts: list[str] = []
    begin = Crew._begin

    def telling(self: Crew) -> None:
        starts.append("what is stored" if self._pages.path.exists() else "what comes")
        begin(self)

    monkeypatch.setattr(Crew, "_begin", telling)
    return starts


def files(at: Desk) -> dict[str, bytes]:
    return {one.name: at.store.path(one, DAY).read_bytes() for one in FLATTENED}


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize(("chaos", "passes"), [("messy", 1), ("messy,drift", 2)])
def test_two_processes_flatten_a_day_as_one_process_does(
    desk: NewDesk, monkeypatch: pytest.MonkeyPatch, begun: list[str], chaos: str, passes: int
) -> None:
    """During the fetch and from stored pages; also if the day is read several times."""
    vendor = Vendor(tenant=Tenant(calls_per_day=600), token=TOKEN, chaos=Chaos.parse(chaos, 4))
    at = desk(vendor)
    assert at.run("2023-03-07").success
    assert begun[0] == "what comes"
    assert len(begun) == passes
    while_fetched = files(at)
    begun.clear()
    assert at.run("2023-03-07", assets=ASSETS).success
    assert begun == ["what is stored"]
    assert files(at) == while_fetched
    begun.clear()
    monkeypatch.setattr("cdr_pipeline.tables.flattening.crew._WORTH_A_PROCESS", 1000)
    assert at.run("2023-03-07", assets=ASSETS).success
    assert not begun
    assert files(at) == while_fetched


def part_that_dies(*args: Any) -> Part:
    """`_part_of` in this process; in another process, the process is killed."""
    if os.environ.get("TESTING_PROCESS") != f"{os.getpid()}":
        os.kill(os.getpid(), signal.SIGKILL)
    return _part_of(*args)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("assets", [None, ASSETS], ids=["while fetched", "from what is stored"])
def test_a_second_process_that_is_killed_leaves_the_day_as_it_was(
    desk: NewDesk, monkeypatch: pytest.MonkeyPatch, assets: list[str] | None
) -> None:
    at = desk()
    assert at.run("2023-03-07").success
    before = files(at)
    monkeypatch.setenv("TESTING_PROCESS", f"{os.getpid()}")
    monkeypatch.setattr("cdr_pipeline.tables.flattening.crew._part_of", part_that_dies)
    assert not at.run("2023-03-07", assets=assets).success
    ((_, error),) = at.ended
    assert isinstance(error, ProcessLost)
    assert files(at) == before
    assert not list(Path(at.store.root / ".staging").glob("2023-*/*"))


@pytest.mark.usefixtures("large")
def test_a_day_that_is_not_proved_ends_the_second_process(desk: NewDesk, begun: list[str]) -> None:
    at = desk(
        Vendor(tenant=Tenant(calls_per_day=600), token=TOKEN, chaos=Chaos.parse("lying-total"))
    )
    assert not at.run("2023-03-07").success
    ((_, error),) = at.ended
    assert isinstance(error, NotProved)
    assert begun == ["what comes"]
    assert not at.store.days(CDRS)
    assert not list(Path(at.store.root / ".staging").glob("2023-*/*"))


@pytest.mark.usefixtures("large")
def test_if_no_process_can_be_started_one_flattens_the_whole_day(
    desk: NewDesk, monkeypatch: pytest.MonkeyPatch, begun: list[str]
) -> None:
    def no_memory(*_: Any, **__: Any) -> Never:
        raise OSError(ENOMEM, os.strerror(ENOMEM))

    monkeypatch.setattr("cdr_pipeline.tables.flattening.crew.apart", no_memory)
    at = desk()
    assert at.run("2023-03-07").success
    assert begun == ["what comes", "what is stored"]
