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
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec
import polars as pl

from cdr_pipeline import page
from cdr_pipeline.record import ADDITIONAL, FIELDS, Field, Kind, Reason
from cdr_pipeline.tables.pages import StoredPage
from cdr_pipeline.tables.values import INT64, Int64, is_object, members_of, tokens_of

#: Polars' expressions pay from this many rows on; a page has fewer.
BATCH_ROWS: Final = 8_000

#: More records than a response ever holds: those of each count from another multiple of it.
_PAGE_RECORDS: Final = 2**32

_NONE: Final = msgspec.Raw(b"null")
_NO_OBJECT: Final = frozenset({"null", '""', "[]"})


def _decoders(count: Any, text: Any) -> tuple[Any, msgspec.json.Decoder[Any]]:
    """The record with fields of these types, and the decoder of a page of such records."""
    types = {Kind.COUNT: count, Kind.TEXT: text, Kind.TIME: text}
    record: Any = msgspec.defstruct(
        "_Record",
        [
            *((one.name, types[one.kind] | None, None) for one in FIELDS),
            (ADDITIONAL, msgspec.Raw, _NONE),
        ],
        forbid_unknown_fields=True,
        gc=False,
    )
    return record, msgspec.json.Decoder(msgspec.defstruct("_Page", [("data", list[record] | None)]))


#: The documented record, strictly; and one in which text may be a number and the other way round:
#: the vendor mixes these, and one of them should not slow down its page.
_, _strict_page = _decoders(Int64, str)
_Record, _page = _decoders(str | Int64, str | Int64)
_record: Final = msgspec.json.Decoder(_Record)
_BY_NAME: Final = {field.name: field for field in FIELDS}
_CAMPAIGN: Final = list(_BY_NAME).index("campaign_uuid")

#: What a batch's frame holds: text but for the counts.
_RAW: Final = pl.Schema(
    {
        "_at": pl.Int64(),
        **{one.label: pl.Int64() if one.kind is Kind.COUNT else pl.String() for one in FIELDS},
        ADDITIONAL: pl.String(),
        "extra": pl.String(),
    }
)
_TEXTS: Final = [name for name, dtype in _RAW.items() if dtype == pl.String]
_DOCUMENTED: Final = {*_BY_NAME, ADDITIONAL}
#: Its sign, and its digits without zeros before them, of which Python reads no more than some.
_WHOLE_NUMBER = re.compile(r"\s*([+-]?)0*([0-9]{1,19})(?:\.0*)?\s*")
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
    """Records of some pages on their way to a frame, and what of them does not fit.

    objects: the JSON of each one's `additional` where that is an object; None where not. In bytes:
        to make a text of it, only to be read and written again, takes as long as to read it.
    campaigns: the `campaign_uuid` of each, as it came.
    """

    objects: list[bytes | None] = field(default_factory=list)
    campaigns: list[Any] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    pages: list[tuple[int, StoredPage]] = field(default_factory=list)
    _frames: list[pl.DataFrame] = field(default_factory=list)
    _texts: dict[int, list[bytes]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.objects)

    def page_of(self, at: int) -> StoredPage:
        """The page that brought a record."""
        return self._place_of(at)[1]

    def offset(self, at: int) -> int:
        """Where a record stood among those of its window."""
        first, stored = self._place_of(at)
        return stored.offset + at - first

    def text(self, at: int) -> bytes:
        """The record's own text, found again for those that need it."""
        first, stored = self._place_of(at)
        if first not in self._texts:
            self._texts[first] = page.split(stored.body)
        return self._texts[first][at - first]

    def fault(self, at: int, label: str | None, value: str | None, reason: Reason) -> None:
        """A field that does not fit; without a `label`, the record."""
        text = self.text(at)
        self.faults.append(Fault(at, page.identity(text)[0], label, value, reason, text))

    def add(self, at: Sequence[int], records: Sequence[Any], extra: Mapping[int, str]) -> None:
        """Records of one page and their places in the order of arrival; `extra` by place.

        A page at a time: what a page's values take is still in the processor's cache then.
        """
        if not records:
            return
        *fields, objects = members_of(records)
        counts: dict[Field, Sequence[Any]] = {}
        texts: dict[Field, Sequence[Any]] = {}
        for one, cells in zip(FIELDS, fields, strict=True):
            if any(cells) or cells.count("") + cells.count(None) < len(cells):
                (counts if one.kind is Kind.COUNT else texts)[one] = cells
        columns = [*self._columns(counts, pl.Int64, at), *self._columns(texts, pl.String, at)]
        columns.append(pl.Series("_at", at, dtype=pl.Int64))
        columns.append(pl.Series(ADDITIONAL, self._texts_of(objects, at), dtype=pl.Binary))
        if extra:
            unknown = [extra.get(place) for place in at]
            columns.append(pl.Series("extra", unknown, dtype=pl.String))
        self._frames.append(pl.DataFrame(columns))
        self.campaigns.extend(fields[_CAMPAIGN])

    def frame(self) -> pl.DataFrame:
        """`_at`, the documented fields, `additional` and `extra`, as text but for the counts.

        Empty text is null.
        """
        # In one piece, or every expression would first make one of all that its frame holds.
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
        """The text of each `additional`, null for none; what is no object is a fault."""
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

    def _columns(
        self, fields: Mapping[Field, Sequence[Any]], dtype: type[pl.DataType], at: Sequence[int]
    ) -> list[pl.Series]:
        """A page's values of some fields of one type.

        One series, cut: to begin one of its own for each takes as long as 500 values.
        """
        values: list[Any] = []
        for cells in fields.values():
            values += cells
        try:
            together = pl.Series(values, dtype=dtype)
        except TypeError:  # text among numbers, or numbers among text
            return [
                pl.Series(one.label, self._all_fitted(one, cells, at), dtype=dtype)
                for one, cells in fields.items()
            ]
        rows = len(at)
        return [
            together.slice(number * rows, rows).alias(one.label)
            for number, one in enumerate(fields)
        ]

    def _all_fitted(
        self, one: Field, cells: Sequence[Any], at: Sequence[int]
    ) -> list[str | int | None]:
        """Cells of which some are of another kind than their field's."""
        due = int if one.kind is Kind.COUNT else str
        return [
            cell if cell is None or type(cell) is due else self._fitted(place, one, cell)
            for place, cell in zip(at, cells, strict=True)
        ]

    def _fitted(self, at: int, one: Field, cell: str | int) -> str | int | None:
        """A cell of another kind than its field's. What does not fit is null and a fault."""
        if isinstance(cell, int):
            # Text is as it was written, and 0 may have been written as -0.
            return str(cell) if cell else page.text_of(bytes(_object(self.text(at))[one.name]))
        try:
            return _count(cell)
        except _Unfit as unfit:
            self.fault(at, one.label, cell, unfit.reason)
            return None


def batches(pages: Iterable[StoredPage]) -> Iterator[Batch]:
    """The records of the pages, some pages at a time, which came in that order."""
    batch = Batch()
    for stored in pages:
        if batch.pages and stored.place < batch.pages[-1][1].place:
            yield batch
            batch = Batch()
        _add(batch, stored)
        if len(batch) >= BATCH_ROWS:
            yield batch
            batch = Batch()
    yield batch


def _add(batch: Batch, stored: StoredPage) -> None:
    at = stored.place * _PAGE_RECORDS
    batch.pages.append((at, stored))
    try:
        page.check_encoding(stored.body)
        records = _read_page(stored.body)
    except page.UNREADABLE:
        _add_one_by_one(batch, page.split(stored.body), at)
    else:
        batch.add(range(at, at + len(records)), records, {})


def _read_page(body: bytes) -> list[Any]:
    """The records of a page, if they are all as documented. Raises one of UNREADABLE."""
    try:
        records = _strict_page.decode(body).data or []
    except msgspec.ValidationError:
        records = _page.decode(body).data or []
    if any(len(one.additional) >= page.SHORTEST_TOO_DEEP for one in records):
        texts = (bytes(one.additional) for one in records)
        if any(page.too_deep(text, within=1) for text in texts):
            raise RecursionError
    return records


def _add_one_by_one(batch: Batch, texts: Sequence[bytes], first: int) -> None:
    places, records, extra = [], [], {}
    for at, text in enumerate(texts, first):
        try:
            read, more, misfits = _read(text)
        except _Unfit as unfit:
            id_, _ = page.identity(text)
            batch.faults.append(Fault(at, id_, None, None, unfit.reason, text))
            continue
        places.append(at)
        records.append(read)
        if more:
            extra[at] = more
        for name, value, reason in misfits:
            batch.faults.append(Fault(at, read.id, name, value, reason, text))
    batch.add(places, records, extra)


def _read(text: bytes) -> tuple[Any, str | None, list[tuple[str, str, Reason]]]:
    """One record; see `_read_slowly`."""
    if page.too_deep(text):
        raise _Unfit(Reason.TOO_DEEP)
    try:
        page.check_encoding(text)
        return _record.decode(text), None, []
    except page.UNREADABLE:
        return _read_slowly(text)


def _read_slowly(text: bytes) -> tuple[Any, str | None, list[tuple[str, str, Reason]]]:
    """A record, its undocumented fields as JSON text, and (field, value, reason) of misfits.

    Raises _Unfit.
    """
    members = _object(text)
    misfits = []
    values: dict[str, Any] = {}
    for name, token in members.items():
        documented = _BY_NAME.get(name)
        if documented is None:
            continue
        try:
            values[name] = _value(bytes(token), documented.kind)
        except _Unfit as unfit:
            misfits.append((documented.label, page.text_of(bytes(token)) or "", unfit.reason))
    if ADDITIONAL in members:
        values[ADDITIONAL] = members[ADDITIONAL]
    unknown = {name: token for name, token in members.items() if name not in _DOCUMENTED}
    return _Record(**values), _extra(unknown), misfits


def _object(text: bytes) -> dict[str, msgspec.Raw]:
    try:
        page.check_encoding(text)
    except ValueError as error:
        raise _Unfit(Reason.INVALID_UTF_8) from error
    try:
        return tokens_of(text)
    except msgspec.ValidationError as error:
        raise _Unfit(Reason.NO_OBJECT) from error
    except RecursionError as error:
        raise _Unfit(Reason.TOO_DEEP) from error
    except msgspec.DecodeError as error:
        surrogate = _SURROGATE.search(text)
        raise _Unfit(Reason.SURROGATE if surrogate else Reason.NO_JSON) from error


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
    if number.adjusted() > len(str(INT64[-1])):
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
    return _within_64_bits(int(number[1] + number[2]))


def _within_64_bits(value: int) -> int:
    if value not in INT64:
        raise _Unfit(Reason.TOO_LARGE)
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
