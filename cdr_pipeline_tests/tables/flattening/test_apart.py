"""Work in another process: the same result as here, and it ends with the process that asked."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Never

import polars as pl
import pytest

from cdr_pipeline.errors import CdrError, CheckFailed, ProcessLost, Refused
from cdr_pipeline.tables.flattening.apart import apart


def add(pieces: Iterator[int], one: int, other: int = 0) -> tuple[int, int]:
    return os.getpid(), sum(pieces, one + other)


def stop_at_the_first(pieces: Iterator[bytes]) -> int:
    return len(next(pieces))


def chatter(_: Iterator[int], words: str) -> str:
    sys.stdout.write(words)
    os.write(1, words.encode())
    return words


def answer_at_length(pieces: Iterator[bytes], how: str) -> bytes:
    next(pieces)
    if how == "an error":
        raise CheckFailed("x" * 2**20)
    return bytes(2**20)


def refuse(_: Iterator[int], reason: str) -> Never:
    raise CheckFailed(reason)


def stumble(_: Iterator[int], over: str) -> Never:
    class Local(Exception):
        pass

    if over == "a local class":
        raise Local
    if over == "SystemExit":
        sys.exit(3)
    raise Refused("said", 401)


def give(
    _: Iterator[int], frame: pl.DataFrame, path: Path, day: date
) -> tuple[pl.DataFrame, Path, date]:
    return frame.with_columns(pl.all().reverse()), path, day


def die(_: Iterator[bytes]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wait(_: Iterator[int], words: Path) -> None:
    with words.open("w") as telling:
        telling.write("here\n")
        telling.flush()
        signal.pause()


def environment() -> dict[str, str]:
    """The environment of a process that can import this module."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """A named pipe: its reader gets the end of file when the process that writes to it ends."""
    os.mkfifo(tmp_path / "words")
    return tmp_path / "words"


def test_the_result_comes_from_another_process() -> None:
    with apart(add, 1, other=2) as work:
        process, total = work.result()
    assert total == 3
    assert process != os.getpid()


def test_frames_paths_and_days_can_be_sent_and_returned() -> None:
    frame = pl.DataFrame({"id": ["a", "b", None]}, schema={"id": pl.Categorical})
    with apart(give, frame, Path("x"), date(2023, 3, 7)) as work:
        back, path, day = work.result()
    assert back.equals(frame.reverse())
    assert back.schema == frame.schema
    assert (path, day) == (Path("x"), date(2023, 3, 7))


def test_several_processes_work_at_once_and_are_asked_in_any_order() -> None:
    with apart(add, 1) as first, apart(add, 2) as second:
        assert second.result()[1] == 2
        assert first.result()[1] == 1


def test_the_process_gets_its_input_piece_by_piece() -> None:
    with apart(add, 1) as work:
        for piece in range(100):
            work.give(piece)
        assert work.result()[1] == 1 + sum(range(100))


def test_pieces_that_are_not_read_block_nobody() -> None:
    with apart(stop_at_the_first) as work:
        for _ in range(10):
            work.give(bytes(2**20))
        assert work.result() == 2**20


@pytest.mark.parametrize("how", ["a result", "an error"])
def test_a_long_answer_before_the_last_piece_blocks_nobody(how: str) -> None:
    with apart(answer_at_length, how) as work:
        for _ in range(10):
            work.give(bytes(2**20))
        if how == "a result":
            assert work.result() == bytes(2**20)
        else:
            with pytest.raises(CheckFailed):
                work.result()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
def test_work_succeeds_where_standard_streams_are_closed(closed: str, tmp_path: Path) -> None:
    asks = (
        "import sys; from pathlib import Path\n"
        "from cdr_pipeline.tables.flattening.apart import apart\n"
        f"from {__name__} import add\n"
        "with apart(add, 1) as work:\n"
        "    work.give(2)\n"
        "    Path(sys.argv[1]).write_text(str(work.result()[1]))"
    )
    command = ["sh", "-c", f'"$0" -c "$1" "$2" {closed}', sys.executable, asks]
    subprocess.run([*command, str(tmp_path / "sum")], env=environment(), check=True)
    assert (tmp_path / "sum").read_text() == "3"


@pytest.mark.parametrize("when", ["it is begun", "its end is waited for"])
def test_an_interrupt_at_any_moment_ends_the_process_that_asked(when: str) -> None:
    """Ctrl-C, and again Ctrl-C while the first is handled."""
    asks = (
        "import os, signal, sys, threading; from subprocess import Popen\n"
        "from cdr_pipeline.tables.flattening.apart import apart\n"
        f"from {__name__} import add\n"
        "def interrupted(real):\n"
        "    def doing(*args):\n"
        "        done = real(*args)\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        return done\n"
        "    return doing\n"
        "if sys.argv[1] == 'it is begun':\n"
        "    threading.Thread.start = interrupted(threading.Thread.start)\n"
        "with apart(add, 1) as work:\n"
        "    Popen.wait = interrupted(Popen.wait)\n"
        "    raise KeyboardInterrupt"
    )
    asked = subprocess.run(
        [sys.executable, "-c", asks, when],
        env=environment(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert asked.returncode == -signal.SIGINT
    assert b"KeyboardInterrupt" in asked.stderr


def test_a_piece_that_cannot_be_pickled_is_an_error_in_the_result() -> None:
    with apart(stop_at_the_first) as work:
        for _ in range(5):
            work.give(memoryview(b""))  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="pickle"):
            work.result()


def test_giving_to_a_process_that_is_gone_is_an_error_in_the_result() -> None:
    with apart(die) as work:
        for _ in range(10):
            work.give(bytes(2**20))
        with pytest.raises(ProcessLost):
            work.result()


def test_text_printed_by_the_process_is_not_taken_for_its_answer() -> None:
    with apart(chatter, "not a pickle") as work:
        assert work.result() == "not a pickle"


def test_an_error_in_the_process_is_raised_by_the_result() -> None:
    with apart(refuse, "2023-03-07: balance") as work, pytest.raises(CheckFailed, match="bal"):
        work.result()


def test_an_error_says_where_it_was_raised() -> None:
    with apart(refuse, "balance") as work, pytest.raises(CheckFailed) as refused:
        work.result()
    assert "in refuse" in "".join(refused.value.__notes__)


@pytest.mark.parametrize("raised", ["a local class", "SystemExit", "two arguments"])
def test_an_error_that_cannot_be_pickled_comes_as_text(raised: str) -> None:
    with apart(stumble, raised) as work, pytest.raises(RuntimeError, match="in stumble"):
        work.result()


def test_modules_beside_the_data_are_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "signal.py").write_text("raise SystemExit('somebody ran it')")
    monkeypatch.chdir(tmp_path)
    with apart(add, 1) as work:
        assert work.result()[1] == 1


def test_a_killed_process_raises_process_lost() -> None:
    with apart(die) as work, pytest.raises(ProcessLost, match=r"memory.*-9.*old content") as lost:
        work.result()
    assert isinstance(lost.value, CdrError)


def test_leaving_the_context_early_ends_the_process(words: Path) -> None:
    with apart(wait, words):
        pipe = words.open()
        assert pipe.readline() == "here\n"
    with pipe:
        assert pipe.read() == ""


def test_the_process_ends_when_the_process_that_asked_is_killed(words: Path) -> None:
    asks = (
        "import signal, sys; from pathlib import Path\n"
        "from cdr_pipeline.tables.flattening.apart import apart\n"
        f"from {__name__} import wait\n"
        "with apart(wait, Path(sys.argv[1])): signal.pause()"
    )
    asking = subprocess.Popen([sys.executable, "-c", asks, str(words)], env=environment())
    with words.open() as pipe:
        assert pipe.readline() == "here\n"
        asking.kill()
        assert pipe.read() == ""
    asking.wait()
