"""Which objects are read together and which one by one. `test_additional` tests that both ways give
the same cells.
"""

import json
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any
from unittest.mock import patch

import pytest

from cdr_pipeline.tables.flattening import objects as reading
from cdr_pipeline.tables.flattening.objects import Group, ObjectReader
from cdr_pipeline.tables.values import read_fast

KEYS = ["ten", "sdt", "Số tiền", "ngày hẹn", "ghi chú", "otp"]


@pytest.fixture
def slow() -> Iterator[list[bytes]]:
    """The objects that are read one by one, collected."""
    read: list[bytes] = []

    def read_alone(text: bytes) -> Any:
        read.append(text)
        return read_fast(text)

    with patch.object(reading, "read_fast", read_alone):
        yield read


def groups(
    reader: ObjectReader, objects: Sequence[dict[str, Any]], campaign: str = "c1"
) -> list[Group]:
    texts = [json.dumps(one).encode() for one in objects]
    found = list(reader.groups(texts, [campaign] * len(texts)))
    assert sorted(row for group in found for row in group.rows) == list(range(len(texts)))
    return found


def test_objects_with_the_same_keys_in_any_order_are_read_together(
    slow: list[bytes],
) -> None:
    random = Random(1)
    objects = [dict.fromkeys(random.sample(KEYS, len(KEYS)), 1) for _ in range(500)]
    groups(ObjectReader(), objects)
    assert len(slow) == 8


def test_objects_that_leave_keys_out_are_read_together(slow: list[bytes]) -> None:
    random = Random(1)
    objects = [{key: "x" for key in KEYS if random.random() > 0.3} for _ in range(500)]
    reader = ObjectReader()
    groups(reader, objects)
    assert len(slow) < 40
    slow.clear()
    (group,) = groups(reader, objects)
    assert slow == []
    for key, cells in zip(group.keys, group.cells, strict=True):
        rows = [at for at, one in enumerate(objects) if key in one]
        assert cells.by_type() == {"string": rows}


def test_a_key_that_comes_late_is_learned_when_it_comes(slow: list[bytes]) -> None:
    reader = ObjectReader()
    groups(reader, [{"ten": "x"}] * 100)
    slow.clear()
    both = [{"ten": "x"}, {"ten": "x", "otp": "1"}] * 100
    groups(reader, both)
    assert len(slow) == 8
    slow.clear()
    groups(reader, both)
    assert slow == []


def test_a_key_whose_values_become_nested_is_learned_again(slow: list[bytes]) -> None:
    reader = ObjectReader()
    groups(reader, [{"ten": "x"}] * 100)
    slow.clear()
    groups(reader, [{"ten": ["x"]}] * 100)
    assert len(slow) == 8
    (group,) = groups(reader, [{"ten": "x"}, {"ten": ["x"]}, {}])
    (cells,) = group.cells
    assert cells.by_type() == {"string": [0], "array": [1]}
    assert cells.of_types(["array"]) == ([None, '["x"]', None], 1)


def test_campaigns_with_the_same_list_share_its_decoder(slow: list[bytes]) -> None:
    reader = ObjectReader()
    with patch.object(reading, "_decoder", wraps=reading._decoder) as made:
        for campaign in range(2_000):
            groups(reader, [{"ten": "x", "sdt": "y"}] * 10, f"c{campaign}")
    assert made.call_count == 1
    assert len(slow) == 8 + 1_999  # the first of each other campaign


def test_campaigns_of_one_decoder_are_read_together() -> None:
    reader = ObjectReader()
    texts = [b'{"ten":"x","sdt":"y"}'] * 40
    campaigns = [f"c{row % 4}" for row in range(40)]
    list(reader.groups(texts, campaigns))
    (group,) = reader.groups(texts, campaigns)
    assert sorted(group.rows) == list(range(40))


def test_objects_whose_keys_share_a_name_are_grouped_by_equal_keys() -> None:
    reader = ObjectReader()
    objects = [{"Ten": 1}, {"ten": 2}, {"ten": 3, "Ten": 4}] * 20
    groups(reader, objects)
    found = groups(reader, objects)
    assert sorted(group.keys for group in found) == [("Ten",), ("Ten", "ten"), ("ten",)]


@pytest.mark.parametrize("pool", [300, 1_000, 100_000])
def test_a_list_with_other_keys_in_each_record_costs_few_decoders(pool: int) -> None:
    random = Random(1)
    reader = ObjectReader()
    noisy = [{f"k{n}": "v" for n in random.sample(range(pool), 10)} for _ in range(4_000)]
    with patch.object(reading, "_decoder", wraps=reading._decoder) as made:
        groups(reader, noisy)
    assert made.call_count <= 10
    assert all(len(keys) <= 80 for keys in reader._made)
    groups(reader, [{"ten": "x", "sdt": "y"}] * 20, "another")
    assert frozenset(["ten", "sdt"]) in reader._made


def test_the_memory_of_ever_new_keys_is_bounded() -> None:
    reader = ObjectReader()
    groups(reader, [{f"key {n}": 1} for n in range(10_000)])
    assert len(reader._known["c1"].seen) <= 4_097
