"""Keeps the environment of a long process up to date with `.env` in the working folder."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress

from dotenv import dotenv_values
from dotenv.variables import parse_variables

from cdr_pipeline.settings import ENV_FILE

#: The environment variable that lists the variables set from `.env`, as JSON: name -> the value
#: that `.env` covers, null if there was none. It is in the environment, since Dagster's processes
#: pass nothing else to the processes they start.
COVERED = "DOTENV_COVERS"


def note_dotenv() -> None:
    """Set COVERED, for this process and those it starts, unless it is set already."""
    os.environ.setdefault(COVERED, json.dumps(_covered_by(_read_dotenv({}))))


def read_dotenv_again() -> None:
    """Set the variables that `.env` has now in this process's environment. A variable that `.env`
    no longer has gets the value that `.env` covered, or is removed if there was none.

    Dagster reads `.env` only when a process starts (its values replace those of the shell): a
    daemon would go on with a token that was replaced weeks ago.
    """
    covered = json.loads(os.environ.get(COVERED, "{}"))
    values = _read_dotenv(covered)
    for name in covered.keys() - values.keys():
        if covered[name] is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = covered[name]
    kept = {name: covered[name] for name in covered.keys() & values.keys()}
    os.environ |= {COVERED: json.dumps(_covered_by(values) | kept)} | values


def _read_dotenv(covered: Mapping[str, str | None]) -> dict[str, str]:
    """The variables of `.env`, as Dagster reads them; none if the file is not UTF-8, which
    `Settings` reports.

    `${NAME}` in a value stands for what an earlier line of `.env` sets, or for the value that NAME
    had before `.env` was read (`covered`): else `PATH=${PATH}:/opt/bin` would grow each time.
    """
    values: dict[str, str] = {}
    outside = {name: value for name, value in (os.environ | covered).items() if value is not None}
    with suppress(UnicodeDecodeError):
        for name, value in dotenv_values(ENV_FILE, interpolate=False).items():
            if value is not None:
                parts = parse_variables(value)
                values[name] = "".join(part.resolve(outside | values) for part in parts)
    return values


def _covered_by(values: Mapping[str, str]) -> dict[str, str | None]:
    """Name -> the environment's value that `.env` (`values`) covers. None if there is none, or if
    it is the same: then it came from `.env`.
    """
    return {
        name: None if os.environ.get(name) == value else os.environ.get(name)
        for name, value in values.items()
    }
