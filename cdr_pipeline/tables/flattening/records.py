"""Reads the records of some pages into columns of the documented fields, and collects the faults:
values that do not fit their field.

A strict decoder (`layouts`) decodes a page as a whole, once it has learned how the vendor writes
its records. If it refuses the page, each record is read by itself. What a value of an undocumented
kind means (a fraction in a number field, an object in a text field) is decided here, from its JSON
text alone. Times are still text here.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final

import msgspec
import polars as pl

from cdr_pipeline import page
from cdr_pipeline.record import ADDITIONAL, DOCUMENTED, FIELDS, Field, Kind, Reason
from cdr_pipeline.tables.arrow import ROW_BYTES
from cdr_pipeline.tables.flattening.layouts import TYPES, Layout
from cdr_pipeline.tables.raw_pages import StoredPage
from cdr_pipeline.tables.values import INT64, is_object, members_of, tokens_of

#: Polars' expressions pay from so many rows on; a page has fewer.
BATCH_ROWS: Final = 8_000

#: More records than a response ever holds: the records of each page count from a multiple of it.
_PAGE_RECORDS: Final = 2**32

_NO_OBJECT: Final = frozenset({"null", '""', "[]"})
_BY_NAME: Final = {field.name: field for field in FIELDS}

#: Decoders of many values of a kind, for values that are all as documented.
_ALL: Final[dict[Kind, Callable[[bytes], list[Any]]]] = {
    kind: msgspec.json.Decoder(list[expected]).decode  # type: ignore[valid-type]
    for kind, expected in TYPES.items()
}

#: The columns of a batch's frame: counts are integers, all else is text.
_RAW: Final = pl.Schema(
    {
        "_at": pl.Int64(),
        **{one.label: pl.Int64() if one.kind is Kind.COUNT else pl.String() for one in FIELDS},
        ADDITIONAL: pl.String(),
        "extra": pl.String(),
    }
)
_TEXTS: Final = [name for name, dtype in _RAW.items() if dtype == pl.String]

#: Sign and digits of a whole number; Python converts only a limited number of digits.
_WHOLE_NUMBER = re.compile(r"\s*([+-]?)([0-9]++)(?:\.0*)?\s*")
_MOST_DIGITS: Final = len(str(INT64[-1]))

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


class _Unfit(Exception):
    """A record that cannot be a call, or a value that does not fit its field."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason


@dataclass
class Fault:
    """A row of `cdr_rejects` in the making. `at`: the record's place in the order of arrival."""

    at: int
    id: str | None
    field: str | None
    value: str | None
    reason: Reason
    payload: bytes


@dataclass
class Batch:
    """The records of some pages on their way to a frame, and their faults.

    objects: the JSON of each record's `additional` if that is an object, else None. As bytes: to
        convert it to text takes as long as to decode it.
    """

    objects: list[bytes | None] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    pages: list[tuple[int, StoredPage]] = field(default_factory=list)
    _frames: list[pl.DataFrame] = field(default_factory=list)
    _texts: dict[int, list[bytes]] = field(default_factory=dict)
    _identities: dict[int, tuple[str | None, str | None]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.objects)

    def page_of(self, at: int) -> StoredPage:
        """The page that brought a record."""
        return self._place_of(at)[1]

    def offset(self, at: int) -> int:
        """The offset of a record in the listing of its window."""
        first, stored = self._place_of(at)
        return stored.offset + at - first

    def text(self, at: int) -> bytes:
        """The JSON text of a record, for the few records whose text is needed."""
        first, _ = self._place_of(at)
        return self.texts(first)[at - first]

    def texts(self, first: int) -> list[bytes]:
        """The texts of a page's records (`first`: its first place); each page is split once."""
        if first not in self._texts:
            self._texts[first] = page.split(self.page_of(first).body)
        return self._texts[first]

    def identity(self, at: int) -> tuple[str | None, str | None]:
        """The record's `page.identity`, looked up once for all of its faults."""
        if at not in self._identities:
            self._identities[at] = page.identity(self.text(at))
        return self._identities[at]

    def fault(self, at: int, label: str | None, value: str | None, reason: Reason) -> None:
        """Note a field that does not fit; without a `label`, the whole record."""
        self.faults.append(Fault(at, self.identity(at)[0], label, value, reason, self.text(at)))

    def cells(
        self, at: int, members: Mapping[str, msgspec.Raw], odd: Collection[str]
    ) -> dict[str, Any]:
        """The documented fields of a record with these members: tokens for `additional` and the
        `odd` fields, values for the others. A value that does not fit is null and a fault.
        """
        tokens = {ADDITIONAL, *odd}
        return {
            name: token if name in tokens else self._value(at, _BY_NAME[name], token)
            for name, token in members.items()
            if name in DOCUMENTED
        }

    def add(
        self,
        at: Sequence[int],
        records: Sequence[Any],
        layout: Layout,
        extra: Mapping[int, str | None],
    ) -> None:
        """Add the records of one page, as read by `layout`. `at`: their places in the order of
        arrival. `extra`: place -> column `extra`, of records that `layout` could not read whole.

        Works page by page: the values of one page still fit in the processor's cache.
        """
        if not records:
            return
        members = members_of(records)
        documented = members[: len(FIELDS)]
        objects, *unknown = members[len(FIELDS) :]
        counts: dict[Field, Sequence[Any]] = {}
        texts: dict[Field, Sequence[Any]] = {}
        for number, one in enumerate(FIELDS):
            if one.name in layout.odd:
                documented[number] = self._values(one, documented[number], at)
            cells = documented[number]
            if one.kind is not Kind.COUNT:
                if any(cells):
                    texts[one] = cells
            elif cells.count(None) < len(cells):  # zero is a value, where empty text is none
                counts[one] = cells
        rows = len(at)
        columns = [*_columns(counts, pl.Int64, rows), *_columns(texts, pl.String, rows)]
        columns.append(pl.Series("_at", at, dtype=pl.Int64))
        columns.append(pl.Series(ADDITIONAL, self._texts_of(objects, at), dtype=pl.Binary))
        if unknown or extra:
            told = [extra.get(place) for place in at]
            there = [number for number, tokens in enumerate(unknown) if any(tokens)]
            names = [layout.unknown[number] for number in there]
            for row, tokens in enumerate(zip(*(unknown[number] for number in there), strict=True)):
                told[row] = told[row] or _extra(zip(names, tokens, strict=True))
            columns.append(pl.Series("extra", told, dtype=pl.String))
        self._frames.append(pl.DataFrame(columns))

    def frame(self) -> pl.DataFrame:
        """`_at`, the documented fields, `additional` and `extra`, as text but for the counts.

        Empty text is null.
        """
        # In one chunk, or every expression would first rechunk the whole frame.
        columns = pl.concat(
            [pl.DataFrame(schema={"_at": pl.Int64}), *self._frames], how="diagonal", rechunk=True
        )
        return (
            columns.cast({pl.Binary: pl.String})
            .with_columns(
                pl.when(pl.col(name) != "").then(name) for name in _TEXTS if name in columns
            )
            .match_to_schema(_RAW, missing_columns="insert")
        )

    def _texts_of(self, objects: Iterable[msgspec.Raw], at: Sequence[int]) -> list[bytes | None]:
        """The text of each `additional`, null if there is none; other than an object is a fault."""
        sent = list(map(bytes, objects))
        texts: list[bytes | None] = list(sent)
        self.objects.extend(sent)
        for row in [row for row, text in enumerate(sent) if not text.startswith(b"{")]:
            text, is_one = _objects_text(sent[row].decode())
            texts[row] = text.encode() if text is not None else None
            self.objects[row - len(sent)] = texts[row] if is_one else None
            if text is not None and not is_one:
                self.fault(at[row], ADDITIONAL, text, Reason.NO_OBJECT)
        return texts

    def _place_of(self, at: int) -> tuple[int, StoredPage]:
        return self.pages[bisect_right(self.pages, at, key=lambda entry: entry[0]) - 1]

    def _values(
        self, one: Field, tokens: Sequence[msgspec.Raw], at: Sequence[int]
    ) -> list[str | int | None]:
        """The values of a field's tokens: decoded at once if all are as documented."""
        try:
            return _ALL[one.kind](b"[%b]" % b",".join(tokens))
        except page.UNREADABLE:
            return [self._value(place, one, token) for place, token in zip(at, tokens, strict=True)]

    def _value(self, at: int, one: Field, token: msgspec.Raw) -> str | int | None:
        """The value of a field's token. A value that does not fit is null and a fault."""
        text = bytes(token)
        try:
            return _value(text, one.kind)
        except _Unfit as unfit:
            self.fault(at, one.label, page.text_of(text) or "", unfit.reason)
            return None


def _columns(
    fields: Mapping[Field, Sequence[Any]], dtype: type[pl.DataType], rows: int
) -> list[pl.Series]:
    """A page's values of some fields of one type, as a series per field.

    All are slices of one series: to make a series costs as much as 500 values.
    """
    values: list[Any] = []
    for cells in fields.values():
        values += cells
    together = pl.Series(values, dtype=dtype)
    return [
        together.slice(number * rows, rows).alias(one.label) for number, one in enumerate(fields)
    ]


def batches(pages: Iterable[StoredPage]) -> Iterator[Batch]:
    """The records of the pages in batches of some pages, in the order of the pages."""
    batch, layout, size = Batch(), Layout(), 0
    for stored in pages:
        if batch.pages and stored.place < batch.pages[-1][1].place:
            yield batch
            batch, size = Batch(), 0
        layout = _add(batch, stored, layout)
        size += len(stored.body)
        if len(batch) >= BATCH_ROWS or size >= BATCH_ROWS * ROW_BYTES:
            yield batch
            batch, size = Batch(), 0
    yield batch


def _add(batch: Batch, stored: StoredPage, layout: Layout) -> Layout:
    """Add a page's records; the layout to read the next page by."""
    at = stored.place * _PAGE_RECORDS
    batch.pages.append((at, stored))
    try:
        page.check_encoding(stored.body)
        records = layout.page(stored.body)
    except page.UNREADABLE:
        return _add_one_by_one(batch, at, layout)
    batch.add(range(at, at + len(records)), records, layout, {})
    return layout


def _add_one_by_one(batch: Batch, first: int, layout: Layout) -> Layout:
    """As `_add`, for a page with records that `layout` refuses."""
    places, records, extra, learned = [], [], {}, layout
    for at, text in enumerate(batch.texts(first), first):
        try:
            page.check_encoding(text)
            record = layout.one(text)
        except page.UNREADABLE:
            try:
                members = _object(text)
            except _Unfit as unfit:
                id_, _ = page.identity(text)
                batch.faults.append(Fault(at, id_, None, None, unfit.reason, text))
                continue
            learned = learned.learning(members)
            record = layout.of(batch.cells(at, members, layout.odd))
            extra[at] = _extra(members.items())
        places.append(at)
        records.append(record)
    batch.add(places, records, layout, extra)
    return learned


def _object(text: bytes) -> dict[str, msgspec.Raw]:
    try:
        page.check_encoding(text)
    except ValueError as error:
        raise _Unfit(Reason.INVALID_UTF_8) from error
    try:
        members = tokens_of(text)
    except msgspec.ValidationError as error:
        raise _Unfit(Reason.NO_OBJECT) from error
    except RecursionError as error:
        raise _Unfit(Reason.TOO_DEEP) from error
    except msgspec.DecodeError as error:
        surrogate = _SURROGATE.search(text)
        raise _Unfit(Reason.SURROGATE if surrogate else Reason.NO_JSON) from error
    if page.any_too_deep(members.values()):
        raise _Unfit(Reason.TOO_DEEP)
    return members


def _value(token: bytes, kind: Kind) -> str | int | None:
    """The value of a documented field. Raises _Unfit."""
    if kind is not Kind.COUNT:
        return page.text_of(token)
    if token == b"null":
        return None
    if token[:1] == b'"':
        return _count(page.text_of(token) or "")
    if token[:1] not in b"-0123456789":
        raise _Unfit(Reason.NO_WHOLE_NUMBER)
    try:
        number = Decimal(token.decode())  # by its digits: a float would round them
    except InvalidOperation:  # an exponent beyond all bounds
        mantissa, _, exponent = token.lower().partition(b"e")
        if not mantissa.strip(b"-0."):
            return 0
        small = exponent.startswith(b"-")
        raise _Unfit(Reason.NO_WHOLE_NUMBER if small else Reason.TOO_LARGE) from None
    if not number:
        return 0
    if number.adjusted() > _MOST_DIGITS:
        raise _Unfit(Reason.TOO_LARGE)
    if number != number.to_integral_value():
        raise _Unfit(Reason.NO_WHOLE_NUMBER)
    return _within_64_bits(int(number))


def _count(text: str) -> int | None:
    """A whole number written as text: "33" is 33. Raises _Unfit."""
    if not text:
        return None
    number = _WHOLE_NUMBER.fullmatch(text)
    if not number:
        raise _Unfit(Reason.NO_WHOLE_NUMBER)
    digits = number[2].lstrip("0") or "0"
    if len(digits) > _MOST_DIGITS:
        raise _Unfit(Reason.TOO_LARGE)
    return _within_64_bits(int(number[1] + digits))


def _within_64_bits(value: int) -> int:
    if value not in INT64:
        raise _Unfit(Reason.TOO_LARGE)
    return value


def _extra(members: Iterable[tuple[str, msgspec.Raw]]) -> str | None:
    """The undocumented fields of a record as a JSON object, ordered by name."""
    there = [(name, token) for name, token in members if token and name not in DOCUMENTED]
    told = [_quoted(name) + page.compact(bytes(token)) for name, token in sorted(there)]
    return "{" + ",".join(told) + "}" if told else None


@lru_cache(maxsize=1_000)
def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False) + ":"


def _objects_text(text: str) -> tuple[str | None, bool]:
    """What is not plainly an object: as text, and whether it is one inside a JSON string."""
    if text in _NO_OBJECT:
        return None, False
    if text[0] == '"':
        text = str(msgspec.json.decode(text))
        return text, is_object(text.encode())
    return (None if page.compact(text.encode()) == "[]" else text), False
