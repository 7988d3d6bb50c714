"""Runs one contestant in a process of its own and measures what it cost.

`measure` starts this module as that process. The process itself reports the cost of its start and
of its work, since no other process knows where the start ends and the work begins.
"""

import importlib
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, TypeVar

from cdr_pipeline.bench.contestants import Job
from cdr_pipeline.process import as_program

T = TypeVar("T")

#: How often the memory of a contestant's processes is added up.
_LOOK_EVERY: Final = 0.1


@dataclass(frozen=True)
class Cost:
    """What one run cost.

    cpu: user and system seconds of the process and its children, from their start to their end.
    start_cpu: the part of `cpu` before the work began (interpreter, imports).
    wall: seconds of the work, without the start.
    peak: the most bytes of memory: the process' own high-water mark (VmHWM) or, if that is more,
        what it and its children had together (PSS, looked at 10 times a second).
    written: bytes below its folder at the end.
    told: the contestant's own figures, if its `load` returns any.
    """

    cpu: float
    start_cpu: float
    wall: float
    peak: int
    written: int
    told: dict[str, float] = field(default_factory=dict)


def measure(name: str, job: Job) -> Cost:
    """Run a contestant. Raises RuntimeError with its last words if it fails."""
    job.folder.mkdir(parents=True)
    given = json.dumps(asdict(job), default=str)
    command = [sys.executable, "-m", __name__, name, given]
    log = job.folder / "log.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=_environment(job), cwd=job.folder
        )
        watch = Watch(process.pid)
        watch.start()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        watch.stop()
    if process.returncode:
        words = log.read_text()[-2000:]
        absent = "ModuleNotFoundError" in words
        hint = "\nWhat others need is in a group: `uv run --group bench ...`." if absent else ""
        raise RuntimeError(f"{name} failed:\n{words}{hint}")
    told = json.loads((job.folder / "told.json").read_text())
    return Cost(
        cpu=usage.ru_utime + usage.ru_stime - told["prepare_cpu"],
        start_cpu=told["start_cpu"],
        wall=told["wall"],
        peak=max(told["peak"], watch.peak),
        written=sum(f.stat().st_size for f in job.folder.rglob("*") if f.is_file()),
        told=told["told"] or {},
    )


def apart(work: Callable[..., T], *args: object) -> T:
    """The result of `work`, which runs in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(work, *args).result()


def _environment(job: Job) -> dict[str, str]:
    """The environment without CDR_* settings. Compiled modules are kept beside the job's folder,
    whatever the environment says.
    """
    mine = {key: text for key, text in os.environ.items() if not key.startswith("CDR_")}
    mine.pop("PYTHONDONTWRITEBYTECODE", None)
    cache = {"PYTHONPYCACHEPREFIX": str(job.folder.parent / "compiled")}
    return mine | cache | {"DO_NOT_TRACK": "1", "DAGSTER_DISABLE_TELEMETRY": "yes"}


class Watch(threading.Thread):
    """Adds up the memory of a process and its descendants, if there are any."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self._pid = pid
        self._most_resident = 0
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(_LOOK_EVERY):
            self.look()

    def look(self) -> None:
        family = _family(self._pid)
        resident = sum(memory(f"/proc/{pid}/status", "VmRSS:") for pid in family)
        if len(family) > 1 and resident > self._most_resident:  # a single one reports its VmHWM
            self._most_resident = resident
            # Pss divides shared memory between processes, for which the kernel looks at every page:
            # at each look that took a tenth of a core and slowed contestants of two processes.
            shares = (memory(f"/proc/{pid}/smaps_rollup", "Pss:") for pid in family)
            self.peak = max(self.peak, sum(shares))

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def _family(pid: int) -> list[int]:
    found = [pid]
    try:
        children = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:  # the process or one of its threads has just ended
        return found
    for child in " ".join(children).split():
        found += _family(int(child))
    return found


def memory(path: str, name: str) -> int:
    """A line of kilobytes in a file of the kernel; 0 if there is no such file."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:  # not Linux, or the process has just ended
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)


def cpu() -> float:
    """User and system seconds of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main(name: str, given: str) -> None:
    """Run a contestant in this process, and write what it cost to `told.json`."""
    values: dict[str, Any] = json.loads(given)
    days = tuple(map(date.fromisoformat, values["days"]))
    job = Job(**values | {"folder": Path(values["folder"]), "days": days})
    contestant = importlib.import_module(f"cdr_pipeline.bench.contestants.{name}")
    started = cpu()
    if hasattr(contestant, "prepare"):
        contestant.prepare(job)
    prepared, begun = cpu(), time.perf_counter()
    own = contestant.load(job)
    told = {
        "start_cpu": started,
        "prepare_cpu": prepared - started,
        "wall": time.perf_counter() - begun,
        "peak": memory("/proc/self/status", "VmHWM:"),
        "told": own,
    }
    (job.folder / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    contest = partial(main, *sys.argv[1:])
    if sys.argv[1] in ("ours", "layers"):
        as_program(contest)  # as `cdr-pipeline` does; the others run as a plain script
    else:
        contest()
