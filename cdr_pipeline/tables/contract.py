"""The contract that a user declares: the type of a lead list's key, and the name of its column.

A TOML file (CDR_CONTRACT), one table per key. A declared key does not follow the rules of
`additional_*` (see `flattening.additional`): all its values go to one column of its type. A value
that does not fit the type exactly is null there, stays in `additional`, and is counted. Keys that
are not declared are not affected.
"""

import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import polars as pl

from cdr_pipeline.errors import SettingsError
from cdr_pipeline.record import ADDITIONAL
from cdr_pipeline.tables.datasets import CDRS, DATE
from cdr_pipeline.tables.fitting import WITH_FORMAT, fit
from cdr_pipeline.tables.names import column_names
from cdr_pipeline.tables.types import DECLARED

if TYPE_CHECKING:
    # Not at run time: the helper process of a day needs no settings and does not import pydantic.
    from cdr_pipeline.settings import Settings

#: Footer key: the mark of the contract under which a file was made. A file made without a contract
#: has no such key; its mark is NO_MARK.
MARK: Final = "cdr_contract"
NO_MARK: Final = "none"

_DATE_FORMAT: Final = "%Y-%m-%d"
_COLUMN: Final = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")

#: Names of other columns; `filename` is DuckDB's column of a file's path, in the catalog's views.
_TAKEN: Final = frozenset({DATE, "filename", *CDRS.names})
_OPTIONS: Final = ("type", "column", "description", "pii", "format", "drop")
_AT_LINE: Final = re.compile(r" ?\(at line (\d+), column \d+\)")
_SAMPLE: Final = datetime(2023, 11, 25, 13, 14)


@dataclass(frozen=True)
class Declared:
    """The declaration of one key; `drop`: the key has no column.

    `column`: the name of the column instead of `additional_<plain name>`; `format`: how a date or a
    datetime is written (strftime); `pii` keeps the values out of logs and metadata.
    """

    key: str
    type: str = ""
    column: str = ""
    description: str = ""
    pii: bool = False
    format: str = ""
    drop: bool = False

    def in_column(self, name: str) -> str | None:
        """The key's column without the ending, or None; `name`: the name of an undeclared key."""
        return None if self.drop else (self.column or name)

    @property
    def ending(self) -> str:
        """The ending of the column's name, which tells its type."""
        return DECLARED[self.type]

    def by_its_digits(self, kind: str) -> bool:
        """Whether numbers of a JSON type are read from their JSON text: a float does not keep the
        digits that it was made from, nor an integer 0 whether it was -0.
        """
        if kind == "integer":
            return self.type == "string"
        return kind == "decimal" and self.type != "float"


@dataclass(frozen=True)
class Contract:
    """The keys that a user declared; times without an offset are read in `zone`. `source`: the name
    of the file, for messages.
    """

    keys: Mapping[str, Declared] = field(default_factory=dict)
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    source: str = field(default="a contract", compare=False)

    @classmethod
    def of(cls, settings: "Settings") -> "Contract":
        """The contract that CDR_CONTRACT names, if it names one. Raises SettingsError."""
        return load(settings.contract, settings.zone)

    @cached_property
    def mark(self) -> str:
        """A digest of what the contract means: contracts with equal marks make equal files.

        Formatting, comments, order and descriptions do not change the mark.
        """
        if not self.keys:
            return NO_MARK
        meaning = [
            [one.key, one.type, one.column, one.format, one.pii, one.drop]
            for one in sorted(self.keys.values(), key=lambda one: one.key)
        ]
        return hashlib.sha256(json.dumps(meaning).encode()).hexdigest()[:12]

    @property
    def in_words(self) -> str:
        """How days are made, for messages: under this contract, or without a contract."""
        return f"under {self.source} (CDR_CONTRACT)" if self.keys else "without a contract"

    def described(self, keys: Iterable[str]) -> str:
        """The declared descriptions of a column's keys, as sentences; "" if there are none."""
        declared = [self.keys[key] for key in sorted(keys) if key in self.keys]
        words = [one.description.strip() for one in declared if one.description.strip()]
        if any(one.pii for one in declared):
            words.append("Personal data.")
        return " ".join(word if word.endswith(".") else f"{word}." for word in words)

    def personal(self, keys: Iterable[str]) -> bool:
        """Whether any of these keys is marked as personal data."""
        return any(self.keys[key].pii for key in keys if key in self.keys)


#: The contract that declares no keys.
NO_CONTRACT: Final = Contract()


def load(path: Path | None, zone: ZoneInfo) -> Contract:
    """The contract in a file (CDR_CONTRACT); without a file, a contract that declares no keys.

    Raises SettingsError naming every fault.
    """
    if path is None:
        return Contract(zone=zone)
    try:
        text = path.read_bytes().decode("utf-8-sig")  # some editors put a mark in front of it
    except OSError as error:
        raise SettingsError(
            f"The contract {path} cannot be read ({error.strerror}). Name its TOML file, or leave"
            " it out (unset CDR_CONTRACT) to work without one."
        ) from None
    except UnicodeDecodeError:
        raise SettingsError(f"The contract {path} is not UTF-8 text: save it as UTF-8.") from None
    return read(text, zone, str(path))


def read(text: str, zone: ZoneInfo, source: str = "contract.toml") -> Contract:
    """The contract in a TOML text. Raises SettingsError naming every fault and its line."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = _AT_LINE.search(str(error))
        number = int(line[1]) if line else text.rstrip().count("\n") + 1
        raise _wrong(source, [(number, f"no TOML: {_AT_LINE.sub('', str(error))}")]) from None
    lines = _lines(text)
    faults = [
        (_line(lines, *names), fault)
        for names, fault in (*_faults_of_document(document), *_faults(document, zone))
    ]
    if faults:
        raise _wrong(source, faults)
    keys = {key: Declared(key, **_meant(entry)) for key, entry in document.get("keys", {}).items()}
    return Contract(keys, zone, source)


def _meant(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry's options, with the default format of a date."""
    return ({"format": _DATE_FORMAT} if entry.get("type") == "date" else {}) | dict(entry)


_Fault = tuple[tuple[str, ...], str]


def _faults_of_document(document: Mapping[str, Any]) -> Iterator[_Fault]:
    for name, value in document.items():
        if name != "keys":
            yield (name,), f'{_quoted(name)} is not known here: write [keys."<key>"] for each key'
        elif not isinstance(value, dict):
            yield (name,), 'keys must be tables, one a key, such as [keys."Số tiền"]'


def _faults(document: Mapping[str, Any], zone: ZoneInfo) -> Iterator[_Fault]:
    keys = document.get("keys")
    owner: dict[str, str] = {}
    for key, entry in keys.items() if isinstance(keys, dict) else ():
        if not isinstance(entry, dict):
            yield ("keys", key), f'{_quoted(key)} must be a table with a type, as type = "int"'
            continue
        found = list(_faults_of_entry(entry, zone))
        for option, fault in found:
            yield ("keys", key, option), f"{_quoted(key)}: {fault}"
        if found or entry.get("drop"):
            continue
        name = entry.get("column") or column_names((key,))[0]
        if name in owner:
            yield (
                ("keys", key, "column"),
                f"{_quoted(key)}: its column {name} is that of {_quoted(owner[name])}, too. Give"
                " one of them a column of its own",
            )
        owner.setdefault(name, key)


def _faults_of_entry(entry: Mapping[str, Any], zone: ZoneInfo) -> Iterator[tuple[str, str]]:
    """(option, what is wrong with it) of one key's table."""
    strange = {option: _of_its_kind(option, value) for option, value in entry.items()}
    yield from ((option, fault) for option, fault in strange.items() if fault)
    entry = {option: value for option, value in entry.items() if not strange[option]}
    if entry.get("drop"):
        for option in ("type", "column", "format"):
            if option in entry:
                yield option, f"{option} means nothing beside drop = true; remove one of them"
        return
    if not strange.get("type") and not strange.get("drop"):
        yield from _faults_of_type(entry, zone)
    fault = _of_column(entry["column"]) if "column" in entry else None
    if fault:
        yield "column", fault


def _faults_of_type(entry: Mapping[str, Any], zone: ZoneInfo) -> Iterator[tuple[str, str]]:
    kind = entry.get("type")
    if kind is None:
        yield "", f"type is missing: one of {', '.join(DECLARED)}; or drop = true for no column"
    elif kind not in DECLARED:
        yield "type", f"there is no type {_quoted(kind)}: it is one of {', '.join(DECLARED)}"
    elif kind in WITH_FORMAT:
        fault = _of_format(_meant(entry).get("format", ""), kind, zone)
        if fault:
            yield "format", fault
    elif "format" in entry:
        yield "format", f"format goes with {' and '.join(WITH_FORMAT)} alone"


def _of_its_kind(option: str, value: object) -> str | None:
    if option not in _OPTIONS:
        near = difflib.get_close_matches(option, _OPTIONS, n=1)
        meant = f", did you mean {near[0]}?" if near else ""
        return f"there is no option {_quoted(option)}{meant or '.'} There are {', '.join(_OPTIONS)}"
    due: type = bool if option in ("pii", "drop") else str
    if not isinstance(value, due):
        return f"{option} must be {'true or false' if due is bool else 'text in quotes'}"
    return None


def _of_column(name: str) -> str | None:
    if name.startswith(f"{ADDITIONAL}_"):
        return f"{name} could be another key's: names of your own do not begin with {ADDITIONAL}_"
    if name in _TAKEN:
        return f"there is a column {name} already"
    if not _COLUMN.fullmatch(name):
        return (
            f"{_quoted(name)} is no column's name: write a to z, 0 to 9 and single underscores,"
            " beginning with a letter"
        )
    return None


def _of_format(form: str, kind: str, zone: ZoneInfo) -> str | None:
    """What is wrong with a format: a time written in it must be read back the same."""
    example = "%d/%m/%Y" if kind == "date" else "%d/%m/%Y %H:%M:%S"
    if not form:
        return f'format is missing: how the {kind} is written, such as "{example}"'
    if "%Z" in form or re.search(r"(?<![%#])Z", form):
        return "a zone's letters cannot be read: for an offset or Z write %#z"
    if "%f" in form:
        return "%f does not read fractions of a second here: write %.f, without a point before it"
    moment = pl.Series([_SAMPLE]).dt.replace_time_zone(zone.key, ambiguous="earliest")
    try:
        written = moment.dt.strftime(form.replace("%#z", "%z"))
        back = fit(kind, form, "string", written.to_list(), zone)
    except pl.exceptions.PolarsError:
        return f'{_quoted(form)} cannot be read; write strftime codes, such as "{example}"'
    if back[0] != (moment[0].date() if kind == "date" else moment[0]):
        return (
            f'{_quoted(form)} does not tell a whole {kind}; write strftime codes, such as "'
            f'{example}"'
        )
    return None


def _lines(text: str) -> dict[tuple[str, ...], int]:
    """The line of each table and option, for all lines that are TOML by themselves."""
    table: tuple[str, ...] = ()
    found: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        try:
            part = tomllib.loads(line)
        except tomllib.TOMLDecodeError:
            continue  # part of a value of several lines
        names = _names(part)
        if line.lstrip().startswith("["):
            table = names
        else:
            names = table + names
        for length in range(1, len(names) + 1):
            found.setdefault(names[:length], number)
    return found


def _names(part: object) -> tuple[str, ...]:
    names: list[str] = []
    while isinstance(part, dict) and len(part) == 1:
        ((name, part),) = part.items()
        names.append(name)
    return tuple(names)


def _line(lines: Mapping[tuple[str, ...], int], *names: str) -> int:
    """The line of the option or table `names`; if it is unknown, the line of what contains it."""
    while names and names not in lines:
        names = names[:-1]
    return lines.get(names, 1)


def _wrong(source: str, faults: Sequence[tuple[int, str]]) -> SettingsError:
    told = "\n".join(f"  - {source}, line {line}: {fault}." for line, fault in sorted(faults))
    return SettingsError(
        f"The contract is wrong:\n{told}\n"
        "Nothing was loaded or changed. Mend the file, or work without one: CDR_CONTRACT unset."
    )


def _quoted(text: object) -> str:
    return json.dumps(text, ensure_ascii=False, default=str)
