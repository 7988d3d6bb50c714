"""Makes typed calls from a batch of records, and rows of `cdr_rejects` from records that cannot be
calls and from fields that do not fit their types.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

import polars as pl

from cdr_pipeline import page, record
from cdr_pipeline.record import FIELDS, NO_KEY_PRESSED, Kind, Reason
from cdr_pipeline.tables.contract import NO_CONTRACT, Contract
from cdr_pipeline.tables.datasets import REJECTS
from cdr_pipeline.tables.flattening.counting import WHOLE
from cdr_pipeline.tables.flattening.records import Batch
from cdr_pipeline.tables.kpi import disposition, was_answered
from cdr_pipeline.tables.raw_pages import ALWAYS
from cdr_pipeline.tables.types import WALL_CLOCK
from cdr_pipeline.window import Window, steady_offset

T = TypeVar("T")

#: Default of CDR_MAX_ADDITIONAL_COLUMNS. It is repeated here because to import the settings takes
#: longer than all other imports of a second process.
MOST_COLUMNS: Final = 256

_TIMES: Final = [field for field in FIELDS if field.kind is Kind.TIME]
_REJECT_SCHEMA: Final = {**REJECTS.types, **WHOLE, "_key": pl.String()}


@dataclass(frozen=True)
class Rules:
    """The rules by which a day's pages become calls.

    window: the day. zone: of its times. most_columns: how many additional_* columns a day may have;
    the most used are kept. contract: the declared keys.
    """

    window: Window
    zone: ZoneInfo
    most_columns: int = MOST_COLUMNS
    contract: Contract = NO_CONTRACT


def typed(batch: Batch, rules: Rules) -> pl.DataFrame:
    """The batch's calls as typed columns, without those of the lead lists; and `_at`, `_began`,
    `_listed` and `_row`, the place among the batch's records.

    Adds faults to the batch.
    """
    frame = batch.frame().with_row_index("_row")
    clocks = frame.select(page.wall_clock(pl.col(time.label)) for time in _TIMES)
    instants = _instants(clocks, rules.zone)
    _tell_unreadable(batch, frame, instants)
    status = _of_each_text(frame, "status", record.status_of, pl.String())
    frame = frame.with_columns(status, *instants, _began=clocks["time_started"])
    frame = _without_whole_rejects(batch, frame.with_columns(_listed(batch, frame)))
    return frame.with_columns(_derived(frame))


def _listed(batch: Batch, frame: pl.DataFrame) -> pl.Series:
    """For each record, whether it began in the window that its page was asked for."""
    windows = [ALWAYS, *(stored.window for _, stored in batch.pages)]
    common = Window(max(one.start for one in windows), min(one.end for one in windows))
    inside = page.began_in(frame.get_column("_began"), common).fill_null(True)
    if inside.all():  # every record began in every window, as on a day read as a whole
        return inside.alias("_listed")
    pages = pl.DataFrame(
        [(first, stored.window.start, stored.window.end) for first, stored in batch.pages],
        schema={"_at": pl.Int64, "_start": WALL_CLOCK, "_end": WALL_CLOCK},
        orient="row",
    )
    own = pl.col("_began").is_between("_start", "_end", closed="left").fill_null(True)
    dated = frame.select("_at", "_began")
    return dated.join_asof(pages, on="_at").select(_listed=own).to_series()


def _of_each_text(
    frame: pl.DataFrame, column: str, rule: Callable[[str], T | None], dtype: pl.DataType
) -> pl.Expr:
    """The result of a rule on a column with few different texts; each text is looked at once."""
    texts = frame.get_column(column).drop_nulls().unique().to_list()
    return pl.col(column).replace_strict(
        texts, list(map(rule, texts)), default=None, return_dtype=dtype
    )


def _instants(clocks: pl.DataFrame, zone: ZoneInfo) -> pl.DataFrame:
    """The vendor's wall clock as instants. Null for a local time that the zone skips; the earlier
    instant for a local time that comes twice.

    If the zone's offset is the same for all of these times, it is subtracted, which takes a tenth
    of the time.
    """
    ends: list[Any] = [end for clock in clocks for end in (clock.min(), clock.max()) if end]
    offset = steady_offset(min(ends), max(ends), zone) if ends else timedelta()
    if offset is not None:
        utc = (pl.all() - offset).dt.replace_time_zone("UTC")
        return clocks.select(utc.dt.convert_time_zone(zone.key))
    return clocks.select(
        pl.all().dt.replace_time_zone(zone.key, ambiguous="earliest", non_existent="null")
    )


def _tell_unreadable(batch: Batch, frame: pl.DataFrame, instants: pl.DataFrame) -> None:
    """Add a fault for each text that did not become an instant, unless it is a sentinel."""
    for time in _TIMES:
        text, read = frame.get_column(time.label), instants.get_column(time.label)
        if text.null_count() == read.null_count():
            continue
        rows = (text.is_not_null() & read.is_null()).arg_true()
        unread = text.gather(rows)
        odd = [one for one in unread.unique() if not record.SENTINEL_TIME.fullmatch(one)]
        rows = rows.filter(unread.is_in(odd))
        for at, value in zip(frame["_at"].gather(rows), text.gather(rows), strict=True):
            batch.fault(at, time.label, value, Reason.NO_TIME)


def _without_whole_rejects(batch: Batch, frame: pl.DataFrame) -> pl.DataFrame:
    """Remove records without an id or a beginning: these are not calls, but whole rejects."""
    if not (frame["id"].null_count() or frame["time_started"].null_count()):
        return frame
    cannot = pl.col("id").is_null() | pl.col("time_started").is_null()
    bad = frame.lazy().filter(cannot).select("_at", "id").collect().rows()
    unreadable = {f.at: f.value for f in batch.faults if f.field == "time_started"}
    places = {at for at, _ in bad}
    batch.faults = [fault for fault in batch.faults if fault.at not in places]
    for at, id_ in bad:
        if id_ is None:
            reason = Reason.NO_ID
        elif at in unreadable:
            reason = Reason.UNREADABLE_BEGINNING
        else:
            reason = Reason.NO_BEGINNING
        batch.fault(at, None, unreadable.get(at), reason)
    return frame.filter(~cannot)


def _derived(frame: pl.DataFrame) -> list[pl.Expr]:
    """The columns of a call that are derived from the documented ones."""
    answered, ended = pl.col("time_answered"), pl.col("time_ended")
    ringing, started = pl.col("time_ringing"), pl.col("time_started")
    rang_until = pl.when(was_answered()).then(answered).otherwise(ended)
    key_pressed = _of_each_text(frame, "press_key", first_key, pl.Int8())
    return [
        disposition().alias("disposition"),
        (pl.col("parent_id").is_null() | (pl.col("parent_id") == pl.col("id"))).alias("is_root"),
        pl.col("_began").dt.hour().alias("hour"),
        (rang_until - ringing).dt.total_seconds().alias("ring_seconds"),
        (ringing - started).dt.total_seconds().alias("pdd_seconds"),
        key_pressed.alias("key_pressed"),
    ]


def first_key(press_key: str) -> int | None:
    """The first key from 0 to 9 in the vendor's JSON text; None if there is none. (127 means that
    no key was pressed.)

    The filled form is not documented: an object, a list, a bare digit. Values are looked at in
    their order; the names of an object's members only if no value is a key or 127.
    """
    if page.too_deep(press_key.encode(errors="replace")):
        return None
    try:
        value = json.loads(press_key)
    except ValueError:
        value = press_key.strip()
    found = list(_leaves(value)) or list(_leaves(list(value) if isinstance(value, dict) else []))
    return next((key for key in found if key != NO_KEY_PRESSED), None)


def _leaves(value: Any) -> Iterator[int]:
    """All numbers of one digit, and 127, in depth-first order."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif type(value) in (int, str) and re.fullmatch(r"[0-9]|127", str(value)):
        yield int(value)


def rejects_of(batch: Batch, window: Window) -> pl.DataFrame:
    """Rows of `cdr_rejects`, with `_at`, `_inside`, `_began`, `_key`, `_pass` and `_offset`.

    `_inside`: whether the record began on the day and in its page's window; true if its beginning
    is unknown. A record outside is not a reject, but may be the last version of a record sent
    before. `_key`: a hash of the record's id; if it has none, of its bytes, and then `_pass` and
    `_offset` are its reading and offset.
    """
    rows = []
    for fault in batch.faults:
        told = (fault.id, fault.field, fault.value, fault.reason, fault.payload, fault.at)
        began = page.began(batch.identity(fault.at)[1]) if fault.field is None else None
        inside = not began or (began in window and began in batch.page_of(fault.at).window)
        key, reading, offset = fault.id, None, None
        if not key:
            key = f"\0{hashlib.sha256(fault.payload).hexdigest()}"
            reading, offset = batch.page_of(fault.at).pass_, batch.offset(fault.at)
        rows.append((*told, inside, began, key, reading, offset))
    frame = pl.DataFrame(rows, schema=_REJECT_SCHEMA, orient="row")
    return frame.with_columns(pl.col("_key").hash())
