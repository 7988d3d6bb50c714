"""Lines of `.env` that are changed or deleted while the process runs."""

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
    """The path of the working folder's `.env`; the environment has no variable `NAME`."""
    monkeypatch.setenv(NAME, "")  # so that pytest restores the variable after the test
    monkeypatch.delenv(NAME)
    return tmp_path / ".env"


def value_after(dotenv: Path, text: str) -> str | None:
    """The value of `NAME` in the environment after `.env` was written and read."""
    dotenv.write_text(text)
    read_dotenv_again()
    return os.environ.get(NAME)


def test_a_line_deleted_from_the_env_file_is_deleted_from_the_environment(dotenv: Path) -> None:
    """A contract that was taken out of `.env` stayed in force in sensors until a restart."""
    assert value_after(dotenv, f"{NAME}=a.toml\n") == "a.toml"
    assert value_after(dotenv, f"{NAME}=b.toml\n") == "b.toml"
    assert value_after(dotenv, "CDR_LOOKBACK_DAYS=3\n") is None
    assert value_after(dotenv, f"{NAME}=\n") == ""
    dotenv.unlink()
    read_dotenv_again()
    assert NAME not in os.environ


def test_the_value_that_a_line_covered_comes_back_when_the_line_is_deleted(
    dotenv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NAME, "shell.toml")
    assert value_after(dotenv, f"{NAME}=a.toml\n") == "a.toml"
    assert value_after(dotenv, f"{NAME}=b.toml\n") == "b.toml"
    assert value_after(dotenv, "") == "shell.toml"


def test_a_line_that_uses_the_value_it_covers_gives_the_same_value_each_time(
    dotenv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`PYTHONPATH=${PYTHONPATH}:src` grew at each tick of a sensor."""
    for _ in range(3):
        assert value_after(dotenv, f"{NAME}=${{{NAME}:-none}}.toml\n") == "none.toml"
    value_after(dotenv, "")
    monkeypatch.setenv(NAME, "shell")
    for _ in range(3):
        assert value_after(dotenv, f"{NAME}=${{{NAME}}}.toml\n") == "shell.toml"


def test_a_value_that_dagster_set_from_the_env_file_is_removed_too(
    dotenv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(COVERED)
    monkeypatch.setenv(NAME, "a.toml")  # as `dagster dev` does
    dotenv.write_text(f"{NAME}=a.toml\n")
    note_dotenv()
    assert value_after(dotenv, "") is None


def test_a_child_process_removes_a_value_that_its_parent_read_from_the_env_file(
    dotenv: Path,
) -> None:
    """A code server that Dagster restarts, and a run, inherit the environment of the daemon."""
    assert value_after(dotenv, f"{NAME}=a.toml\n") == "a.toml"
    dotenv.write_text("")
    reads = (
        "import os, json; from cdr_pipeline.environment import read_dotenv_again as read; read()"
    )
    shows = f"print(json.dumps(os.environ.get({NAME!r})))"
    child = subprocess.run(
        [sys.executable, "-c", f"{reads}; {shows}"], check=True, capture_output=True
    )
    assert json.loads(child.stdout) is None


def test_a_second_note_keeps_the_first(dotenv: Path) -> None:
    assert value_after(dotenv, f"{NAME}=a.toml\n") == "a.toml"
    note_dotenv()
    assert value_after(dotenv, "") is None
