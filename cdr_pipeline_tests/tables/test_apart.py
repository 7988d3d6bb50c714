"""Work in another process gives what it gives here, and nothing outlives whoever asked for it."""

import os
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Never

import polars as pl
import pytest

from cdr_pipeline.errors import CdrError, CheckFailed, ProcessLost, Refused
from cdr_pipeline.tables.apart import apart


def add(one: int, other: int = 0) -> tuple[int, int]:
    return os.getpid(), one + other


def chatter(words: str) -> str:
    sys.stdout.write(words)
    os.write(1, words.encode())
    return words


def refuse(reason: str) -> Never:
    raise CheckFailed(reason)


def stumble(over: str) -> Never:
    class Local(Exception):
        pass

    if over == "a local class":
        raise Local
    if over == "SystemExit":
        sys.exit(3)
    raise Refused("said", 401)


def give(frame: pl.DataFrame, path: Path, day: date) -> tuple[pl.DataFrame, Path, date]:
    return frame.with_columns(pl.all().reverse()), path, day


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wait(words: Path) -> None:
    with words.open("w") as telling:
        telling.write("here\n")
        telling.flush()
        signal.pause()


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """A pipe; what is read from it ends when the process that writes to it does."""
    os.mkfifo(tmp_path / "words")
    return tmp_path / "words"


def test_the_result_comes_from_another_process() -> None:
    with apart(add, 1, other=2) as result:
        process, total = result()
    assert total == 3
    assert process != os.getpid()


def test_frames_paths_and_days_go_there_and_back() -> None:
    frame = pl.DataFrame({"id": ["a", "b", None]}, schema={"id": pl.Categorical})
    with apart(give, frame, Path("x"), date(2023, 3, 7)) as result:
        back, path, day = result()
    assert back.equals(frame.reverse())
    assert back.schema == frame.schema
    assert (path, day) == (Path("x"), date(2023, 3, 7))


def test_several_work_at_once_and_are_asked_in_any_order() -> None:
    with apart(add, 1) as first, apart(add, 2) as second:
        assert second()[1] == 2
        assert first()[1] == 1


def test_what_is_printed_there_is_no_answer() -> None:
    with apart(chatter, "not a pickle") as result:
        assert result() == "not a pickle"


def test_an_error_there_is_an_error_here() -> None:
    with apart(refuse, "2023-03-07: balance") as result, pytest.raises(CheckFailed, match="bal"):
        result()


def test_an_error_says_where_it_was_raised() -> None:
    with apart(refuse, "balance") as result, pytest.raises(CheckFailed) as refused:
        result()
    assert "in refuse" in "".join(refused.value.__notes__)


@pytest.mark.parametrize("raised", ["a local class", "SystemExit", "two arguments"])
def test_what_cannot_come_back_is_told_in_words(raised: str) -> None:
    with apart(stumble, raised) as result, pytest.raises(RuntimeError, match="in stumble"):
        result()


def test_modules_beside_the_data_are_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "signal.py").write_text("raise SystemExit('somebody ran it')")
    monkeypatch.chdir(tmp_path)
    with apart(add, 1) as result:
        assert result()[1] == 1


def test_a_process_that_was_killed_is_told_as_what_it_is() -> None:
    with apart(die) as result, pytest.raises(ProcessLost, match=r"memory.*-9.*unchanged") as lost:
        result()
    assert isinstance(lost.value, CdrError)


def test_who_leaves_early_ends_it(words: Path) -> None:
    with apart(wait, words):
        told = words.open()
        assert told.readline() == "here\n"
    with told:
        assert told.read() == ""


def test_it_ends_with_whoever_asked_however_that_ends(words: Path) -> None:
    asks = (
        "import signal, sys; from pathlib import Path\n"
        "from cdr_pipeline.tables.apart import apart\n"
        f"from {__name__} import wait\n"
        "with apart(wait, Path(sys.argv[1])): signal.pause()"
    )
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    asking = subprocess.Popen([sys.executable, "-c", asks, str(words)], env=os.environ | path)
    with words.open() as told:
        assert told.readline() == "here\n"
        asking.kill()
        assert told.read() == ""
    asking.wait()
