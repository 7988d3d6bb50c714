"""Our processes end at once, after output, exit handlers and threads are finished."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = "import atexit, sys, threading; from cdr_pipeline.process import as_program\n"


def ended(body: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    """The ended process that ran `body` as its program."""
    text = PROGRAM + f"def main():\n    {body}\nas_program(main)\nprint('not reached')"
    command = [sys.executable, "-c", text]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)


@pytest.mark.parametrize(("body", "code"), [("pass", 0), ("sys.exit()", 0), ("sys.exit(3)", 3)])
def test_the_exit_code_is_that_of_the_program(body: str, code: int) -> None:
    assert ended(body).returncode == code


def test_printed_output_is_complete() -> None:
    done = ended("print('out'); print('err', file=sys.stderr); sys.exit(2)")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 2)


def test_a_letter_that_the_terminal_cannot_show_is_escaped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    assert ended("print('b\u1eadn')").stdout == "b\\u1eadn\n"


def test_an_exit_message_and_a_traceback_are_printed() -> None:
    word, fault = ended("sys.exit('a word')"), ended("1 / 0")
    assert (word.stderr, word.returncode, fault.returncode) == ("a word\n", 1, 1)
    assert "ZeroDivisionError" in fault.stderr


def test_exit_handlers_are_called() -> None:
    assert ended("atexit.register(print, 'tidied')").stdout == "tidied\n"


def test_a_thread_is_waited_for() -> None:
    late = "lambda: (threading.main_thread().join(), print('late'))"
    assert ended(f"threading.Thread(target={late}).start()").stdout == "late\n"


def test_objects_are_not_finalised_at_the_end() -> None:
    kept = "type('Kept', (), {'__del__': lambda _: print('taken apart')})()"
    assert ended(f"global kept; kept = {kept}").stdout == ""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others have no such setting")
def test_large_blocks_of_memory_are_returned_when_they_are_freed() -> None:
    pieces = "[(bytearray(2**23), bytearray(2**17)) for _ in range(20)]"
    body = f"""bytearray(2**24)
    pages = lambda: int(open('/proc/self/statm').read().split()[1])
    before, kept = pages(), [small for _, small in {pieces}]
    print((pages() - before) // 2**8)"""
    assert int(ended(body).stdout) < 20  # MB, of 160


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
def test_a_full_disk_for_the_output_is_an_error() -> None:
    with Path("/dev/full").open("w") as full:
        done = ended("print('lost')", stdout=full.fileno())
    assert done.returncode != 0
    assert "No space left" in done.stderr


def test_closed_streams_are_no_fault(tmp_path: Path) -> None:
    program = f"{PROGRAM}as_program(lambda: open({str(tmp_path / 'done')!r}, 'w').close())"
    command = ["sh", "-c", '"$0" -c "$1" >&- 2>&-', sys.executable, program]
    assert subprocess.run(command, check=False).returncode == 0
    assert (tmp_path / "done").exists()
