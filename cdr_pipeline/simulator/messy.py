"""Records as no documentation would have them: every way we know to spoil one, one a function.

Each takes a documented record and a source of chance, and changes the record or returns the bytes
to be served for it. Its docstring says what the vendor sends; nothing of it may be lost, and at
most the one record may be refused.
"""

import json
from collections.abc import Callable
from random import Random
from typing import Final
from zlib import crc32

from cdr_pipeline.simulator.source import Call, Record, read, render

Spoiler = Callable[[Record, Random], bytes | None]


def spoil(seed: int, rate: float, call: Call) -> Call:
    """The call, spoiled if chance will have it; the same call is always spoiled the same way."""
    name = f"{seed}/{call.id}"
    if crc32(name.encode()) / 2**32 >= rate or (record := read(call.text)) is None:
        return call
    random = Random(name)
    spoiler = random.choice(SPOILERS)
    return call._replace(text=spoiler(record, random) or render(record))


# ---- values of another type than documented


def numbers_as_text(record: Record, random: Random) -> None:
    """`"33"` for 33."""
    for field in ("duration", "billsec", "presskey_delay"):
        record[field] = str(record[field])


def decimals_for_integers(record: Record, random: Random) -> None:
    """`33.0` for 33."""
    for field in ("duration", "billsec"):
        record[field] = float(record[field])


def values_in_text_fields(record: Record, random: Random) -> None:
    """Numbers, booleans, a list and an object where text is documented."""
    record["extension"] = 101
    record["rate"] = 4.5
    record["digits"] = 2**60 + random.getrandbits(10)
    record["note"] = random.choice((True, False, ["gọi lại", 2], {"nội dung": "gọi lại"}, 0))
    record["demand_customer"] = None


def words_for_a_number(record: Record, random: Random) -> None:
    """A duration of `"abc"`: the call is good, the field is not."""
    record["duration"] = random.choice(("abc", "12s", "1.5", True, [], 2**70))


def press_keys(record: Record, random: Random) -> None:
    """The keys pressed, in every form that the documentation leaves open."""
    record["press_key"] = random.choice(
        (
            *("", "{}", "[]", "1", "127", "null", "#", "abc", "1,2"),
            *('{"1":5}', '{"key":"0"}', '{"press_key":127}', '["9"]', "[3,127]", '{"a":{"b":7}}'),
            *(None, 0, 5, 127, 2.0, {"key": 4}, ["8"], [], {}, True),
        )
    )


def status_in_another_hand(record: Record, random: Random) -> None:
    """The status in other letters, or one that nobody has heard of."""
    record["status"] = random.choice(
        ("ANSWERED", "No Answer", "NOT_AVAILABLE", "no-answer", "invalid", "telco-block", "Bận")
    )


# ---- lead lists that are not the documented object


def additional_as_list(record: Record, random: Random) -> None:
    """The cells of the list without their names."""
    record["additional"] = ["Đỗ Thị Ngà", "0981218709", 1]


def additional_as_text(record: Record, random: Random) -> None:
    """A remark where an object should be; or a number, or a boolean."""
    record["additional"] = random.choice(("khách quen", " ", 42, True))


def additional_as_json_in_text(record: Record, random: Random) -> None:
    """The object, rendered twice."""
    record["additional"] = '{"ten": "Đỗ Thị Ngà", "data1": 1}'


def additional_is_empty(record: Record, random: Random) -> None:
    """Nothing, in each way of writing it."""
    record["additional"] = random.choice(("", None, [], {}))


def additional_is_absent(record: Record, random: Random) -> None:
    """The field is left out."""
    record.pop("additional", None)


def colliding_keys(record: Record, random: Random) -> None:
    """Keys that differ, until they are made into names of columns."""
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
    """Keys that are called as the documented fields are, or as what is made of them."""
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
    """Objects and lists inside the lead list, several deep."""
    record["additional"] = {
        "địa chỉ": {"quận": 1, "phường": ["Bến Nghé", None, {"mã": "00412"}]},
        "danh sách": [[1, 2.5], [], {}, [[["sâu"]]]],
        "rỗng": {},
    }


def wide_integers(record: Record, random: Random) -> None:
    """Integers at and beyond the ends of 64 bits."""
    record["additional"] = {
        "70 bits": 2**69 + random.getrandbits(60),
        "lớn nhất": 2**63 - 1,
        "nhỏ nhất": -(2**63),
        "quá lớn": 2**63,
        "quá nhỏ": -(2**63) - 1,
        "2^53 + 1": 2**53 + 1,
    }


def long_decimals(record: Record, random: Random) -> bytes:
    """Numbers with more digits than a double holds, and in every notation; one is beyond it."""
    digits = f"{random.getrandbits(120):037}"
    numbers = f'"pi":3.{digits},"mũ":1E+2,"nhỏ":-1e-7,"âm không":-0.0,"số":27.50,"lớn":1e400'
    return _verbatim(record, "additional", b"{%b}" % numbers.encode())


# ---- text that is hard to carry


def emoji(record: Record, random: Random) -> None:
    """Letters outside the basic plane, joined ones, and letters in two parts."""
    record["note"] = "Khách vui 😀 👩\u200d👩\u200d👧 🇻🇳, tên là Nga\u0300"
    record["customer_fullname"] = "Ngọc 𠀋"


def controls(record: Record, random: Random) -> None:
    """NUL and its like, which JSON may carry as escapes."""
    record["note"] = "trước\x00sau\x1f\x7f\r\n\t"


def line_separators(record: Record, random: Random) -> None:
    """Characters that are ends of line to some readers: U+2028, U+2029, U+0085, and U+FEFF."""
    record["note"] = "dòng một\u2028dòng hai\u2029dòng ba\x85hết\ufeff"


def quotes_and_backslashes(record: Record, random: Random) -> None:
    """What breaks those who take JSON apart by hand."""
    record["note"] = 'nói "được", C:\\tệp\\, },{ "id": "x" ,'


def invalid_utf8(record: Record, random: Random) -> bytes:
    """Bytes that are no UTF-8: the record's own fault, not the page's."""
    return _verbatim(record, "note", random.choice((b'"\xff\xfe"', b'"Ng\xc3"', b'"\xed\xa0\xbd"')))


def lone_surrogate(record: Record, random: Random) -> None:
    """Half of an emoji, as an escape: JSON, and yet no text."""
    record["note"] = random.choice(("\ud83d", "a\ude00b"))


def escaped_and_spaced(record: Record, random: Random) -> bytes:
    """The same record in the hand of another library: escapes, and spaces everywhere."""
    return json.dumps(record, separators=(" ,  ", "\t: ")).encode()


def duplicate_keys(record: Record, random: Random) -> bytes:
    """The same field twice, with two values."""
    return '{"note":"lần đầu",'.encode() + render(record)[1:]


# ---- fields that nobody documented, and fields that are missing


def unknown_fields(record: Record, random: Random) -> None:
    """What the vendor may add next year."""
    record["ai_summary"] = {"ý chính": ["hẹn lại"], "điểm": 0.75}
    record["recording_seconds"] = random.getrandbits(8)
    record["transferred"] = random.choice((True, None))
    record["time_ringing"] = record["time_ringging"]


def few_fields(record: Record, random: Random) -> None:
    """No more than says which call it was, and when."""
    for field in record.keys() - {"id", "time_started"}:
        del record[field]


def no_id(record: Record, random: Random) -> None:
    """Nothing to know the call by."""
    record["id"] = random.choice(("", None))
    if random.random() < 0.5:
        del record["id"]


def unreadable_start(record: Record, random: Random) -> None:
    """A time that tells no day."""
    record["time_started"] = random.choice(
        ("", None, "07/03/2023 13:36", "0001-01-01T00:00:00Z", "2023-02-30 10:00:00", 1678171002)
    )


def unreadable_times(record: Record, random: Random) -> None:
    """Other times that are none."""
    record["time_ringging"] = "hôm qua"
    record["time_answered"] = 1678171002
    record["time_presskey"] = "2023-13-07 00:00:00"


def no_object(record: Record, random: Random) -> bytes:
    """A record that is none: null, a number, a text, a list."""
    return random.choice(
        (
            b"null",
            b"%d" % random.getrandbits(40),
            b'"%x"' % random.getrandbits(64),
            b'["%x", null]' % random.getrandbits(64),
        )
    )


def _verbatim(record: Record, field: str, value: bytes) -> bytes:
    """The record with a field's JSON as given, which no library would write."""
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
