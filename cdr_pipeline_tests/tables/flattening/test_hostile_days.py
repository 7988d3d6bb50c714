"""A few days of everything that a lead list can do at once: the order they come in changes nothing.

Found by an independent harness, which loaded hostile days in three orders from vendors that list
them in orders of their own: `additional_keys` took its example from whatever shape had come first.
"""

from random import Random
from typing import Final

import pytest

from cdr_pipeline_tests.records import as_text, call, flat

#: A key's values differ in type, keys share names, objects come as text or as none at all.
OBJECTS: Final = (
    '{"x": 7, "n": 9007199254740993, "phone": "0981218709"}',
    '{"x": 2.5, "n": 0.1, "phone": 981218709}',
    '{"x": "0123", "n": "NaN", "phone": ""}',
    '{"x": true, "n": -9223372036854775808}',
    '{"x": {"a": [1, 2.50, 1e400]}, "n": 9223372036854775808}',
    '{"x": [1, "2", null], "n": 1e400, "phone": null}',
    '{"Data1": "upper", "data1": "lower", "DATA1": 3}',
    '{"a__int": "text", "a": 5, "a_int": 2.5}',
    '{"": "empty", " ": "space", "id": "core", "additional": "inner"}',
    '{"\\u0000": "\\u0000", "\'; DROP VIEW cdrs; --": 1, "k.\\n": 2}',
    '{"so tien": 1, "so_tien": 2, "Số tiền": 3}',
    '"{\\"x\\": \\"in a string\\"}"',
    "[1, 2]",
    "{}",
)


def calls(order: int) -> list[bytes]:
    """The same calls, in one of many orders."""
    records = [
        as_text(call(f"{at}{campaign}", campaign_uuid=campaign))[:-1]
        + f',"additional":{text}}}'.encode()
        for at, text in enumerate(OBJECTS)
        for campaign in ("", "c1", "c2")
    ]
    Random(order).shuffle(records)
    return records


@pytest.mark.parametrize("order", range(1, 6))
def test_the_order_of_a_listing_changes_no_row(order: int) -> None:
    one, other = flat(*calls(0)), flat(*calls(order))
    assert one.schema == other.schema
    assert one.cdrs.equals(other.cdrs)
    assert one.keys == other.keys
    assert one.rejects.sort("id").equals(other.rejects.sort("id"))


@pytest.mark.parametrize("order", range(1, 6))
def test_nor_what_is_told_of_the_keys(order: int) -> None:
    assert flat(*calls(0)).additional_keys.equals(flat(*calls(order)).additional_keys)
