"""Spoils records: a function for every undocumented or damaged form of a record that we know.

Each function takes a documented record and a source of random numbers. It changes the record, or
returns the bytes to be served in its place. Its docstring says what the vendor sends. A client must
lose nothing of this, and may reject this record only.
"""

import json
from collections.abc import Callable
from random import Random
from typing import Final
from zlib import crc32

from cdr_pipeline.simulator.source import Call, Record, read, render

Spoiler = Callable[[Record, Random], bytes | None]


def spoil(seed: int, rate: float, call: Call) -> Call:
    """The call, spoiled with the probability `rate`; the same call is always spoiled the same way.

    A call whose record is not a JSON object stays as it is.
    """
    name = f"{seed}/{call.id}"
    if crc32(name.encode()) / 2**32 >= rate or (record := read(call.text)) is None:
        return call
    random = Random(name)
    spoiler = random.choice(SPOILERS)
    return call._replace(text=spoiler(record, random) or render(record))


# ---- values of undocumented types


def numbers_as_text(record: Record, random: Random) -> None:
    """`"33"` for 33."""
    for field in ("duration", "billsec", "presskey_delay"):
        record[field] = str(record[field])


def decimals_for_integers(record: Record, random: Random) -> None:
    """`33.0` for 33."""
    for field in ("duration", "billsec"):
        record[field] = float(record[field])


def values_in_text_fields(record: Record, random: Random) -> None:
    """Numbers, booleans, a list, an object or null in fields documented as text."""
    record["extension"] = 101
    record["rate"] = 4.5
    record["digits"] = 2**60 + random.getrandbits(10)
    record["note"] = random.choice((True, False, ["gọi lại", 2], {"nội dung": "gọi lại"}, 0))
    record["demand_customer"] = None


def words_for_a_number(record: Record, random: Random) -> None:
    """A duration such as `"abc"`: only this field is wrong, not the call."""
    record["duration"] = random.choice(("abc", "12s", "1.5", True, [], 2**70))


def press_keys(record: Record, random: Random) -> None:
    """`press_key` in every form that it may have: the documentation shows none."""
    record["press_key"] = random.choice(
        (
            *("", "{}", "[]", "1", "127", "null", "#", "abc", "1,2"),
            *('{"1":5}', '{"key":"0"}', '{"press_key":127}', '["9"]', "[3,127]", '{"a":{"b":7}}'),
            *(None, 0, 5, 127, 2.0, {"key": 4}, ["8"], [], {}, True),
        )
    )


def status_in_another_hand(record: Record, random: Random) -> None:
    """The status in another case or spelling, or an unknown status."""
    record["status"] = random.choice(
        ("ANSWERED", "No Answer", "NOT_AVAILABLE", "no-answer", "invalid", "telco-block", "Bận")
    )


# ---- lead lists that are not the documented object


def additional_as_list(record: Record, random: Random) -> None:
    """The cells of the lead list without the names of the columns."""
    record["additional"] = ["Đỗ Thị Ngà", "0981218709", 1]


def additional_as_text(record: Record, random: Random) -> None:
    """A text, a number or a boolean instead of an object."""
    record["additional"] = random.choice(("khách quen", " ", 42, True))


def additional_as_json_in_text(record: Record, random: Random) -> None:
    """The object as JSON text in a JSON string."""
    record["additional"] = '{"ten": "Đỗ Thị Ngà", "data1": 1}'


def additional_is_empty(record: Record, random: Random) -> None:
    """No value, in each of the vendor's ways: "", null, [] and {}."""
    record["additional"] = random.choice(("", None, [], {}))


def additional_is_absent(record: Record, random: Random) -> None:
    """The field is left out."""
    record.pop("additional", None)


def colliding_keys(record: Record, random: Random) -> None:
    """Different keys that give the same column name."""
    record["additional"] = {
        "ten": "a",
        "Tên": "b",
        "TEN": "c",
        "tèn!": random.getrandbits(8),
        "": "không tên",
        "!!!": 1.5,
        "key": None,
        "😀": False,
    }


def keys_of_the_core(record: Record, random: Random) -> None:
    """Keys with the names of documented fields, or of columns of `cdrs`."""
    record["additional"] = {
        "id": random.getrandbits(16),
        "status": "vip",
        "duration": "dài",
        "date": "2023-03-07",
        "time_started": None,
        "additional": "x",
        "additional_ten": "y",
        "ten__int": 1,
        "ten": 2,
    }


def nested_values(record: Record, random: Random) -> None:
    """Objects and lists in the values of `additional`, nested several times."""
    record["additional"] = {
        "địa chỉ": {"quận": 1, "phường": ["Bến Nghé", None, {"mã": "00412"}]},
        "danh sách": [[1, 2.5], [], {}, [[["sâu"]]]],
        "rỗng": {},
    }


def wide_integers(record: Record, random: Random) -> None:
    """Integers at the limits of 64 bits and beyond, and one that a double cannot hold."""
    record["additional"] = {
        "70 bits": 2**69 + random.getrandbits(60),
        "lớn nhất": 2**63 - 1,
        "nhỏ nhất": -(2**63),
        "quá lớn": 2**63,
        "quá nhỏ": -(2**63) - 1,
        "2^53 + 1": 2**53 + 1,
    }


def long_decimals(record: Record, random: Random) -> bytes:
    """Numbers with more digits than a double holds, in every notation, and one too large for it."""
    digits = f"{random.getrandbits(120):037}"
    numbers = f'"pi":3.{digits},"mũ":1E+2,"nhỏ":-1e-7,"âm không":-0.0,"số":27.50,"lớn":1e400'
    return _verbatim(record, "additional", b"{%b}" % numbers.encode())


# ---- text that is hard to handle


def emoji(record: Record, random: Random) -> None:
    """Characters beyond U+FFFF, joined emoji, and a letter with a separate accent."""
    record["note"] = "Khách vui 😀 👩\u200d👩\u200d👧 🇻🇳, tên là Nga\u0300"
    record["customer_fullname"] = "Ngọc 𠀋"


def controls(record: Record, random: Random) -> None:
    """NUL and other control characters, which JSON allows as escapes."""
    record["note"] = "trước\x00sau\x1f\x7f\r\n\t"


def line_separators(record: Record, random: Random) -> None:
    """Characters that end a line for some readers: U+2028, U+2029, U+0085; and U+FEFF (BOM)."""
    record["note"] = "dòng một\u2028dòng hai\u2029dòng ba\x85hết\ufeff"


def quotes_and_backslashes(record: Record, random: Random) -> None:
    """Quotes, backslashes and braces in a text, which break home-made JSON parsers."""
    record["note"] = 'nói "được", C:\\tệp\\, },{ "id": "x" ,'


def invalid_utf8(record: Record, random: Random) -> bytes:
    """Bytes that are not UTF-8, in one record of the page."""
    return _verbatim(record, "note", random.choice((b'"\xff\xfe"', b'"Ng\xc3"', b'"\xed\xa0\xbd"')))


def lone_surrogate(record: Record, random: Random) -> None:
    """Half a surrogate pair as an escape: valid JSON, but not valid text."""
    record["note"] = random.choice(("\ud83d", "a\ude00b"))


def escaped_and_spaced(record: Record, random: Random) -> bytes:
    """The same record as another library may write it: with escapes, spaces and tabs."""
    return json.dumps(record, separators=(" ,  ", "\t: ")).encode()


def duplicate_keys(record: Record, random: Random) -> bytes:
    """The field `note` twice, with two values."""
    return '{"note":"lần đầu",'.encode() + render(record)[1:]


# ---- undocumented fields, and missing or unreadable ones


def unknown_fields(record: Record, random: Random) -> None:
    """Fields that are not documented: the vendor may add new ones."""
    record["ai_summary"] = {"ý chính": ["hẹn lại"], "điểm": 0.75}
    record["recording_seconds"] = random.getrandbits(8)
    record["transferred"] = random.choice((True, None))
    record["time_ringing"] = record["time_ringging"]


def few_fields(record: Record, random: Random) -> None:
    """A record with `id` and `time_started` only."""
    for field in record.keys() - {"id", "time_started"}:
        del record[field]


def no_id(record: Record, random: Random) -> None:
    """A record without an id: "", null or absent."""
    record["id"] = random.choice(("", None))
    if random.random() < 0.5:
        del record["id"]


def unreadable_start(record: Record, random: Random) -> None:
    """A `time_started` without a valid day."""
    record["time_started"] = random.choice(
        ("", None, "07/03/2023 13:36", "0001-01-01T00:00:00Z", "2023-02-30 10:00:00", 1678171002)
    )


def unreadable_times(record: Record, random: Random) -> None:
    """Other times that are not valid."""
    record["time_ringging"] = "hôm qua"
    record["time_answered"] = 1678171002
    record["time_presskey"] = "2023-13-07 00:00:00"


def no_object(record: Record, random: Random) -> bytes:
    """Not an object, but null, a number, a text or a list."""
    return random.choice(
        (
            b"null",
            b"%d" % random.getrandbits(40),
            b'"%x"' % random.getrandbits(64),
            b'["%x", null]' % random.getrandbits(64),
        )
    )


def _verbatim(record: Record, field: str, value: bytes) -> bytes:
    """The record's JSON, with `value` as the JSON of `field`: no library writes such JSON."""
    return render(record | {field: "<verbatim>"}).replace(b'"<verbatim>"', value)


SPOILERS: Final[tuple[Spoiler, ...]] = (
    numbers_as_text,
    decimals_for_integers,
    values_in_text_fields,
    words_for_a_number,
    press_keys,
    status_in_another_hand,
    additional_as_list,
    additional_as_text,
    additional_as_json_in_text,
    additional_is_empty,
    additional_is_absent,
    colliding_keys,
    keys_of_the_core,
    nested_values,
    wide_integers,
    long_decimals,
    emoji,
    controls,
    line_separators,
    quotes_and_backslashes,
    invalid_utf8,
    lone_surrogate,
    escaped_and_spaced,
    duplicate_keys,
    unknown_fields,
    few_fields,
    no_id,
    unreadable_start,
    unreadable_times,
    no_object,
)
