"""What `.env` says, in an environment that lasts longer than it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cdr_pipeline.environment import COVERED, note_dotenv, read_dotenv_again

NAME = "CDR_CONTRACT"


@pytest.fixture(autouse=True)
def dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder's `.env`, in an environment that says nothing of the name."""
    monkeypatch.setenv(NAME, "")  # so that it is as before in the end
    monkeypatch.delenv(NAME)
    return tmp_path / ".env"


def said(dotenv: Path, text: str) -> str | None:
    """What the environment says after `.env` was written and read."""
    dotenv.write_text(text)
    read_dotenv_again()
    return os.environ.get(NAME)


def test_a_line_that_is_gone_from_the_env_file_is_gone_from_the_environment(dotenv: Path) -> None:
    """A contract that was taken out of `.env` stayed in force in sensors until a restart."""
    assert said(dotenv, f"{NAME}=a.toml\n") == "a.toml"
    assert said(dotenv, f"{NAME}=b.toml\n") == "b.toml"
    assert said(dotenv, "CDR_LOOKBACK_DAYS=3\n") is None
    assert said(dotenv, f"{NAME}=\n") == ""
    dotenv.unlink()
    read_dotenv_again()
    assert NAME not in os.environ


def test_what_a_line_covered_is_there_again_once_it_is_gone(
    dotenv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NAME, "shell.toml")
    assert said(dotenv, f"{NAME}=a.toml\n") == "a.toml"
    assert said(dotenv, f"{NAME}=b.toml\n") == "b.toml"
    assert said(dotenv, "") == "shell.toml"


def test_a_line_that_names_what_it_covers_says_the_same_each_time(
    dotenv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`PYTHONPATH=${PYTHONPATH}:src` grew by every tick of a sensor."""
    for _ in range(3):
        assert said(dotenv, f"{NAME}=${{{NAME}:-none}}.toml\n") == "none.toml"
    said(dotenv, "")
    monkeypatch.setenv(NAME, "shell")
    for _ in range(3):
        assert said(dotenv, f"{NAME}=${{{NAME}}}.toml\n") == "shell.toml"


def test_what_dagster_put_there_before_anybody_of_ours_looked_is_taken_out_too(
    dotenv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(COVERED)
    monkeypatch.setenv(NAME, "a.toml")  # as `dagster dev` does
    dotenv.write_text(f"{NAME}=a.toml\n")
    note_dotenv()
    assert said(dotenv, "") is None


def test_a_process_that_was_started_before_the_line_went_knows_it_by_its_parent(
    dotenv: Path,
) -> None:
    """A code server that Dagster starts anew, and a run, have the environment of the daemon."""
    assert said(dotenv, f"{NAME}=a.toml\n") == "a.toml"
    dotenv.write_text("")
    reads = (
        "import os, json; from cdr_pipeline.environment import read_dotenv_again as read; read()"
    )
    shows = f"print(json.dumps(os.environ.get({NAME!r})))"
    child = subprocess.run(
        [sys.executable, "-c", f"{reads}; {shows}"], check=True, capture_output=True
    )
    assert json.loads(child.stdout) is None


def test_what_is_noted_stays_noted(dotenv: Path) -> None:
    assert said(dotenv, f"{NAME}=a.toml\n") == "a.toml"
    note_dotenv()
    assert said(dotenv, "") is None
