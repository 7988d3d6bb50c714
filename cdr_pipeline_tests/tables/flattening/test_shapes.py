"""Which objects are read at once, and which one by one; that neither changes a cell is held in
`test_additional`.
"""

import json
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any
from unittest.mock import patch

import pytest

from cdr_pipeline.tables.flattening import shapes
from cdr_pipeline.tables.flattening.shapes import Group, ShapeReader
from cdr_pipeline.tables.values import read_fast

KEYS = ["ten", "sdt", "Số tiền", "ngày hẹn", "ghi chú", "otp"]


@pytest.fixture
def slow() -> Iterator[list[bytes]]:
    """The objects that are read by the law."""
    read: list[bytes] = []

    def reading(text: bytes) -> Any:
        read.append(text)
        return read_fast(text)

    with patch.object(shapes, "read_fast", reading):
        yield read


def groups(reader: ShapeReader, objects: Sequence[dict[str, Any]], hint: str = "c1") -> list[Group]:
    texts = [json.dumps(one).encode() for one in objects]
    found = reader.groups(texts, [hint] * len(texts))
    assert sorted(row for group in found for row in group.rows) == list(range(len(texts)))
    return found


def test_objects_of_the_same_keys_are_read_together_in_whatever_order_these_come(
    slow: list[bytes],
) -> None:
    random = Random(1)
    objects = [dict.fromkeys(random.sample(KEYS, len(KEYS)), 1) for _ in range(500)]
    groups(ShapeReader(), objects)
    assert len(slow) == 8


def test_objects_that_leave_keys_out_are_read_together(slow: list[bytes]) -> None:
    random = Random(1)
    objects = [{key: "x" for key in KEYS if random.random() > 0.3} for _ in range(500)]
    reader = ShapeReader()
    groups(reader, objects)
    assert len(slow) < 40
    slow.clear()
    (group,) = groups(reader, objects)
    assert slow == []
    shapes_, of_each = group.shapes()
    assert [set(shapes_[place].keys) for place in of_each] == [set(one) for one in objects]


def test_a_key_that_comes_late_is_learned_then(slow: list[bytes]) -> None:
    reader = ShapeReader()
    groups(reader, [{"ten": "x"}] * 100)
    slow.clear()
    groups(reader, [{"ten": "x"}, {"ten": "x", "otp": "1"}] * 100)
    assert len(slow) == 8
    slow.clear()
    groups(reader, [{"ten": "x"}, {"ten": "x", "otp": "1"}] * 100)
    assert slow == []


def test_a_key_whose_values_become_nested_is_learned_anew(slow: list[bytes]) -> None:
    reader = ShapeReader()
    groups(reader, [{"ten": "x"}] * 100)
    slow.clear()
    groups(reader, [{"ten": ["x"]}] * 100)
    assert len(slow) == 1
    (group,) = groups(reader, [{"ten": "x"}, {"ten": ["x"]}, {}])
    assert group.cells[0].values == ["x", '["x"]', None]
    assert group.cells[0].types == ["string", "array", "absent"]


def test_campaigns_with_the_same_keys_share_a_decoder(slow: list[bytes]) -> None:
    reader = ShapeReader()
    for campaign in range(2_000):
        groups(reader, [{"ten": "x", "sdt": "y"}] * 10, f"c{campaign}")
    assert len(reader._made) == 1
    assert len(slow) == 8 + 1_999  # the first of each campaign


def test_where_keys_share_a_name_those_of_equal_keys_are_together() -> None:
    reader = ShapeReader()
    objects = [{"Ten": 1}, {"ten": 2}, {"ten": 3, "Ten": 4}] * 20
    groups(reader, objects)
    found = groups(reader, objects)
    assert sorted(group.keys for group in found) == [("Ten",), ("Ten", "ten"), ("ten",)]


def test_keys_that_come_once_are_not_learned() -> None:
    reader = ShapeReader()
    groups(reader, [{f"key {n}": 1, "ten": 2} for n in range(100)])
    assert reader._made == {}


def test_no_decoder_takes_more_keys_than_a_day_may_have_columns() -> None:
    reader = ShapeReader()
    for first in range(0, 1_000, 100):
        groups(reader, [{f"key {n}": 1 for n in range(first, first + 100)}] * 10)
    assert max(len(keys) for keys, _ in reader._made) <= 256
    assert len(reader._of_hint["c1"]) == 4
