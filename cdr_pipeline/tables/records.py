"""Records of some pages as columns of the documented fields, and the faults of what does not fit.

A page is decoded at once by a strict decoder of the documented record. What it refuses is read
again record by record, field by field: the slow reading, which says what a value means where it
does not fit (a fraction in a number field, a field nobody documented). No type but the documented
one is made of a value here: times are text still.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import polars as pl

from cdr_pipeline import page
from cdr_pipeline.record import ADDITIONAL, FIELDS, Field, Kind
from cdr_pipeline.tables.pages import StoredPage
from cdr_pipeline.tables.values import INT64, Int64, is_object, tokens_of

#: Polars' expressions pay from this many rows on; a page has fewer.
BATCH_ROWS: Final = 8_000

_NONE: Final = msgspec.Raw(b"null")
_NO_OBJECT: Final = frozenset({"null", '""', "[]"})

#: The documented record, strictly, but for text that is a number and the other way round: the
#: vendor mixes these, and one of them should not slow down its page.
_Record: Any = msgspec.defstruct(
    "_Record",
    [*((one.name, str | Int64 | None, None) for one in FIELDS), (ADDITIONAL, msgspec.Raw, _NONE)],
    forbid_unknown_fields=True,
    gc=False,
)
_Page: Any = msgspec.defstruct("_Page", [("data", list[_Record] | None)])
_page: Final = msgspec.json.Decoder(_Page)
_record: Final = msgspec.json.Decoder(_Record)
_astuple: Final = msgspec.structs.astuple
_BY_NAME: Final = {field.name: field for field in FIELDS}
_DOCUMENTED: Final = {*_BY_NAME, ADDITIONAL}
_WHOLE_NUMBER = re.compile(r"\s*[+-]?\d{1,19}(?:\.0*)?\s*")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


class _Reject(Exception):
    """A record that cannot be a call."""


@dataclass
class Fault:
    """A row of `cdr_rejects` in the making. `at`: the record's place in the order of arrival."""

    at: int
    id: str | None
    field: str | None
    value: str | None
    reason: str
    payload: bytes


@dataclass
class Batch:
    """Records of some pages on their way to a frame. `at`: their places in the order of arrival.

    `objects`: the JSON text of each one's `additional`, as the vendor wrote it.
    """

    at: list[int] = field(default_factory=list)
    records: list[Any] = field(default_factory=list)
    objects: list[str] = field(default_factory=list)
    extra: dict[int, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    pages: list[tuple[int, StoredPage]] = field(default_factory=list)
    _texts: dict[int, list[bytes]] = field(default_factory=dict)

    def page_of(self, at: int) -> StoredPage:
        """The page that brought a record."""
        return self._place_of(at)[1]

    def text(self, at: int) -> bytes:
        """The record's own text, found again for those that need it."""
        first, stored = self._place_of(at)
        if first not in self._texts:
            self._texts[first] = page.split(stored.body)
        return self._texts[first][at - first]

    def fault(self, at: int, label: str | None, value: str | None, reason: str) -> None:
        """A field that does not fit; without a `label`, the record."""
        text = self.text(at)
        self.faults.append(Fault(at, page.identity(text)[0], label, value, reason, text))

    def frame(self) -> pl.DataFrame:
        """`_at`, the documented fields, `additional` as text and whether that is an object
        (`_object`), and `extra`. Times are text still. Adds to the faults.
        """
        *fields, _ = zip(*map(_astuple, self.records or [_Record()]), strict=True)
        texts: list[str | None] = list(self.objects)
        objects = [True] * len(texts)
        for row in [row for row, text in enumerate(self.objects) if text[0] != "{"]:
            texts[row], objects[row] = _objects_text(self.objects[row])
        extra = [self.extra.get(at) for at in self.at] if self.extra else [None] * len(texts)
        cells = pl.DataFrame(
            [self._column(one, values) for one, values in zip(FIELDS, fields, strict=True)]
        )
        frame = cells.head(len(self.records)).with_columns(
            pl.Series("_at", self.at, dtype=pl.Int64),
            pl.Series(ADDITIONAL, texts, dtype=pl.String),
            pl.Series("_object", objects, dtype=pl.Boolean),
            pl.Series("extra", extra, dtype=pl.String),
        )
        for at, text in frame.filter(~pl.col("_object")).select("_at", ADDITIONAL).rows():
            if text is not None:
                self.fault(at, ADDITIONAL, text, "not an object")
        return frame

    def _place_of(self, at: int) -> tuple[int, StoredPage]:
        return self.pages[bisect_right(self.pages, at, key=lambda entry: entry[0]) - 1]

    def _column(self, one: Field, cells: Sequence[Any]) -> pl.Series:
        dtype = pl.Int64() if one.kind is Kind.COUNT else pl.String()
        try:
            return pl.Series(one.label, cells, dtype=dtype)
        except TypeError:  # text among numbers, or numbers among text
            due = int if one.kind is Kind.COUNT else str
            fitted = [
                cell if cell is None or type(cell) is due else self._fitted(at, one, cell)
                for at, cell in zip(self.at, cells, strict=True)
            ]
            return pl.Series(one.label, fitted, dtype=dtype)

    def _fitted(self, at: int, one: Field, cell: str | int) -> str | int | None:
        """A cell of another kind than its field's. What does not fit is null and a fault."""
        if isinstance(cell, int):
            # Text is as it was written, and 0 may have been written as -0.
            return str(cell) if cell else page.text_of(bytes(_object(self.text(at))[one.name]))
        try:
            return _count(cell)
        except ValueError as reason:
            self.fault(at, one.label, cell, str(reason))
            return None


def batches(pages: Iterable[StoredPage]) -> Iterator[Batch]:
    """The records of the pages, in the order they came, some pages at a time."""
    batch, at = Batch(), 0
    for stored in pages:
        at = _add(batch, stored, at)
        if len(batch.records) >= BATCH_ROWS:
            yield batch
            batch = Batch()
    yield batch


def _add(batch: Batch, stored: StoredPage, at: int) -> int:
    batch.pages.append((at, stored))
    try:
        page.check_encoding(stored.body)
        records = _page.decode(stored.body).data or []
    except page.UNREADABLE:
        texts = page.split(stored.body)
        for offset, text in enumerate(texts):
            _add_one(batch, text, at + offset)
        return at + len(texts)
    batch.at.extend(range(at, at + len(records)))
    batch.records.extend(records)
    batch.objects.extend(str(read.additional, "utf-8") for read in records)
    return at + len(records)


def _add_one(batch: Batch, text: bytes, at: int) -> None:
    try:
        page.check_encoding(text)
        read = _record.decode(text)
    except page.UNREADABLE:
        try:
            read, extra, misfits = _read_slowly(text)
        except _Reject as why:
            id_, _ = page.identity(text)
            batch.faults.append(Fault(at, id_, None, None, str(why), text))
            return
        if extra:
            batch.extra[at] = extra
        for name, value, reason in misfits:
            batch.faults.append(Fault(at, read.id, name, value, reason, text))
    batch.at.append(at)
    batch.records.append(read)
    batch.objects.append(str(read.additional, "utf-8"))


def _read_slowly(text: bytes) -> tuple[Any, str | None, list[tuple[str, str, str]]]:
    """A record, its undocumented fields as JSON text, and (field, value, reason) of misfits."""
    members = _object(text)
    misfits = []
    values: dict[str, Any] = {}
    for name, token in members.items():
        documented = _BY_NAME.get(name)
        if documented is None:
            continue
        try:
            values[name] = _value(bytes(token), documented.kind)
        except ValueError as reason:
            misfits.append((documented.label, page.text_of(bytes(token)) or "", str(reason)))
    if ADDITIONAL in members:
        values[ADDITIONAL] = members[ADDITIONAL]
    unknown = {name: token for name, token in members.items() if name not in _DOCUMENTED}
    return _Record(**values), _extra(unknown), misfits


def _object(text: bytes) -> dict[str, msgspec.Raw]:
    try:
        page.check_encoding(text)
    except ValueError as error:
        raise _Reject("invalid UTF-8") from error
    try:
        return tokens_of(text)
    except msgspec.ValidationError as error:
        raise _Reject("not an object") from error
    except RecursionError as error:
        raise _Reject("nested too deeply") from error
    except msgspec.DecodeError as error:
        why = "a lone surrogate" if _SURROGATE.search(text) else "not valid JSON"
        raise _Reject(why) from error


def _value(token: bytes, kind: Kind) -> str | int | None:
    """The value of a documented field. Raises ValueError with the reason if it does not fit."""
    if kind is not Kind.COUNT:
        return page.text_of(token)
    if token == b"null":
        return None
    value = msgspec.json.decode(token) if token[:1] not in b"{[" else None
    if isinstance(value, str):
        return _count(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int:
        raise ValueError("not a whole number")
    return _within_64_bits(value)


def _count(text: str) -> int | None:
    """A whole number written as text: "33" is 33. Raises ValueError with the reason."""
    if not text:
        return None
    if not _WHOLE_NUMBER.fullmatch(text):
        raise ValueError("not a whole number")
    return _within_64_bits(int(text.partition(".")[0]))


def _within_64_bits(value: int) -> int:
    if value not in INT64:
        raise ValueError("more than 64 bits")
    return value


def _extra(unknown: Mapping[str, msgspec.Raw]) -> str | None:
    members = [
        f"{json.dumps(name, ensure_ascii=False)}:{page.compact(bytes(token))}"
        for name, token in unknown.items()
    ]
    return "{" + ",".join(members) + "}" if members else None


def _objects_text(text: str) -> tuple[str | None, bool]:
    """What is not plainly an object: as text, and whether it is one inside a JSON string."""
    if text in _NO_OBJECT:
        return None, False
    if text[0] == '"':
        text = str(msgspec.json.decode(text))
        return text, is_object(text)
    return (None if page.compact(text.encode()) == "[]" else text), False
