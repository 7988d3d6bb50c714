"""A day with every kind of lead list at once: the order of its records changes nothing.

An independent harness loaded hostile days in three orders, from vendors that list calls in
different orders. It found that `additional_keys` took its example from the record that came first.
"""

from collections.abc import Callable
from random import Random
from typing import Any, Final, TypeVar

import polars as pl
import pytest

from cdr_pipeline.record import Reason
from cdr_pipeline_tests.records import as_text, call, flat, flat_pages, verbatim

T = TypeVar("T")

#: Values of a key differ in type, keys share column names, objects come as text or are no objects.
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
    """The same calls, shuffled by the seed `order`."""
    records = [
        as_text(call(f"{at}{campaign}", campaign_uuid=campaign))[:-1]
        + f',"additional":{text}}}'.encode()
        for at, text in enumerate(OBJECTS)
        for campaign in ("", "c1", "c2")
    ]
    Random(order).shuffle(records)
    return records


@pytest.mark.parametrize("order", range(1, 6))
def test_the_order_of_a_listing_changes_no_row_of_calls_rejects_or_keys(order: int) -> None:
    one, other = flat(*calls(0)), flat(*calls(order))
    assert one.schema == other.schema
    assert one.cdrs.equals(other.cdrs)
    assert one.keys == other.keys
    assert one.rejects.sort("id").equals(other.rejects.sort("id"))
    assert one.additional_keys.equals(other.additional_keys)


# ---- single records that failed a whole day, found by an independent second reader


@pytest.mark.parametrize(
    ("token", "value", "reason"),
    [
        ("1e9999999999999999999", None, Reason.TOO_LARGE),
        ("1e-9999999999999999999", None, Reason.NO_WHOLE_NUMBER),
        ("-0.0e-9999999999999999999", 0, None),
        ("0E+9999999999999999999", 0, None),
    ],
)
def test_an_exponent_beyond_all_bounds_is_a_number_like_any_other(
    token: str, value: int | None, reason: Reason | None
) -> None:
    made = flat(verbatim("duration", token, "far"), call("near"))
    assert dict(made.cdrs.select("id", "duration").rows()) == {"far": value, "near": None}
    assert made.rejects["reason"].to_list() == ([reason] if reason else [])


def test_leading_zeros_are_no_digits_of_a_number() -> None:
    assert flat(call(duration=f"-{'0' * 5000}12")).cdrs["duration"].item() == -12


@pytest.mark.parametrize("number", [str(2**63), "9" * 20, f"-{'9' * 5000}", f"{10**30}.0"])
def test_a_number_beyond_64_bits_has_the_same_reason_as_text(number: str) -> None:
    for token in (number, f'"{number}"'):
        made = flat(verbatim("duration", token))
        assert made.rejects["reason"].to_list() == [Reason.TOO_LARGE]


@pytest.mark.parametrize("duration", ["1", "1.5"], ids=["fast", "slow"])
@pytest.mark.parametrize("depth", range(495, 502))
def test_whether_a_record_is_too_deep_depends_only_on_the_record(duration: str, depth: int) -> None:
    additional = f'{{"k":{"[" * depth}{"]" * depth}}}'
    made = flat(verbatim("additional", additional), verbatim("duration", duration, "beside"))
    assert ("a" in made.cdrs["id"].to_list()) == (depth <= 498)


DEEP: Final = "[" * 600 + "]" * 600
CANCELLING: Final = '["]",' * 600 + "1" + ',"["]' * 600  # counted by brackets alone, not deep


@pytest.mark.parametrize(
    "members", [f'"queue":{DEEP},"queue":1', f'"note":"[","queue":{CANCELLING}', f'"rate":{DEEP}']
)
def test_how_deep_a_record_is_does_not_depend_on_its_neighbours(members: str) -> None:
    record = as_text(call("a"))[:-1] + f",{members}}}".encode()
    beside: list[list[Any]] = [[], [b"null"], [call("b", queue="q", rate=5)]]
    made = [flat_pages([some, some, [*some, record]]).cdrs["id"].to_list() for some in beside]
    assert len({"a" in ids for ids in made}) == 1


def deeper(calls: int, made: Callable[[], T]) -> T:
    """`made()`, called `calls` frames deeper: Python has one limit for frames and depth of JSON."""
    return made() if calls == 0 else deeper(calls - 1, made)


@pytest.mark.parametrize("field", ["note", "undocumented", "additional", "duration"])
def test_how_deep_a_record_may_be_does_not_depend_on_the_readers_own_depth(field: str) -> None:
    for depth in (490, 510, *range(880, 1000, 7), 5000):
        nested = "[" * depth + "]" * depth
        token = f'{{"k":{nested}}}' if field == "additional" else nested
        shallow, deep = (
            deeper(calls, lambda: flat(verbatim(field, token, "nested"), call("plain")))  # noqa: B023
            for calls in (0, 100)
        )
        assert shallow.cdrs.equals(deep.cdrs)
        assert shallow.cdrs["id"].to_list() == (["nested", "plain"] if depth < 500 else ["plain"])
        whole = shallow.rejects.filter(pl.col("field").is_null())
        assert whole["reason"].to_list() == ([] if depth < 500 else [Reason.TOO_DEEP])


def test_the_depth_to_which_a_pressed_key_is_found_does_not_vary() -> None:
    for depth in (400, *range(880, 1000, 7)):
        text = "[" * depth + "5" + "]" * depth
        assert flat(call(press_key=text)).cdrs["key_pressed"].item() == (5 if depth < 500 else None)
