"""What `.env` says now, in the environment of a process that lasts longer than its lines."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress

from dotenv import dotenv_values
from dotenv.variables import parse_variables

from cdr_pipeline.settings import ENV_FILE

#: A variable that says which variables are from `.env`, and what each of them covers. It stands in
#: the environment, since that is all that Dagster's processes hand to those they start.
COVERED = "DOTENV_COVERS"


def note_dotenv() -> None:
    """Note which names `.env` covers, for this process and those it starts, if nobody has yet."""
    os.environ.setdefault(COVERED, json.dumps(_beneath(_dotenv({}))))


def read_dotenv_again() -> None:
    """Put what `.env` in the working folder says now into this process's environment. What it no
    longer says is taken out, and what it covered is there again.

    Dagster reads `.env` when a process begins, over what the shell says, and never again: a daemon
    would go on with a token that was replaced weeks ago.
    """
    before = json.loads(os.environ.get(COVERED, "{}"))
    said = _dotenv(before)
    for name in before.keys() - said.keys():
        if before[name] is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before[name]
    kept = {name: before[name] for name in before.keys() & said.keys()}
    os.environ |= {COVERED: json.dumps(_beneath(said) | kept)} | said


def _dotenv(covered: Mapping[str, str | None]) -> dict[str, str]:
    """What `.env` says, as Dagster reads it; nothing where it is no text, which Settings tell.

    Variables in it stand for what they were before `.env` was read (`covered`): else
    `PATH=${PATH}:/opt/bin` would grow each time.
    """
    said: dict[str, str] = {}
    beneath = {name: value for name, value in (os.environ | covered).items() if value is not None}
    with suppress(UnicodeDecodeError):
        for name, value in dotenv_values(ENV_FILE, interpolate=False).items():
            if value is not None:
                parts = parse_variables(value)
                said[name] = "".join(part.resolve(beneath | said) for part in parts)
    return said


def _beneath(said: Mapping[str, str]) -> dict[str, str | None]:
    """What the environment says of these names without `.env`; None where it says the same, since
    that came from `.env`.
    """
    return {
        name: None if os.environ.get(name) == value else os.environ.get(name)
        for name, value in said.items()
    }
