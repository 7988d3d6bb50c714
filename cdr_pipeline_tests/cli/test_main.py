"""Rules for every command: help, wrong settings, ports."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from socket import create_server

import click
import pytest

from cdr_pipeline.cli import main
from cdr_pipeline.simulator import Chaos
from cdr_pipeline_tests.cli.typed import Type, small


def every_command(of: click.Command, *words: str) -> Iterator[tuple[str, ...]]:
    """The words of each command and each group, at any depth."""
    yield words
    for name, command in of.commands.items() if isinstance(of, click.Group) else ():
        yield from every_command(command, *words, name)


def test_help_names_every_command_and_every_fault(type_: Type) -> None:
    commands = type_("--help").output
    for command in ("demo", "run", "list", "simulate", "status", "ui"):
        assert f"  {command} " in commands
    faults = type_("simulate", "--help").output
    for fault in Chaos.names():
        assert fault in faults


@pytest.mark.parametrize("words", [*every_command(main)], ids=" ".join)
def test_each_command_has_help_that_fits_a_terminal(type_: Type, words: tuple[str, ...]) -> None:
    done = type_(*words, "--help")
    assert done.exit_code == 0, done.output
    assert [line for line in done.output.splitlines() if len(line) > 80] == []


def test_help_keeps_its_examples_on_lines_of_their_own(type_: Type) -> None:
    text = type_("--help").output
    assert "\\b" not in text
    assert "\n  Load a week:               cdr-pipeline run" in text


@pytest.mark.parametrize("words", [("run", "--help"), ("dictionary",)], ids=" ".join)
def test_a_reader_that_closes_the_pipe_causes_no_error_message(words: tuple[str, ...]) -> None:
    """For instance `cdr-pipeline list --limit 0 --format csv | head`."""
    reading, writing = os.pipe()
    os.close(reading)
    program = [sys.executable, "-c", "from cdr_pipeline.cli import program; program()", *words]
    done = subprocess.run(program, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_on_windows_one_sentence_says_to_use_wsl() -> None:
    code = "import os; from cdr_pipeline.cli import program; os.name = 'nt'; program()"
    program = [sys.executable, "-c", code, "--help"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "cdr-pipeline does not run on Windows itself: install and start it in WSL."
    ]


def test_a_folder_is_named_as_it_is_written(loaded: Type) -> None:
    """`[/x]` caused a traceback; `[red]` and `:100:` were shown as other names."""
    folder = Path("[/x]", "[red]", ":100:").resolve()
    named = f"{folder}"
    assert named in loaded("status", CDR_DATA_DIR=named).output
    shutil.copytree("data", folder)
    assert named in loaded("report", "--from", "2023-03-07", CDR_DATA_DIR=named).output
    (folder / "cdrs/date=2023-03-07/part-0.parquet").write_bytes(b"")
    assert named in loaded("status", CDR_DATA_DIR=named).output


def test_an_env_file_that_is_not_utf_8_is_one_message(type_: Type) -> None:
    Path(".env").write_bytes(b"\xff\xfeC\x00")
    done = type_("status")
    assert done.exit_code == 1
    assert "UTF-8" in done.output


@pytest.mark.parametrize(
    "words",
    [
        ("run", "--from", "2023-03-06", "--to", "2023-03-06"),
        ("status",),
        ("rebuild",),
        ("contract", "diff"),
        ("dictionary",),
    ],
)
def test_a_wrong_contract_is_one_message_with_file_and_line(
    type_: Type, words: tuple[str, ...]
) -> None:
    Path("contract.toml").write_text('[keys.a]\ntype = "money"\n', encoding="utf-8")
    done = type_(*words, vendor=small(), CDR_CONTRACT="contract.toml")
    assert done.exit_code == 1
    assert "contract.toml, line 2" in done.output
    assert "Traceback" not in done.output


def test_a_database_that_does_not_answer_ends_the_ui_with_one_line(type_: Type) -> None:
    url = "postgresql://me:hush@127.0.0.1:1/dagster"
    with create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done = type_("ui", "--port", str(port), CDR_DAGSTER_POSTGRES_URL=url)
    assert done.exit_code == 1
    (line,) = done.output.splitlines()
    assert "CDR_DAGSTER_POSTGRES_URL: the database cannot be used: connection to server" in line
    assert "Connection refused" in line
    assert "hush" not in line


def test_a_taken_or_impossible_port_is_an_error_of_one_line(type_: Type) -> None:
    with create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for command in ("ui", "simulate"):
            done = type_(command, "--port", str(port))
            assert done.exit_code == 1
            assert "Cannot listen on" in done.output
            assert "Serving" not in done.output
    for command in ("ui", "simulate"):
        assert type_(command, "--port", "99999").exit_code == 2
    # Dagster would listen on 3000 or on another port, which we could not print.
    assert type_("ui", "--port", "0").exit_code == 2
