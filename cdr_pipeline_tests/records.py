"""Records as a vendor might send them, pages of records, and strategies that draw hostile ones.

Records are JSON texts rather than objects, since many faults are in the notation: digits, white
space, escapes, bytes that are not UTF-8.
"""

import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any, Final
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from cdr_pipeline.record import SENTINEL_TIME, TIME_FORM
from cdr_pipeline.tables.contract import NO_CONTRACT, Contract
from cdr_pipeline.tables.flattening.additional import Columns, Spreader
from cdr_pipeline.tables.flattening.flatten import Flat, flatten
from cdr_pipeline.tables.flattening.typed import Rules
from cdr_pipeline.tables.raw_pages import StoredPage
from cdr_pipeline.window import Window

SAIGON: Final = ZoneInfo("Asia/Ho_Chi_Minh")
NEW_YORK: Final = ZoneInfo("America/New_York")
DAY: Final = date(2023, 3, 7)

Sent = bytes | dict[str, Any]


def read_time(text: str, zone: ZoneInfo) -> datetime | None:
    """The instant that one time field names, in plain Python, to compare time columns with. None
    for empty text and for sentinels.

    Raises ValueError for any other than the documented form, and for a time that the zone skips.
    """
    if not text or SENTINEL_TIME.fullmatch(text):
        return None
    if not re.match(TIME_FORM, text):
        raise ValueError("not a time")
    local = datetime.fromisoformat(text).replace(tzinfo=zone)
    if local.astimezone(UTC).astimezone(zone).replace(fold=0) != local:
        raise ValueError(f"no such time in {zone.key}")
    return local


def spread(texts: Sequence[str | None], contract: Contract = NO_CONTRACT) -> Columns:
    """The columns that some `additional` texts are spread to, without the rest of a record."""
    objects = [text.encode() if text is not None else None for text in texts]
    return Spreader(contract).spread(objects, [None] * len(objects))


def in_full(columns: Columns) -> dict[str, list[Any]]:
    """The values of each column, one for each record, None where a record has no value."""
    return columns.frame().drop("_misfits").to_dict(as_series=False)


def call(id_: object = "a", time_started: object = "2023-03-07 10:00:00", **fields: object) -> Sent:
    """A record with an id, a start time, and the given fields."""
    return {"id": id_, "time_started": time_started, **fields}


def verbatim(field: str, token: str, id_: str = "a") -> bytes:
    """A record with one field whose JSON is `token`, byte for byte."""
    return as_text(call(id_))[:-1] + f',"{field}":{token}}}'.encode()


def as_text(record: Sent) -> bytes:
    """The record's JSON, as the vendor writes it."""
    return record if isinstance(record, bytes) else json.dumps(record, ensure_ascii=False).encode()


def page_of(*records: Sent, total: int | None = None) -> bytes:
    """The response that lists these records."""
    data = b",".join(map(as_text, records))
    total = len(records) if total is None else total
    return b'{"data":[%b],"limit":500,"offset":-1,"total":%d}' % (data, total)


def pages_row(number: int, body: bytes, start: int = 0, end: int = 24) -> dict[str, Any]:
    """A row of raw_pages, from a reading of the hours `start` to `end` of `DAY`."""
    midnight = datetime(2023, 3, 7)
    return {
        "pass": number,
        "offset": 0,
        "limit": 500,
        "window_start": midnight + timedelta(hours=start),
        "window_end": midnight + timedelta(hours=end),
        "fetched_at": datetime(2023, 3, 8, 1, tzinfo=timezone(timedelta(hours=7))),
        "body": body,
    }


def flat(*records: Sent, day: date = DAY, zone: ZoneInfo = SAIGON) -> Flat:
    """The records of one page, flattened."""
    return flat_pages([records], day, zone)


def flat_pages(pages: Iterable[Iterable[Sent]], day: date = DAY, zone: ZoneInfo = SAIGON) -> Flat:
    """The records of several pages of one reading, flattened."""
    stored, offset = [], 0
    for records in map(list, pages):
        stored.append(StoredPage(1, page_of(*records), offset=offset))
        offset += len(records)
    return flatten(stored, Rules(Window.of(day), zone))


def the_call(*records: Sent, day: date = DAY, zone: ZoneInfo = SAIGON) -> dict[str, Any]:
    """The cells of the one row of `cdrs` that the records become."""
    calls = flat(*records, day=day, zone=zone).cdrs
    assert len(calls) == 1, calls
    return calls.row(0, named=True)


def rejects_of(flattened: Flat) -> list[tuple[str | None, str | None, str | None, str]]:
    """(id, field, value, reason) of each reject."""
    return flattened.rejects.select("id", "field", "value", "reason").rows()


def everything(flattened: Flat) -> dict[str, object]:
    """All results of a flattened day, in a form that can be compared."""
    frames = {name: getattr(flattened, name) for name in ("cdrs", "rejects", "additional_keys")}
    results = ("keys", "left_out", "whole_rejects")
    return {
        **{name: (frame.schema, frame.rows()) for name, frame in frames.items()},
        **{name: getattr(flattened, name) for name in results},
    }


def reject_rows(flattened: Flat) -> list[str]:
    """The rejects as text, sorted, so that the order of arrival makes no difference."""
    return sorted(map(repr, flattened.rejects.rows()))


def exact(value: object) -> str:
    """A value as its JSON, in which 1, 1.0 and true differ."""
    return json.dumps(value, ensure_ascii=False)


#: An object whose numbers and texts are written in another notation than Python's.
DIFFERENT_NOTATION: Final = (
    '{"a":-0,"b":-0.0,"c":1E+2,"d":1e400,"e":27.50,"f":[1e400, -0 ],"g":"\\/"}'
)


# ---- strategies of JSON texts

TEXT: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)

_HARD_TEXT: Final = ("", "\0", "\u2028", "😀", "Đỗ Thị Ngà", "Nga\u0300", '"\\/', "127", "33", "[")
_NUMBERS: Final = (
    *("0", "-0", "-0.0", "27.50", "33.0", "1E+2", "1e-7", "1e-400", "1e400", "-1e400", "3e0"),
    *("9007199254740993", "9223372036854775807", "-9223372036854775808"),
    *("9223372036854775808", "-9223372036854775809", "18446744073709551616", "9" * 30),
    "0.1000000000000000055511151231257827021181583404541015625",
)


def quoted(text: str, *, escape: bool = False) -> str:
    """The text's JSON; with `escape`, characters outside ASCII are escaped."""
    return json.dumps(text, ensure_ascii=escape)


STRING: Final = st.builds(
    lambda text, escape: quoted(text, escape=escape),
    TEXT | st.sampled_from(_HARD_TEXT),
    escape=st.booleans(),
)
SCALAR: Final = st.one_of(
    STRING,
    st.sampled_from(_NUMBERS),
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(("null", "true", "false")),
)
_SPACE: Final = st.sampled_from(("", " ", "\n\t "))


def _list_text(items: list[str], space: str) -> str:
    return f"[{space}{f'{space},{space}'.join(items)}{space}]"


def _object_text(members: dict[str, str], space: str) -> str:
    inner = (f"{quoted(name)}{space}:{space}{token}" for name, token in members.items())
    return f"{{{space}{f'{space},{space}'.join(inner)}{space}}}"


VALUE: Final[st.SearchStrategy[str]] = st.recursive(
    SCALAR,
    lambda inner: (
        st.builds(_list_text, st.lists(inner, max_size=3), _SPACE)
        | st.builds(_object_text, st.dictionaries(TEXT, inner, max_size=3), _SPACE)
    ),
    max_leaves=5,
)

#: Keys that give the same column name as other keys, or nearly the same.
KEY: Final = st.one_of(
    TEXT,
    st.sampled_from(
        ("ten", "Tên", "TEN", "tèn!", "ten__int", "ten_int", "", "!!!", "key", "😀", "id", "Đ", "d")
    ),
    st.sampled_from(("ten_8b4f3e", "additional_ten", "data1", "số tiền", "so_tien", "So Tien")),
)
OBJECT: Final = st.builds(_object_text, st.dictionaries(KEY, VALUE, max_size=6), _SPACE)

_TIME: Final = st.sampled_from(
    (
        *('"2023-03-07 00:00:00"', '"2023-03-07 13:36:42"', '"2023-03-07 23:59:59"', '""', "null"),
        *('"0001-01-01T00:00:00Z"', '"2023-03-07T06:36:42Z"', '"hôm qua"', "1678171002"),
        *('"2023-03-08 00:00:00"', '"2023-03-07T13:36+07"', '"2023-02-30 10:00:00"'),
    )
)
_FIELDS: Final = {
    "parent_id": VALUE,
    "duration": st.sampled_from(("33", '"33"', "33.0", '"abc"', '""')) | VALUE,
    "billsec": st.integers(0, 90).map(str) | VALUE,
    "time_answered": _TIME,
    "time_ended": _TIME | VALUE,
    "status": STRING | st.just('"No Answer"'),
    "cause": st.sampled_from(('"USER_BUSY"', '"NORMAL_CLEARING"', '"NONE"', "7")),
    "press_key": VALUE,
    "campaign_uuid": st.sampled_from(('"c1"', '"c2"', '""')),
    "note": VALUE,
    "additional": OBJECT | VALUE | OBJECT.map(quoted),
    "ai_summary": VALUE,
}


def a_record(started: st.SearchStrategy[str] = _TIME) -> st.SearchStrategy[dict[str, str]]:
    """Members of a record without its id: name -> JSON text; few are as documented."""
    return st.fixed_dictionaries({"time_started": started}, optional=_FIELDS)


def members_text(members: dict[str, str]) -> bytes:
    """The record with these members, as JSON."""
    return _object_text(members, "").encode()


#: One entry of the vendor's list: a record or something else; ids repeat.
ENTRY: Final = st.one_of(
    st.builds(
        lambda id_, members: members_text({"id": id_, **members}),
        st.sampled_from(('"a"', '"b"', '"c"', "1", '"1"', "true", '["x"]', "1.50", "null", '""')),
        a_record(),
    ),
    st.sampled_from((b"null", b"17", b'"x"', b"[1]", b"{}", b'{"id":"a"}', b'{"id":"\xff"}')),
    st.sampled_from((rb'{"id":"a","note":"\ud83d"}', b'{"id":"b","note":"\x01"}')),
)
