"""Rules for one value: its JSON type determines the ending of its column, and no digit is lost.

The rules are written here a second time, over what the standard library reads from the same JSON.
"""

import json
import math

from hypothesis import example, given

from cdr_pipeline.page import compact
from cdr_pipeline.tables.types import ENDING_OF
from cdr_pipeline.tables.values import JSON_TYPES, is_object, read_fast, read_object, read_value
from cdr_pipeline_tests.records import DIFFERENT_NOTATION, OBJECT, VALUE, exact


def json_type_of(value: object) -> str:
    """The name of a value's type in `additional_keys`."""
    match value:
        case str():
            return "string"
        case bool():
            return "boolean"
        case None:
            return "null"
        case int() if -(2**63) <= value < 2**63:
            return "integer"
        case float() if math.isfinite(value):
            return "decimal"
        case dict():
            return "object"
        case list():
            return "array"
    return "number"


@given(VALUE)
@example("-0")
@example("1e400")
@example("9223372036854775807")
@example("9223372036854775808")
@example('"1"')
def test_a_cell_has_the_type_of_the_value_and_holds_it(token: str) -> None:
    kind, cell = read_value(token.encode())
    assert kind == json_type_of(json.loads(token))
    assert kind in JSON_TYPES
    value = json.loads(cell) if kind in ("number", "object", "array") else cell
    assert exact(value) == exact(json.loads(token))


def test_each_type_but_null_has_the_promised_ending() -> None:
    as_json = dict.fromkeys(("number", "object", "array"), "__json")
    plain = {"string": "", "integer": "__int", "decimal": "__float", "boolean": "__bool"}
    assert plain | as_json == ENDING_OF
    assert set(JSON_TYPES) == {*ENDING_OF, "null"}


@given(OBJECT)
@example(DIFFERENT_NOTATION)
@example('{"a":1,"a":"x"}')
def test_fast_and_slow_reading_agree(text: str) -> None:
    fast, slow = read_fast(text), read_object(text)
    assert list(fast) == list(slow)
    assert [(kind, type(v), exact(v)) for kind, v in fast.values()] == [
        (kind, type(v), exact(v)) for kind, v in slow.values()
    ]


@given(OBJECT)
def test_the_text_of_an_object_is_recognised(text: str) -> None:
    assert is_object(text.encode())
    assert is_object(f"\n {text} ".encode())


@given(VALUE.filter(lambda token: not token.startswith("{")))
@example('{"a":1')
@example("{'a':1}")
@example("khách quen")
@example("")
@example('{"a":' * 5000)
def test_no_other_text_is_taken_for_an_object(text: str) -> None:
    assert not is_object(text.encode())


def test_an_integer_of_any_length_keeps_its_digits() -> None:
    number = "9" * 5000
    assert read_value(number.encode()) == ("number", number)


def test_the_digits_of_a_json_cell_are_those_received() -> None:
    token = b'[ 1.10, 1e400, 123456789012345678901234567890, "\\u0111\\/" , {"a" : null} ]'
    compacted = '[1.10,1e400,123456789012345678901234567890,"đ/",{"a":null}]'
    assert compact(token) == compacted
    assert read_value(token) == ("array", compacted)
