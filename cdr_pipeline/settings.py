"""Reads the environment (or `.env` in the working folder) into typed settings.

Each setting is defined once, as a field below; a test compares `.env.example` and the README's
table with the fields. Nothing is read at import. `Settings.load()` names every fault at once, and
`Settings.connection()` checks what only a run against the vendor needs.
"""

import logging
import os
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, time
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from cdr_pipeline.errors import SettingsError

PREFIX = "CDR_"

ENV_FILE = ".env"

# dotenv warns of an unreadable line at each reading, without the file and what to do. We report it.
logging.getLogger("dotenv.main").setLevel(logging.ERROR)

#: Matches a token that an HTTP header may hold: ASCII without spaces and line breaks.
fits_a_header: Final = re.compile(r"[!-~]+").fullmatch

#: The beginning of a line of `.env` that is meant for a setting.
_MEANT: Final = re.compile(rf"\s*(export\s+)?{PREFIX}", re.IGNORECASE)

#: An unknown name at least this similar (0 to 1) to a setting's name is reported as a mistake.
_NEAR = 0.85

Language = Literal["en", "vi"]

_SCHEMES: Final = ("http", "https")

_WAY_OUT = (
    "Set them in the environment or in a file `.env` in the working folder"
    " (copy `.env.example`). To try the pipeline without a vendor: `cdr-pipeline demo`."
)


def variable(name: str) -> str:
    """The environment variable of a setting; `name`: its field."""
    return f"{PREFIX}{name.upper()}"


def _web(url: str, must: str) -> SplitResult:
    """The parts of an http(s) URL. Raises ValueError, saying what the URL `must` be."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        host.encode("idna")  # the connection will encode the host so
    except ValueError:
        raise ValueError(f"must be {must}") from None
    # In http:/host and in http//host, the scheme would be parsed as the host.
    if parts.scheme not in _SCHEMES or not host or host in _SCHEMES or " " in host:
        raise ValueError(f"must be {must}")
    try:
        _ = parts.port
    except ValueError:
        raise ValueError(f"must be {must}; a port is a number up to 65535") from None
    return parts


def _base_url(value: str) -> str:
    """A host or URL as a URL without a trailing slash; https where no scheme is given."""
    value = value.strip()
    url = value if "://" in value else f"https://{value}"
    parts = _web(url, "a host or an http(s) URL, such as api.example.vn")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must be a plain host or URL, without user, query or fragment")
    return url.rstrip("/").removesuffix("/v3/cdr")


def _for_a_header(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value().strip()
    if text and not fits_a_header(text):
        if text.lower().startswith("bearer "):
            raise ValueError("must be the token alone, without `Bearer`")
        raise ValueError("holds a space, a line break or a non-ASCII character")
    return SecretStr(text)


def _postgres_url(url: SecretStr) -> SecretStr:
    """The URL with its driver named: otherwise SQLAlchemy 2.1 loads another than Dagster's."""
    scheme, separator, rest = url.get_secret_value().strip().partition("://")
    if scheme not in ("postgres", "postgresql", "postgresql+psycopg2") or not separator or not rest:
        raise ValueError("must be a URL such as postgresql://user:password@host:5432/dagster")
    # SQLAlchemy would split it at the wrong @, and the driver's error would show parts of it.
    if rest.partition("/")[0].count("@") > 1:
        raise ValueError("must have `@` in its user or password as %40, `:` as %3A, `/` as %2F")
    return SecretStr(f"postgresql+psycopg2://{rest}")


def _at_home(path: Path) -> Path:
    """A path with `~` and variables expanded, which `.env` and quotes leave as they are."""
    try:
        return Path(os.path.expandvars(path)).expanduser()
    except RuntimeError as error:
        raise ValueError(f"names the home folder of nobody: {path}") from error


_NOT_IN_A_FOLDER: Final = {
    "=": "whoever reads Parquet takes that for a partition",
    "?": "DuckDB opens no file there",
    "\\": "DuckDB opens no file there",
}


def _folder(path: Path) -> Path:
    path = _at_home(path)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", path.as_posix()):
        raise ValueError("must be a folder: object stores are not supported yet")
    if path.is_file():
        raise ValueError("is a file, and must be a folder")
    for mark, why in _NOT_IN_A_FOLDER.items():
        if mark in path.absolute().as_posix():
            raise ValueError(
                f"must not stand below a folder with `{mark}` in its name ({path.absolute()}):"
                f" {why}"
            )
    return path


def _file(path: Path) -> Path:
    path = _at_home(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}; leave it unset to work without one")
    return path


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError("must be an IANA zone, such as Asia/Ho_Chi_Minh") from error
    return value


def _hook(secret: SecretStr) -> SecretStr:
    secret = _for_a_header(secret)
    _web(secret.get_secret_value(), "an http(s) URL")
    return secret


def _day(value: str | date) -> str | date:
    # pydantic would read a number as seconds since 1970.
    if isinstance(value, str) and not re.match(r"\d{4}-", value.strip()):
        raise ValueError("must be a day, such as 2023-01-01")
    return value


def _wall_clock(value: str | time) -> str | time:
    # pydantic would read 17 as seventeen seconds past midnight.
    if isinstance(value, str) and not re.fullmatch(r"\d\d:\d\d(:\d\d)?", value.strip()):
        raise ValueError("must be a local time, such as 08:00 or 16:59:59")
    return value


def _full_minute(value: time) -> time:
    if value.second:
        raise ValueError("must be a full minute, such as 01:30")
    return value


_LocalTime = Annotated[time, BeforeValidator(_wall_clock)]


@dataclass(frozen=True)
class Connection:
    """How to reach the vendor: a base URL, and a token or an API key."""

    base_url: str
    token: SecretStr | None
    api_key: SecretStr | None

    @property
    def host(self) -> str:
        """The vendor's host, for receipts and messages."""
        return urlsplit(self.base_url).netloc


class Settings(BaseSettings):
    """Every setting, typed. Field `x` is the variable `CDR_X`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=ENV_FILE,
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
    )

    api_base_url: Annotated[str, AfterValidator(_base_url)] | None = Field(
        None, description="The vendor's host, with or without scheme; `/v3/cdr` is appended."
    )
    api_token: Annotated[SecretStr, AfterValidator(_for_a_header)] | None = Field(
        None, description="A ready bearer token."
    )
    api_key: Annotated[SecretStr, AfterValidator(_for_a_header)] | None = Field(
        None, description="An API key to sign in with at `/v3/auth/token`, instead of a token."
    )
    data_dir: Annotated[Path, AfterValidator(_folder)] = Field(
        Path("data"), description="Root folder of all the datasets."
    )
    timezone: Annotated[str, AfterValidator(_zone)] = Field(
        "Asia/Ho_Chi_Minh",
        description="Zone of the vendor's naive times and of the daily partitions.",
    )
    start_date: Annotated[date, BeforeValidator(_day)] = Field(
        date(2023, 1, 1),
        ge=date(1970, 1, 1),  # Dagster has no days of the year 1
        description="First partition.",
    )
    page_size: int = Field(
        500, ge=1, description="`limit` of one request; the server may give less."
    )
    concurrency: int = Field(
        4, ge=1, le=64, description="Requests in flight, over all runs of one user on a machine."
    )
    requests_per_second: float = Field(
        10,
        ge=0,
        allow_inf_nan=False,
        description="Budget a second, over all runs of one user on a machine; 0 for none.",
    )
    timeout_seconds: float = Field(
        30,
        gt=0,
        allow_inf_nan=False,
        description="Time limit of one request: for its connection, for each silence, and for all"
        " of its body.",
    )
    max_additional_columns: int = Field(
        256, ge=1, description="additional_* columns of a day; rarer keys stay in `additional`."
    )
    contract: Annotated[Path, AfterValidator(_file)] | None = Field(
        None, description="TOML file that declares types and names of lead lists' keys; optional."
    )
    days_per_run: int = Field(
        31, ge=0, description="Days that one run of a backfill takes; 0 for all."
    )
    # Decree 91/2020/ND-CP of Vietnam, Article 13: advertising calls only from 8:00 to 17:00, and
    # only one to a number within 24 hours, unless the subscriber agreed otherwise. Only the user
    # knows whether a campaign advertises and what its customers agreed to: confirm these defaults.
    allowed_from: _LocalTime = Field(
        time(8), description="From when on customers may be called, for `compliance_daily`."
    )
    allowed_until: _LocalTime = Field(
        time(17), description="Until when they may be called, this second included."
    )
    calls_per_number: int = Field(
        1, ge=1, description="How often a number may be called on one day."
    )
    report_language: Language = Field("en", description="Language of the report.")
    schedule_time: Annotated[_LocalTime, AfterValidator(_full_minute)] = Field(
        time(1, 30), description="When the day that ended is loaded, in CDR_TIMEZONE."
    )
    lookback_days: int = Field(
        3, ge=0, le=366, description="Days before it that are loaded again with it."
    )
    probe_days: int = Field(
        35,
        ge=0,
        le=3660,
        description="How many days back totals are compared and gaps are filled.",
    )
    alert_url: Annotated[SecretStr, AfterValidator(_hook)] | None = Field(
        None, description="A webhook that is told of every failed run."
    )
    dagster_postgres_url: Annotated[SecretStr, AfterValidator(_postgres_url)] | None = Field(
        None,
        description="Postgres database for Dagster's history, instead of SQLite in DAGSTER_HOME.",
    )

    @classmethod
    def load(cls, *, vendor: bool = False) -> "Settings":
        """Settings from the environment; with `vendor`, those to reach the vendor are required.

        Raises SettingsError naming every fault.
        """
        settings, faults = cls._read()
        wrong = [*faults.values(), *cls._mistyped(), *_torn_lines()]
        if vendor:
            wrong += settings.missing(faults)
        if wrong:
            raise _wrong(wrong)
        return settings

    @classmethod
    def load_one(cls, name: str) -> Any:
        """The value of one setting, even if others are wrong. Raises SettingsError if it is not
        valid itself.
        """
        settings, faults = cls._read()
        if name in faults:
            raise _wrong([faults[name]])
        return getattr(settings, name)

    @classmethod
    def for_display(cls) -> "Settings":
        """Settings to show the graph with: the default for each setting that is wrong.

        A wrong setting must not keep the UI from opening; the run that loads it fails and says why.
        """
        try:
            return cls._read()[0]
        except SettingsError:
            return cls.model_construct()

    @classmethod
    def _read(cls) -> tuple["Settings", dict[str, str]]:
        """The settings, with the default for each wrong one; and field -> its fault."""
        try:
            return cls(), {}
        except UnicodeDecodeError as error:
            raise SettingsError("`.env` is not UTF-8 text: save it as UTF-8.") from error
        except ValidationError as error:
            faults = {
                (name := str(fault["loc"][0])): f"{variable(name)}: {_reason(fault['msg'])}"
                for fault in error.errors(include_url=False, include_input=False)
            }
            defaults = {name: cls.model_fields[name].default for name in faults}
            # The default of data_dir depends on the working folder and may be refused, too. So this
            # validates with a folder that is always accepted, and sets the default afterwards.
            sound = defaults | ({"data_dir": Path("/")} if "data_dir" in faults else {})
            return cls(**sound).model_copy(update=defaults), faults

    @classmethod
    def _mistyped(cls) -> Iterator[str]:
        """Messages for set variables that are no settings, but similar to one that is not set."""
        known = set(map(variable, cls.model_fields))
        given = {name.upper() for name in (*os.environ, *dotenv_values(ENV_FILE))}
        for name in sorted(one for one in given - known if one.startswith(PREFIX)):
            for meant in get_close_matches(name, sorted(known - given), 1, _NEAR):
                yield f"{name} is no setting: did you mean {meant}?"

    @property
    def zone(self) -> ZoneInfo:
        """The zone of CDR_TIMEZONE."""
        return ZoneInfo(self.timezone)

    def without_secrets(self, text: str) -> str:
        """`text` with every secret of these settings replaced by ***."""
        for _, value in self:
            if isinstance(value, SecretStr) and value:
                text = text.replace(value.get_secret_value(), "***")
        return text

    def connection(self) -> Connection:
        """How to reach the vendor. Raises SettingsError naming the missing settings."""
        missing = self.missing()
        if missing or self.api_base_url is None:
            raise _wrong(missing)
        return Connection(self.api_base_url, self.api_token, self.api_key)

    def missing(self, wrong: Collection[str] = ()) -> list[str]:
        """Messages for settings that a run against the vendor lacks, except the `wrong` ones."""
        missing = []
        if self.api_base_url is None and "api_base_url" not in wrong:
            missing.append("CDR_API_BASE_URL is missing: the vendor's host")
        nothing_given = self.api_token is None and self.api_key is None
        if nothing_given and {"api_token", "api_key"}.isdisjoint(wrong):
            missing.append("CDR_API_TOKEN or CDR_API_KEY is missing: how to sign in")
        return missing


def _torn_lines() -> Iterator[str]:
    """Messages for lines of `.env` that are meant for a setting but set none; without their text,
    which may be secret.
    """
    with suppress(OSError, UnicodeDecodeError), Path(ENV_FILE).open(encoding="utf-8-sig") as file:
        for one in parse_stream(file):
            text = one.original.string
            if (one.error or one.value is None) and _MEANT.match(text):
                line = one.original.line + text[: -len(text.lstrip())].count("\n")
                yield f"line {line} of `.env` cannot be read: write NAME=value, and close quotes"


def _reason(message: str) -> str:
    """Pydantic's message about a value, without its reason, as ", unable to parse string"."""
    reason = message.removeprefix("Value error, ").removeprefix("Input ")
    return re.split(", (?:unable to|input is)", reason)[0]


def _wrong(faults: list[str]) -> SettingsError:
    lines = "\n".join(f"  - {fault}" for fault in faults)
    return SettingsError(f"Settings are missing or wrong:\n{lines}\n{_WAY_OUT}")
