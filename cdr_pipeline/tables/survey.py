"""Which keys and values the lead lists have sent so far, and what a contract would change.

Both are found from the `additional` of stored calls, some thousand rows at a time: memory grows
with the number of keys, not of calls.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import chain, takewhile
from typing import Any, Final
from zoneinfo import ZoneInfo

import polars as pl

from cdr_pipeline.errors import shortened
from cdr_pipeline.page import compact
from cdr_pipeline.record import ADDITIONAL
from cdr_pipeline.tables.arrow import in_slices, naming_damage
from cdr_pipeline.tables.contract import Contract, Declared
from cdr_pipeline.tables.datasets import CDRS
from cdr_pipeline.tables.flattening.additional import (
    Misfits,
    Spreader,
    fit_declared,
    misfits,
    most_used,
    objects_of,
    united_misfits,
)
from cdr_pipeline.tables.flattening.objects import Cells, Group, ObjectReader
from cdr_pipeline.tables.names import column_names, digest, plain_name, sounds_personal
from cdr_pipeline.tables.provenance import days_in_words
from cdr_pipeline.tables.readers import additional_columns, unite, united_type
from cdr_pipeline.tables.store import Store
from cdr_pipeline.tables.values import own_token

_ROWS: Final = 20_000
_EXAMPLE: Final = 40

_DATES: Final = ("%Y-%m-%d", "%d/%m/%Y", "%d-%m-%Y", "%d.%m.%Y", "%Y/%m/%d")
_TIMES: Final = ("%H:%M:%S", "%H:%M")

#: The types that may be proposed for a key; the first that fits every value is. Text always fits.
_CANDIDATES: Final = (
    *(Declared("", kind) for kind in ("int", "decimal", "float", "bool")),
    *(Declared("", "date", format=form) for form in _DATES),
    *(
        Declared("", "datetime", format=f"{day}{between}{time}{zone}")
        for day in _DATES
        for between in (" ", "T")
        for time in _TIMES
        for zone in ("", "%#z")
    ),
)
_NUMBERS: Final = ("int", "decimal", "float")

#: Every date matches this. Most keys hold no dates, and are not tried with each date format.
_LIKE_A_DATE: Final = re.compile(r"\d\s*[-./]\s*\d")

#: Text that a number would not keep: leading zeros, the plus of a phone number, a code such as 1E5.
_NO_NUMBER: Final = r"^\s*(?:[+-]?0[0-9]|\+|[0-9]+[eE])"

_PERSONAL_VALUES: Final = {
    "phone numbers": r"^\s*(?:\+?84|0)[0-9]{8,10}\s*$",
    "e-mail addresses": r"^[^@\s]+@[^@\s]+\.[^@\s]+$",
}


@dataclass
class SeenKey:
    """What was seen of one key: JSON types, the types that fit all values, and personal data.

    types: JSON type -> values. fits: the candidates that fit all values. values: how many are
    neither null nor "". personal: why the values seem personal, "" if they do not. example: the
    value that decided the proposal; if none did, the first.
    """

    key: str
    zone: ZoneInfo
    types: Counter[str] = field(default_factory=Counter)
    fits: list[Declared] = field(default_factory=lambda: list(_CANDIDATES))
    values: int = 0
    personal: str = ""
    example: str = ""

    def add(self, cells: Cells, texts: Sequence[bytes]) -> None:
        """Add values. `texts`: the objects in which they are."""
        for kind, places in cells.by_type().items():
            values = [cells.values[at] for at in places]
            self._add_of_type(kind, values, [texts[at] for at in places])

    def proposed(self) -> Declared:
        """A declaration of the key in the first type that fits every value."""
        found = self.fits[0] if self.fits else Declared("", "string")
        return replace(found, key=self.key, pii=bool(self.personal))

    def _add_of_type(self, kind: str, values: Sequence[Any], texts: Sequence[bytes]) -> None:
        self.types[kind] += len(values)
        filled = [at for at, value in enumerate(values) if value not in (None, "")]
        if not filled:
            return
        values, texts = [values[at] for at in filled], [texts[at] for at in filled]
        self.values += len(values)
        decided = self._narrow(kind, values, texts)
        if decided is not None or not self.example:
            self.example = compact(own_token(texts[decided or 0], self.key).encode())
        if kind == "string" and not self.personal:
            self._look_at(pl.Series(values, dtype=pl.String))
        if not self.personal and sounds_personal(self.key):
            self.personal = "its name says so"

    def _narrow(self, kind: str, values: Sequence[Any], texts: Sequence[bytes]) -> int | None:
        """Keep the candidates that fit all these values; return the place of the value that changed
        the proposal, or None.
        """
        missed = {one: self._first_misfit(one, kind, values, texts) for one in self.fits}
        self.fits = [one for one, at in missed.items() if at is None]
        # Only the candidates before the first that still fits: the others were never the proposal.
        dropped = takewhile(lambda at: at is not None, missed.values())
        return max((at for at in dropped if at is not None), default=None)

    def _first_misfit(
        self, candidate: Declared, kind: str, values: Sequence[Any], texts: Sequence[bytes]
    ) -> int | None:
        if candidate.format and not _LIKE_A_DATE.search(f"{values[0]}"):
            return 0
        asked, contract = replace(candidate, key=self.key), Contract(zone=self.zone)
        unfit = fit_declared(asked, kind, values, texts, contract).is_null()
        if kind == "string" and candidate.type in _NUMBERS:
            unfit |= pl.Series(values, dtype=pl.String).str.contains(_NO_NUMBER)
        return unfit.arg_max() if unfit.any() else None

    def _look_at(self, texts: pl.Series) -> None:
        for what, pattern in _PERSONAL_VALUES.items():
            if not self.personal and texts.str.contains(pattern).any():
                self.personal = f"some of its values look like {what}"


def observe(store: Store, days: Iterable[date]) -> list[SeenKey]:
    """The keys in the stored calls of these days, sorted by name. Raises Damaged."""
    seen: dict[str, SeenKey] = {}
    reader = ObjectReader()
    for calls in chain.from_iterable(_batches(store, day) for day in days):
        objects, campaigns = objects_of(calls)
        for key, (cells, texts) in _by_key(reader.groups(objects, campaigns), objects).items():
            seen.setdefault(key, SeenKey(key, store.zone)).add(cells, texts)
    return [seen[key] for key in sorted(seen)]


def _by_key(
    groups: Iterable[Group], objects: Sequence[bytes | None]
) -> dict[str, tuple[Cells, list[bytes]]]:
    """Key -> its cells in all groups, and the objects in which they are. Joined, since to look at a
    few values takes as long as at thousands, and if each record has other keys, each is a group.
    """
    values: dict[str, list[Any]] = defaultdict(list)
    types: dict[str, list[str]] = defaultdict(list)
    texts: dict[str, list[bytes]] = defaultdict(list)
    for group in groups:
        theirs = [objects[row] or b"" for row in group.rows]
        for key, cells in zip(group.keys, group.cells, strict=True):
            values[key] += cells.values
            types[key] += cells.types * (len(cells.values) // len(cells.types))
            texts[key] += theirs
    return {key: (Cells(values[key], types[key]), texts[key]) for key in values}


def proposal(seen: Sequence[SeenKey], days: Sequence[date]) -> str:
    """A contract as TOML text: every key that had a value, in the type that fits all its values."""
    lines = [
        f"# Proposed from the calls of {days_in_words(days)}: types that fit every value.",
        "# Check it, remove what you do not need, and name the file in CDR_CONTRACT. Types: int,",
        "# float, decimal, bool, date, datetime, string; drop = true instead of a type: no column;",
        '# column = "..." for a name of its own, description = "..." for those who read it.',
    ]
    owner: dict[str, str] = {}
    for one in seen:
        if one.values:
            lines += ["", *_table(one, owner)]
    return "\n".join(lines) + "\n"


def _table(one: SeenKey, owner: dict[str, str]) -> Iterator[str]:
    """The lines of one key's table; `owner`: column name -> its key. If two keys share a name, the
    table of the second is a comment, so that no value leaves its column without being asked to.
    """
    proposed = one.proposed()
    (name,) = column_names((one.key,))
    mark = "# " if owner.setdefault(name, one.key) != one.key else ""
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in one.types.most_common())
    shown = _without_del(shortened(one.example, _EXAMPLE))
    example = "" if one.personal else f", such as {shown}"
    yield f"# Calls with it: {one.types.total():,} ({kinds}){example}"
    if mark:
        yield f"# It shares {name} with {_toml(owner[name])}. To take it out of there, say so:"
    yield f"{mark}[keys.{_toml(one.key)}]"
    yield f'{mark}type = "{proposed.type}"'
    if proposed.format:
        yield f"{mark}format = {_toml(proposed.format)}"
    if mark:
        yield f'# column = "lead_{plain_name(one.key)[:40].rstrip("_")}_{digest(one.key)}"'
    if proposed.pii:
        yield f"{mark}pii = true  # {one.personal}"


def _toml(text: str) -> str:
    """A text as TOML, which quotes as JSON does, except for DEL."""
    return _without_del(json.dumps(text, ensure_ascii=False))


def _without_del(text: str) -> str:
    """Escape DEL, the only control character that JSON does not escape and TOML does not accept."""
    return text.replace("\x7f", "\\u007f")


# What a contract would change


@dataclass(frozen=True)
class Changes:
    """What would change for readers if days were made again under a contract.

    columns: name of a column that changes -> its type now and then, None for no column.
    misfits: the values that would not fit. unheard: declared keys that no call of these days has.
    """

    columns: dict[str, tuple[pl.DataType | None, pl.DataType | None]]
    misfits: list[Misfits]
    unheard: list[str]


def compare(store: Store, contract: Contract, days: Iterable[date], most_columns: int) -> Changes:
    """Compare stored days with the same days made again under `contract`. Raises Damaged."""
    now: set[str] = set()
    then: set[str] = set()
    unfit: list[list[Misfits]] = []
    spreader = Spreader(contract)
    for day in days:
        now |= additional_columns(CDRS, [store.path(CDRS, day)])
        used: Counter[str] = Counter()
        keys: dict[str, set[str]] = {}
        for calls in _batches(store, day):
            columns = spreader.spread(*objects_of(calls))
            used.update(columns.used)
            for name, sent in columns.keys.items():
                keys.setdefault(name, set()).update(sent)
            told = columns.frame().select("_misfits", calls[ADDITIONAL])
            unfit.append(misfits(told.lazy(), contract))
        unfit = [united_misfits(unfit)]
        then.update(most_used(used, keys, most_columns, contract))
    before, after = _types(now), _types(then)
    changed = {
        name: (before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    }
    return Changes(
        changed, united_misfits(unfit), sorted(contract.keys.keys() - spreader.sent.keys)
    )


def _types(columns: Iterable[str]) -> dict[str, pl.DataType]:
    return {name: united_type(variants) for name, variants in unite(columns).items()}


# Stored objects


def _batches(store: Store, day: date) -> Iterator[pl.DataFrame]:
    """`additional` and `campaign_uuid` of a day's calls with `additional`. Raises Damaged."""
    with naming_damage(store.path(CDRS, day)):
        rows = store.lazy(CDRS, day).select(ADDITIONAL, "campaign_uuid")
        for part in in_slices(rows, _ROWS):
            yield part.collect().filter(pl.col(ADDITIONAL).is_not_null())
