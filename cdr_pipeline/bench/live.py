"""A backfill as whoever launches it sees it: through Dagster's UI, by its daemon, two runs at once.

Beyond what the runs take this has the daemon's waiting in it, whose clock ticks every 30 s.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.request import Request, urlopen

_UNDER_WAY: Final = "REQUESTED"

_LAUNCH: Final = """mutation ($days: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $days) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}"""

_LOOK: Final = """query ($id: String!) {
  partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } }
  runsOrError(filter: {tags: [{key: "dagster/backfill", value: $id}]}) {
    ... on Runs { results { startTime endTime status } }
  }
}"""


@dataclass(frozen=True)
class Backfill:
    """When things happened, in seconds from the click.

    began, ended: the first run and the last one. noticed: the backfill said that it was done.
    """

    began: float
    ended: float
    noticed: float
    runs: int

    def __str__(self) -> str:
        return (
            f"by the daemon: {self.runs} runs, the first after {self.began:.0f} s, the last done"
            f" after {self.ended:.0f} s, the backfill after {self.noticed:.0f} s"
        )


def backfill(
    days: Sequence[date], datasets: Sequence[str], environment: Mapping[str, str], folder: Path
) -> Backfill:
    """Launch a backfill in a UI of its own and wait for it. Raises SystemExit if it fails."""
    with _ui(environment, folder) as ask:
        clicked = time.time()
        keys = [{"path": [name]} for name in datasets]
        launched = ask(
            _LAUNCH, days={"assetSelection": keys, "partitionNames": [f"{day}" for day in days]}
        )["launchPartitionBackfill"]
        if "backfillId" not in launched:
            raise SystemExit(f"the backfill was not launched: {launched}")
        status, runs = _UNDER_WAY, []
        while status == _UNDER_WAY:
            time.sleep(1)
            seen = ask(_LOOK, id=launched["backfillId"])
            status = seen["partitionBackfillOrError"]["status"]
            runs = seen["runsOrError"]["results"]
        noticed = time.time()
        if status != "COMPLETED_SUCCESS":
            raise SystemExit(f"the backfill ended as {status}")
        return Backfill(
            min(run["startTime"] for run in runs) - clicked,
            max(run["endTime"] for run in runs) - clicked,
            noticed - clicked,
            len(runs),
        )


@contextmanager
def _ui(environment: Mapping[str, str], folder: Path) -> Iterator[Any]:
    """Dagster's UI and daemon; what is yielded asks it a GraphQL question."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def ask(question: str, **variables: Any) -> Any:
        body = json.dumps({"query": question, "variables": variables}).encode()
        kind = {"Content-Type": "application/json"}
        with urlopen(Request(f"http://127.0.0.1:{port}/graphql", body, kind), timeout=60) as answer:
            return json.load(answer)["data"]

    program = "from cdr_pipeline.cli import program; program()"
    command = [sys.executable, "-c", program, "ui", "--port", str(port)]
    with Path(folder, "log").open("ab") as log:
        process = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
    try:
        while process.poll() is None:
            with suppress(URLError, ConnectionError):
                ask("{ version }")
                break
            time.sleep(0.5)
        else:
            raise SystemExit(f"Dagster did not start: {Path(log.name).read_text()}")
        yield ask
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        process.wait()
