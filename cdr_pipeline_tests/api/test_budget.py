"""Limits of requests a second and in flight, shared by all threads and processes of one host."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from cdr_pipeline.api.budget import Budget
from cdr_pipeline.errors import SettingsError, Unavailable
from cdr_pipeline_tests.api.conftest import Clock
from cdr_pipeline_tests.damage import full

HOST = "api.example.vn"

#: The end of a run, which never comes.
OVER = threading.Event()


class Child:
    """Another process with a budget for the same host, which runs `lines` of Python."""

    def __init__(self, tmp_path: Path, budget: str, *lines: str) -> None:
        code = [
            "import json, sys, tempfile, threading, time",
            f"tempfile.tempdir = {str(tmp_path)!r}",
            "over = threading.Event()",
            "from cdr_pipeline.api.budget import Budget",
            f"budget = Budget({HOST!r}, {budget})",
            *lines,
        ]
        self._process = subprocess.Popen(
            [sys.executable, "-c", "\n".join(code)], stdout=subprocess.PIPE, text=True
        )

    def says(self) -> object:
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())

    def kill(self) -> None:
        self._process.kill()
        with self._process:  # closes its pipe and waits for its end
            pass

    def ended(self) -> None:
        out, _ = self._process.communicate(timeout=20)
        assert self._process.returncode == 0, out


def turns(budget: Budget, count: int = 1) -> None:
    """Make `count` requests, one after the other."""
    for _ in range(count):
        with budget.request(OVER):
            pass


def test_requests_are_spaced_over_threads_and_processes(tmp_path: Path) -> None:
    began, each, spacing = time.time(), 6, 1 / 100
    lines = [
        "stamps = []",
        f"for _ in range({each}):",
        "    with budget.request(over): stamps.append(time.time())",
        "print(json.dumps(stamps))",
    ]
    children = [Child(tmp_path, "100, 4", *lines) for _ in range(2)]
    budget = Budget(HOST, per_second=100, in_flight=4)

    def ask(_: int) -> float:
        with budget.request(OVER):
            return time.time()

    with ThreadPoolExecutor(3) as threads:
        stamps = list(threads.map(ask, range(each)))
    for child in children:
        theirs = child.says()
        assert isinstance(theirs, list)
        stamps += theirs
        child.ended()
    assert len(stamps) == 3 * each
    for number, stamp in enumerate(sorted(stamps)):
        assert stamp >= began + number * spacing


def test_without_a_rate_nobody_waits(clock: Clock) -> None:
    budget = Budget(HOST, per_second=0, in_flight=1)
    turns(budget, 50)
    assert clock.pauses == []


def test_a_slow_rate_is_kept_exactly(clock: Clock) -> None:
    budget = Budget(HOST, per_second=0.5, in_flight=1)
    began = time.time()
    turns(budget, 5)
    assert time.time() - began >= 4 * 2
    assert len(clock.pauses) == 4


def test_exactly_the_allowed_number_of_requests_is_in_flight() -> None:
    budget = Budget(HOST, per_second=0, in_flight=3)
    inside, most, lock = 0, 0, threading.Lock()
    together = threading.Barrier(3, timeout=10)

    def ask(_: int) -> None:
        nonlocal inside, most
        with budget.request(OVER):
            with lock:
                inside += 1
                most = max(most, inside)
            together.wait()  # breaks unless three are in flight at once
            with lock:
                inside -= 1

    with ThreadPoolExecutor(9) as threads:
        list(threads.map(ask, range(9)))
    assert most == 3


def test_a_place_in_flight_is_free_again_after_an_error() -> None:
    budget = Budget(HOST, per_second=0, in_flight=1)
    with pytest.raises(RuntimeError), budget.request(OVER):
        raise RuntimeError
    turns(budget)


def test_a_place_in_flight_is_free_again_though_a_process_forked_there_still_runs(
    tmp_path: Path,
) -> None:
    child = Child(
        tmp_path,
        "0, 1",
        "import os, signal",
        "with budget.request(over):",
        "    forked = os.fork()",
        "    signal.alarm(20)  # the end of whoever waits for ever",
        "    if not forked: signal.pause()",
        "with budget.request(over):",
        "    os.kill(forked, signal.SIGKILL)",
        "    print('1', flush=True)",
    )
    assert child.says() == 1
    child.kill()


class Crowded:
    """Another process that holds the only place in flight, and a thread that waits for it."""

    def __init__(self, tmp_path: Path) -> None:
        lines = "with budget.request(over):", "    print('1', flush=True); time.sleep(60)"
        self.holder = Child(tmp_path, "0, 1", *lines)
        assert self.holder.says() == 1
        self.over, self.entered = threading.Event(), threading.Event()
        self._waiting = threading.Thread(target=self._wait)
        self._waiting.start()
        assert not self.entered.wait(0.1)

    def _wait(self) -> None:
        with Budget(HOST, per_second=0, in_flight=1).request(self.over):
            self.entered.set()

    def close(self) -> None:
        self.holder.kill()
        self._waiting.join()


@pytest.fixture
def crowded(tmp_path: Path) -> Iterator[Crowded]:
    with closing(Crowded(tmp_path)) as it:
        yield it


def test_another_process_takes_a_place_in_flight_until_it_is_killed(crowded: Crowded) -> None:
    crowded.holder.kill()
    assert crowded.entered.wait(10)


def test_nobody_waits_for_a_place_once_the_run_is_over(crowded: Crowded) -> None:
    crowded.over.set()
    assert crowded.entered.wait(10)


def test_the_folders_of_a_budget_are_private_to_the_user_whatever_the_umask(tmp_path: Path) -> None:
    """Users who share CDR_DATA_DIR have `umask 002`: each could change the budgets of others."""
    before = os.umask(0o002)
    try:
        with Budget("private.example", per_second=100, in_flight=1).request(threading.Event()):
            pass
    finally:
        os.umask(before)
    folders = [one for one in tmp_path.rglob("*") if one.is_dir()]
    assert [one.stat().st_mode & 0o777 for one in folders] == [0o700, 0o700]


def test_a_deleted_temporary_folder_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login session's folder is deleted while Dagster runs: `late_calls` failed from then on."""
    session = tmp_path / "session"
    monkeypatch.setattr(tempfile, "tempdir", f"{session}")
    budget = Budget(HOST, per_second=100, in_flight=1)
    shutil.rmtree(session)
    turns(budget)
    assert session.exists()


def test_hosts_have_budgets_of_their_own(clock: Clock) -> None:
    Budget("a.example.vn", per_second=1, in_flight=1).pause(60)
    with Budget("b.example.vn", per_second=1, in_flight=1).request(OVER):
        pass
    assert clock.pauses == []


def test_a_pause_that_the_vendor_asks_for_holds_for_other_processes(
    tmp_path: Path, clock: Clock
) -> None:
    lines = "asked = time.time()", "budget.pause(30)", "print(json.dumps(asked))"
    child = Child(tmp_path, "0, 1", *lines)
    asked = child.says()
    child.ended()
    assert isinstance(asked, float)
    with Budget(HOST, per_second=0, in_flight=1).request(OVER):
        assert time.time() >= asked + 30
    assert clock.pauses


def test_a_pause_holds_for_a_request_that_already_waits_for_its_turn(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = Budget(HOST, per_second=0.5, in_flight=1)
    turns(budget)
    over = threading.Event()
    passing = over.wait

    def paused_meanwhile(seconds: float) -> bool:
        monkeypatch.setattr(over, "wait", passing)
        budget.pause(30)
        return passing(seconds)

    monkeypatch.setattr(over, "wait", paused_meanwhile)
    began = time.time()
    with budget.request(over):
        assert time.time() >= began + 30


@pytest.mark.parametrize("seconds", [5, 500])
def test_requests_that_waited_for_a_pause_to_end_are_spaced(seconds: float) -> None:
    waits: list[float] = []

    class Watched(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0.0)
            return True

    budget = Budget(HOST, per_second=1, in_flight=1)
    budget.pause(seconds)
    for _ in range(4):
        with budget.request(Watched()):
            pass
    assert [wait - seconds for wait in waits] == pytest.approx([0, 1, 2, 3], abs=0.5)


@pytest.mark.parametrize("asked", [1000, 4000])
def test_a_pause_beyond_our_patience_is_an_error_and_not_waited_for(
    clock: Clock, asked: float
) -> None:
    Budget(HOST, per_second=0, in_flight=1).pause(asked)
    with (
        pytest.raises(Unavailable, match=r"(1000|999|3600|3599) s more: nothing was asked for"),
        Budget(HOST, per_second=0, in_flight=1).request(OVER, longest=120),
    ):
        pass
    assert clock.pauses == []


def test_a_shorter_pause_does_not_cut_a_longer_one(clock: Clock) -> None:
    budget = Budget(HOST, per_second=0, in_flight=1)
    began = time.time()
    budget.pause(60)
    budget.pause(1)
    with budget.request(OVER):
        assert time.time() >= began + 60


@pytest.mark.parametrize("left", [b"", b"\0" * 40, b"1.5", b"a b", b"nan nan", b"inf inf", b"\xff"])
def test_a_ledger_that_cannot_be_read_is_replaced(
    clock: Clock, tmp_path: Path, left: bytes
) -> None:
    budget = Budget(HOST, per_second=0.5, in_flight=1)
    turns(budget)
    (ledger,) = tmp_path.rglob("turns")
    ledger.write_bytes(left)
    turns(budget, 3)
    assert len(clock.pauses) == 2
    assert sum(clock.pauses) == pytest.approx(4, abs=1)


@pytest.mark.parametrize("hours", [-20_000, 2, 20_000])
def test_after_the_clock_was_set_nobody_waits(clock: Clock, tmp_path: Path, hours: int) -> None:
    budget = Budget(HOST, per_second=0.5, in_flight=1)
    turns(budget)
    (ledger,) = tmp_path.rglob("turns")
    then = time.time() + hours * 3600
    ledger.write_text(f"{then} {then}")
    turns(budget)
    assert clock.pauses == []


def test_a_full_or_missing_temporary_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message read as if CDR_DATA_DIR, on another disk, were full or missing."""
    budget = Budget(HOST, per_second=5, in_flight=1)
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left") as raised:
        turns(budget)
    assert Path(raised.value.filename).name == "turns"
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [f"{tmp_path / 'none'}"])
    with pytest.raises(SettingsError, match=r"No usable temporary directory .* TMPDIR must name"):
        Budget(HOST, per_second=5, in_flight=1)
