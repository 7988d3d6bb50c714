"""Where Dagster keeps its history: one lasting folder for the commands and the UI, or Postgres."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from dotenv import dotenv_values

from cdr_pipeline.errors import SAFE, CdrError, SettingsError, way_out
from cdr_pipeline.settings import ENV_FILE, Settings

#: The module of our definitions. Dagster keeps its history under this name of the code location,
#: which must be the same in `workspace.yaml`.
LOCATION: Final = "cdr_pipeline.definitions"

#: The lock file in the home, held while the tables of the history may be made.
LOCK: Final = "history.lock"

_CONFIG: Final = "dagster.yaml"

_DEFAULT_HOME: Final = Path(".dagster")

#: How long to wait for the connection to a database.
_SECONDS_TO_ANSWER = 10


def lasting_home() -> Path:
    """DAGSTER_HOME, or `.dagster` in the working folder; made and configured if it is missing.

    `.env` overrides the environment, as in Dagster: so there is one history. Sets DAGSTER_HOME for
    this process and its children. Raises SettingsError if `.env` names a path that Dagster would
    refuse, or if Postgres does not answer: Dagster would try six times, with a traceback each, in
    every process that it starts.
    """
    if url := postgres_url():
        _see_that_it_answers(url)
    said = dotenv_values(ENV_FILE).get("DAGSTER_HOME")
    if said and not Path(said).is_absolute():
        whole = Path(said).expanduser().resolve()
        raise SettingsError(f"DAGSTER_HOME: in {ENV_FILE}, Dagster takes whole paths only: {whole}")
    return _made(Path(said or os.environ.get("DAGSTER_HOME") or _DEFAULT_HOME))


def home_apart(folder: Path) -> Path:
    """A home in `folder`, whatever the settings say: for the demo and for benchmarks.

    Sets DAGSTER_HOME as `lasting_home` does.
    """
    return _made(folder, storage="SqliteHistory")


def postgres_url() -> str | None:
    """The URL of the database that keeps the history; None for SQLite in DAGSTER_HOME.

    Raises SettingsError if it is no URL of a Postgres database, or its driver is not installed.
    """
    url = Settings.load_one("dagster_postgres_url")
    if url and not find_spec("dagster_postgres"):
        raise SettingsError(
            "CDR_DAGSTER_POSTGRES_URL is set, but what speaks to Postgres is not installed:"
            " `uv sync --extra postgres`, or `pip install dagster-postgres psycopg2-binary`."
        )
    return url.get_secret_value() if url else None


def kept_in(home: Path) -> str:
    """Where the history is, for messages: a path, or the URL without user and password."""
    if url := postgres_url():
        from sqlalchemy import URL, make_url

        given = make_url(url)
        shown = URL.create("postgresql", None, None, given.host, given.port, given.database)
        return shown.render_as_string()
    return f"{home}"


def cannot_be_used(error: Exception) -> SettingsError:
    """The message for a database that failed with `error`."""
    return SettingsError(
        f"CDR_DAGSTER_POSTGRES_URL: the database cannot be used: {_drivers_words(error)}. See"
        " that it runs, and that the URL names its host, port, user and database."
    )


def cannot_be_kept(error: Exception) -> CdrError:
    """The message for a history, in DAGSTER_HOME or in Postgres, that failed with `error`."""
    where = kept_in(Path(os.environ["DAGSTER_HOME"]))
    return CdrError(
        f"Dagster's history in {where} cannot be read or written: {_drivers_words(error)}. {SAFE}"
        " See that there is room for it, and that this user may write there, then try again."
    )


def _drivers_words(error: Exception) -> str:
    """The driver's message in an error of SQLAlchemy's, or of Dagster's that it caused."""
    told = (getattr(one, "orig", None) for one in (error, error.__cause__))
    return f"{next(filter(None, told), error)}".strip().splitlines()[0]


def _see_that_it_answers(url: str) -> None:
    """Raises SettingsError."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    try:
        engine = create_engine(url, connect_args={"connect_timeout": _SECONDS_TO_ANSWER})
        engine.connect().close()
        engine.dispose()
    except (SQLAlchemyError, ValueError) as error:
        raise cannot_be_used(error) from None


def _made(home: Path, storage: str = "History") -> Path:
    home = home.expanduser().resolve()
    # SQLAlchemy reads the path as part of a URL, and would open another path. Dagster reads it as a
    # glob pattern to find dagster.yaml; without that file it uses defaults, which send telemetry.
    if odd := re.search(r"[?*[]|%[0-9A-Fa-f]{2}", f"{home}"):
        raise SettingsError(
            f"DAGSTER_HOME: {home} must not stand below a folder with `{odd[0]}` in its name:"
            " Dagster would look for its own files elsewhere"
        )
    with _telling(home, "made"):
        home.mkdir(parents=True, exist_ok=True)
    with _telling(home, "written"):
        # Dagster's processes open this file first, and would fail with a traceback.
        (home / LOCK).open("ab").close()
        if not (home / _CONFIG).exists():
            _configure(home, storage)
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def _configure(home: Path, storage: str) -> None:
    """Write dagster.yaml, whole or not at all: with half a file, Dagster would use defaults."""
    text = files("cdr_pipeline").joinpath(_CONFIG).read_text()
    staged = home / f"{_CONFIG}.{os.getpid()}"
    try:
        staged.write_text(text.replace("class: History", f"class: {storage}"))
        staged.replace(home / _CONFIG)
    finally:
        staged.unlink(missing_ok=True)


@contextmanager
def _telling(home: Path, what: str) -> Iterator[None]:
    """Raises SettingsError, "cannot be `what`", for an OSError inside."""
    try:
        yield
    except OSError as error:
        told = f"DAGSTER_HOME: {home} cannot be {what}: {error.strerror}. {way_out(error)}"
        raise SettingsError(told.rstrip()) from None
