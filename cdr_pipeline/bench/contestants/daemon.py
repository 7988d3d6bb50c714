"""This pipeline once more, as a user of Dagster's UI sees a backfill: its daemon starts the runs,
two at the same time.

The wall time includes the daemon's waiting, since it looks every 30 s. Only the wall time is
complete: the CPU time of the runs is not counted, since no process here waits for them.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import httpx

from cdr_pipeline.bench.contestants import Job, ours
from cdr_pipeline.settings import variable
from cdr_pipeline.tables.datasets import DATASETS

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
    ... on Runs { results { startTime endTime } }
  }
}"""

prepare = ours.prepare


def load(job: Job) -> dict[str, float]:
    """Launch a backfill of the days and wait for it. Raises RuntimeError if it fails.

    Returns how many `runs` there were and, in seconds from the launch, when the first `began`, when
    the last `ended`, and when the backfill was `done`.
    """
    with _ui(job) as ask:
        clicked = time.time()
        keys = [{"path": [name]} for name in DATASETS]
        days = [f"{day}" for day in job.days]
        answer = ask(_LAUNCH, days={"assetSelection": keys, "partitionNames": days})
        launched = answer["launchPartitionBackfill"]
        if "backfillId" not in launched:
            raise RuntimeError(f"the backfill was not launched: {launched}")
        status, runs = _UNDER_WAY, []
        while status == _UNDER_WAY:
            time.sleep(1)
            seen = ask(_LOOK, id=launched["backfillId"])
            status = seen["partitionBackfillOrError"]["status"]
            runs = seen["runsOrError"]["results"]
        done = time.time()
    if status != "COMPLETED_SUCCESS":
        raise RuntimeError(f"the backfill ended as {status}")
    return {
        "runs": len(runs),
        "began": min(run["startTime"] for run in runs) - clicked,
        "ended": max(run["endTime"] for run in runs) - clicked,
        "done": done - clicked,
    }


@contextmanager
def _ui(job: Job) -> Iterator[Callable[..., Any]]:
    """Run Dagster's UI and daemon; yields a function that sends a GraphQL query to them."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def ask(question: str, **variables: Any) -> Any:
        asked = {"query": question, "variables": variables}
        answer = httpx.post(f"http://127.0.0.1:{port}/graphql", json=asked, timeout=60)
        return answer.json()["data"]

    given = ours.settings_for(job).model_dump(exclude_unset=True)
    # The text of the token is only asterisks; the server accepts any token.
    settings = {variable(name): f"{value}" for name, value in given.items()}
    program = "from cdr_pipeline.cli import program; program()"
    command = [sys.executable, "-c", program, "ui", "--port", f"{port}"]
    with subprocess.Popen(command, env=os.environ | settings) as process:
        try:
            while process.poll() is None:
                with suppress(httpx.TransportError):
                    ask("{ version }")
                    break
                time.sleep(0.5)
            else:
                raise RuntimeError("Dagster did not start")
            yield ask
        finally:
            process.terminate()
