"""From responses as received to typed calls and rejects. Nothing is lost: every record of the
day is a row of `cdrs` or, whole, a row of `cdr_rejects`.

A page is decoded at once by a strict decoder of the documented record. What it refuses is read
again record by record, field by field: the slow reading, which says what a value means where it
does not fit (a number in a text field, digits in a number field, a field nobody documented).
"""

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

import msgspec
import polars as pl

from cdr_pipeline import page, record
from cdr_pipeline.record import ADDITIONAL, FIELDS, NO_KEY_PRESSED, Kind, Window
from cdr_pipeline.tables import additional
from cdr_pipeline.tables.contract import CDRS, REJECTS
from cdr_pipeline.tables.kpi import disposition
from cdr_pipeline.tables.pages import StoredPage, began_in, without_neighbours_copies

#: Polars' expressions pay from this many rows on; a page has fewer.
BATCH_ROWS: Final = 16_000

#: The additional_* columns of a day, unless the settings say otherwise.
MOST_COLUMNS: Final = 256
_BATCH_COLUMNS: Final = 4

_INT64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_NONE: Final = msgspec.Raw(b"null")

#: The documented record, strictly: a page of nothing but such records is decoded at once.
_Record: Any = msgspec.defstruct(
    "_Record",
    [
        *((one.name, (_INT64 if one.kind is Kind.COUNT else str) | None, None) for one in FIELDS),
        (ADDITIONAL, msgspec.Raw, _NONE),
    ],
    forbid_unknown_fields=True,
    gc=False,
)
_Page: Any = msgspec.defstruct("_Page", [("data", list[_Record] | None)])
_page: Final = msgspec.json.Decoder(_Page)
_record: Final = msgspec.json.Decoder(_Record)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_REJECT_SCHEMA: Final = {
    **{column.name: column.dtype for column in REJECTS.columns},
    "_at": pl.Int64(),
    "_pass": pl.Int64(),
}
_BY_NAME: Final = {field.name: field for field in FIELDS}
_DOCUMENTED: Final = {*_BY_NAME, ADDITIONAL}
_TIMES: Final = [field for field in FIELDS if field.kind is Kind.TIME]
_WHOLE_NUMBER = re.compile(r"\s*[+-]?\d{1,19}(?:\.0*)?\s*")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


@dataclass(frozen=True)
class Flat:
    """A day's calls and rejects, and what their lead lists sent.

    keys: the keys behind each additional_* column.
    left_out: the additional_* columns that were too many; their values are in `additional` alone.
    """

    cdrs: pl.DataFrame
    rejects: pl.DataFrame
    additional_keys: pl.DataFrame
    keys: dict[str, list[str]]
    left_out: list[str]

    @property
    def whole_rejects(self) -> int:
        """Records that are in `cdr_rejects` instead of `cdrs`."""
        return self.rejects.get_column("field").null_count()


class _Reject(Exception):
    """A record that cannot be a call."""


@dataclass
class _Fault:
    """A row of `cdr_rejects` in the making. `at`: the record's place in the order of arrival."""

    at: int
    id: str | None
    field: str | None
    value: str | None
    reason: str
    payload: bytes


@dataclass
class _Batch:
    """Records of some pages on their way to a frame."""

    at: list[int] = field(default_factory=list)
    records: list[Any] = field(default_factory=list)
    extra: dict[int, str] = field(default_factory=dict)
    faults: list[_Fault] = field(default_factory=list)
    pages: list[tuple[int, StoredPage]] = field(default_factory=list)

    def page_of(self, at: int) -> tuple[int, StoredPage]:
        """The page that brought a record, and the place of its first record."""
        return self.pages[bisect_right(self.pages, at, key=lambda entry: entry[0]) - 1]

    def text(self, at: int) -> bytes:
        """The record's own text, found again for the few that need it."""
        first, stored = self.page_of(at)
        return page.split(stored.body)[at - first]


def flatten(
    pages: Iterable[StoredPage], window: Window, zone: ZoneInfo, most_columns: int = MOST_COLUMNS
) -> Flat:
    """Calls and rejects of a window from the pages in force, in the order they came.

    Of two versions of a call the later stands. Rows come out by campaign, then time. Of the
    additional_* columns the `most_columns` most used stay.
    """
    spreader = additional.Spreader()
    frames, rejects = [_empty(zone)], [pl.DataFrame(schema=_REJECT_SCHEMA)]
    keys: dict[str, set[str]] = {}
    for batch in _batches(pages):
        frame, columns = _typed(batch, zone, spreader, most_columns)
        frames.append(frame)
        rejects.append(_reject_frame(batch, window))
        for name, some in columns.keys.items():
            keys.setdefault(name, set()).update(some)
    arrived = pl.concat(frames, how="diagonal")
    calls = without_neighbours_copies(arrived, ["id", "time_started"])
    faults = pl.concat(rejects).join(
        arrived.join(calls, on="_at", how="anti"), on="_at", how="anti"
    )
    calls, faults = _latest(calls, faults)
    began = pl.col("time_started").dt.replace_time_zone(None)
    inside = began_in(began, window) & pl.col("_listed")
    faults = faults.join(calls.filter(~inside), on="_at", how="anti").sort("_at", "field")
    calls = calls.filter(inside).sort("campaign_uuid", "time_started", "id")
    used = {name: calls[name].count() if name in calls.columns else 0 for name in sorted(keys)}
    most_used = sorted(used, key=lambda name: (-used[name], name))[:most_columns]
    dynamic = sorted(name for name in most_used if used[name])
    *columns_before, extra = CDRS.schema(zone)
    shapes = calls.filter(pl.col("_shape").is_not_null()).group_by("campaign_uuid", "_shape")
    groups = shapes.agg(pl.len(), pl.col(ADDITIONAL).first()).sort("campaign_uuid", "_shape")
    return Flat(
        calls.select(*columns_before, *dynamic, extra),
        faults.select(REJECTS.schema(zone).names()),
        additional.key_table(groups.iter_rows(), spreader.known_shapes),
        {name: sorted(keys[name]) for name in dynamic},
        sorted(set(used) - set(most_used)),
    )


# Records


def _batches(pages: Iterable[StoredPage]) -> Iterator[_Batch]:
    batch, at = _Batch(), 0
    for stored in pages:
        at = _add(batch, stored, at)
        if len(batch.records) >= BATCH_ROWS:
            yield batch
            batch = _Batch()
    yield batch


def _add(batch: _Batch, stored: StoredPage, at: int) -> int:
    batch.pages.append((at, stored))
    try:
        stored.body.decode()
        records = _page.decode(stored.body).data or []
    except page.UNREADABLE:
        texts = page.split(stored.body)
        for offset, text in enumerate(texts):
            _add_one(batch, text, at + offset)
        return at + len(texts)
    batch.at.extend(range(at, at + len(records)))
    batch.records.extend(records)
    return at + len(records)


def _add_one(batch: _Batch, text: bytes, at: int) -> None:
    try:
        text.decode()
        read = _record.decode(text)
    except page.UNREADABLE:
        try:
            read, extra, misfits = _read_slowly(text)
        except _Reject as why:
            id_, _ = page.identity(text)
            batch.faults.append(_Fault(at, id_, None, None, str(why), text))
            return
        if extra:
            batch.extra[at] = extra
        for name, value, reason in misfits:
            batch.faults.append(_Fault(at, read.id, name, value, reason, text))
    batch.at.append(at)
    batch.records.append(read)


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
        text.decode()
    except UnicodeDecodeError as error:
        raise _Reject("invalid UTF-8") from error
    try:
        return _members.decode(text)
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
    value = msgspec.json.decode(token) if token[:1] not in b"{[" else None
    if value is None and token != b"null":
        raise ValueError("not a whole number")
    if isinstance(value, str):
        if value and not _WHOLE_NUMBER.fullmatch(value):
            raise ValueError("not a whole number")
        value = int(value.partition(".")[0]) if value else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, (bool, float)):
        raise ValueError("not a whole number")
    if value is not None and value not in additional.INT64:
        raise ValueError("more than 64 bits")
    return value


def _extra(unknown: Mapping[str, msgspec.Raw]) -> str | None:
    members = [
        f"{json.dumps(name, ensure_ascii=False)}:{page.compact(bytes(token))}"
        for name, token in unknown.items()
    ]
    return "{" + ",".join(members) + "}" if members else None


# Columns


def _typed(
    batch: _Batch, zone: ZoneInfo, spreader: additional.Spreader, most_columns: int
) -> tuple[pl.DataFrame, additional.Columns]:
    """The batch's calls as typed columns, with `_at` and `_shape`. Adds to the batch's faults."""
    objects = [
        _object_text(batch, at, read) for at, read in zip(batch.at, batch.records, strict=True)
    ]
    raw = pl.DataFrame(
        [
            pl.Series("_at", batch.at, dtype=pl.Int64),
            *(
                pl.Series(
                    field.label,
                    [getattr(read, field.name) for read in batch.records],
                    dtype=pl.Int64 if field.kind is Kind.COUNT else pl.String,
                )
                for field in FIELDS
            ),
            pl.Series(ADDITIONAL, [text for text, _ in objects], dtype=pl.String),
            pl.Series("extra", [batch.extra.get(at) for at in batch.at], dtype=pl.String),
        ]
    )
    columns = spreader.spread(
        [text if is_object else None for text, is_object in objects],
        [read.campaign_uuid for read in batch.records],
    )
    shapes = pl.Series("_shape", columns.shapes, dtype=pl.Int64)
    listed = pl.Series("_listed", _listed(batch), dtype=pl.Boolean)
    # A batch keeps some columns more than the day will, since another batch may use them more.
    spread = columns.series(_BATCH_COLUMNS * most_columns)
    filled = pl.when(pl.col(pl.String) != "").then(pl.col(pl.String))
    frame = raw.with_columns(filled).with_columns(_status(), shapes, listed, *spread)
    frame = _times(batch, frame, zone)
    frame = _without_whole_rejects(batch, frame)
    return frame.with_columns(_derived(frame)), columns


def _listed(batch: _Batch) -> list[bool]:
    """Whether each record began in the window that its own page was asked for."""
    windows = [batch.page_of(at)[1].window for at in batch.at]
    began = (page.began(read.time_started) for read in batch.records)
    return [at is None or at in window for at, window in zip(began, windows, strict=True)]


def _object_text(batch: _Batch, at: int, read: Any) -> tuple[str | None, bool]:
    """Text of `additional`, and whether it is an object; one inside a JSON string counts as one."""
    token = bytes(read.additional)
    first = token[:1]
    if first == b"{":
        return token.decode(), True
    if token in (b"null", b'""', b"[]"):
        return None, False
    text = token.decode()
    if first == b'"':
        text = str(msgspec.json.decode(token))
        if _is_object(text):
            return text, True
    elif page.compact(token) == "[]":
        return None, False
    batch.faults.append(_Fault(at, read.id, ADDITIONAL, text, "not an object", batch.text(at)))
    return text, False


def _is_object(text: str) -> bool:
    if not text.lstrip().startswith("{"):
        return False
    try:
        additional.read_object(text)
    except page.UNREADABLE:
        return False
    return True


def _status() -> pl.Expr:
    """The vendor's status in one spelling; "" is null."""
    plain = pl.col("status").str.strip_chars().str.to_lowercase().str.replace_all("[ _]", "-")
    return pl.when(plain != "").then(plain.replace(record.STATUS_SPELLINGS)).alias("status")


def _times(batch: _Batch, frame: pl.DataFrame, zone: ZoneInfo) -> pl.DataFrame:
    """Time fields as instants. What is unreadable is null and a fault."""
    instants = frame.select(_instant(pl.col(time.label), zone) for time in _TIMES)
    for time in _TIMES:
        text, read = frame.get_column(time.label), instants.get_column(time.label)
        for row in (text.is_not_null() & read.is_null()).arg_true():
            if not record.SENTINEL_TIME.fullmatch(text[row]):
                at, id_ = batch.at[row], frame["id"][row]
                fault = _Fault(at, id_, time.label, text[row], "not a time", batch.text(at))
                batch.faults.append(fault)
    return frame.with_columns(instants)


def _instant(text: pl.Expr, zone: ZoneInfo) -> pl.Expr:
    """As `record.read_time`, but null where that raises."""
    return (
        pl.when(text.str.contains(record.TIME_FORM) & (text >= "1980"))
        .then(text)
        .str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", strict=False)
        .dt.replace_time_zone(zone.key, ambiguous="earliest", non_existent="null")
    )


def _without_whole_rejects(batch: _Batch, frame: pl.DataFrame) -> pl.DataFrame:
    """A call has an id and a beginning; what has not is a whole reject instead."""
    cannot = pl.col("id").is_null() | pl.col("time_started").is_null()
    bad = frame.filter(cannot).select("_at", "id").rows()
    if not bad:
        return frame
    unreadable = {f.at: f.value for f in batch.faults if f.field == "time_started"}
    places = {at for at, _ in bad}
    batch.faults = [fault for fault in batch.faults if fault.at not in places]
    for at, id_ in bad:
        if id_ is None:
            reason = "no id"
        elif at in unreadable:
            reason = "time_started is unreadable"
        else:
            reason = "no time_started"
        batch.faults.append(_Fault(at, id_, None, unreadable.get(at), reason, batch.text(at)))
    return frame.filter(~cannot)


def _derived(frame: pl.DataFrame) -> list[pl.Expr]:
    """Our own columns of a call, from its documented ones."""
    answered, ended = pl.col("time_answered"), pl.col("time_ended")
    ringing, started = pl.col("time_ringing"), pl.col("time_started")
    texts = frame.get_column("press_key").drop_nulls().unique().to_list()
    return [
        disposition().alias("disposition"),
        (pl.col("parent_id").is_null() | (pl.col("parent_id") == pl.col("id"))).alias("is_root"),
        started.dt.hour().cast(pl.Int8).alias("hour"),
        (pl.coalesce(answered, ended) - ringing).dt.total_seconds().alias("ring_seconds"),
        (ringing - started).dt.total_seconds().alias("pdd_seconds"),
        pl.col("press_key")
        .replace_strict(texts, list(map(first_key, texts)), default=None, return_dtype=pl.Int8)
        .alias("key_pressed"),
    ]


def first_key(press_key: str) -> int | None:
    """The first key of 0 to 9 in the vendor's JSON text; None for none, and for 127.

    The filled form is not documented: an object, a list, a bare digit. Values are looked at in
    their order; an object's own keys only where no value is a key.
    """
    try:
        value = json.loads(press_key)
    except (ValueError, RecursionError):
        value = press_key.strip()
    found = list(_leaves(value)) or list(_leaves(list(value) if isinstance(value, dict) else []))
    return next((key for key in found if key != NO_KEY_PRESSED), None)


def _leaves(value: Any) -> Iterator[int]:
    """Numbers of one digit, and 127, in depth-first order."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif type(value) in (int, str) and re.fullmatch(r"[0-9]|127", str(value)):
        yield int(value)


# Rows


def _empty(zone: ZoneInfo) -> pl.DataFrame:
    return pl.DataFrame(
        schema={"_at": pl.Int64, **CDRS.schema(zone), "_shape": pl.Int64, "_listed": pl.Boolean}
    )


def _reject_frame(batch: _Batch, window: Window) -> pl.DataFrame:
    """Rows of `cdr_rejects`, with `_at` and `_pass`; not those of another day's records."""
    rows = []
    for fault in batch.faults:
        _, stored = batch.page_of(fault.at)
        if fault.field is None:
            began = page.began(page.identity(fault.payload)[1])
            if began and (began not in window or began not in stored.window):
                continue
        rows.append({**asdict(fault), "_at": fault.at, "_pass": stored.pass_})
    return pl.DataFrame(rows, schema=_REJECT_SCHEMA)


def _latest(calls: pl.DataFrame, faults: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Of records that came more than once, the one that came last.

    Records without an id are told apart by their bytes and by their number among equals.
    """
    nameless = pl.concat_str(
        pl.lit("\0"),
        pl.col("payload").bin.encode("hex"),
        pl.int_range(pl.len()).over("_pass", "payload"),
    )
    whole = faults.filter(pl.col("field").is_null())
    arrivals = pl.concat(
        [
            calls.select("_at", _key=pl.col("id")),
            whole.select("_at", _key=pl.coalesce("id", nameless)),
        ]
    )
    if arrivals.get_column("_key").n_unique() == len(arrivals):
        return calls, faults
    last = arrivals.group_by("_key").agg(pl.col("_at").max())
    return calls.join(last, on="_at", how="semi"), faults.join(last, on="_at", how="semi")
