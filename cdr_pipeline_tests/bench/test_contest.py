"""The measured memory of a contestant is the memory of all its processes."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from cdr_pipeline.bench.contest import Watch

MEGABYTE = 10**6

#: A process with 50 MB and a child with 100 MB more; a line on its input ends the child.
FAMILY = """
import subprocess, sys
own = b"x" * 50_000_000
code = "own = b'y' * 100_000_000; print('here', flush=True); input()"
with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as child:
    input()
    child.communicate(b"\\n")
    print("alone", flush=True)
    input()
"""


@contextmanager
def family() -> Iterator["subprocess.Popen[str]"]:
    """Both processes, once the child has its memory."""
    with subprocess.Popen(
        [sys.executable, "-c", FAMILY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert line_of(process) == "here"
        yield process
        process.communicate("\n")


def end_the_child(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert line_of(process) == "alone"


def line_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_the_peak_is_of_all_processes_together_and_stays_when_they_end() -> None:
    with family() as process:
        watch = Watch(process.pid)
        watch.look()
        peak = watch.peak
        assert 150 * MEGABYTE < peak < 250 * MEGABYTE
        end_the_child(process)
        watch.look()
        assert watch.peak == peak


def test_the_peak_of_a_single_process_is_left_to_that_process() -> None:
    with family() as process:
        end_the_child(process)
        watch = Watch(process.pid)
        watch.look()
        assert watch.peak == 0
