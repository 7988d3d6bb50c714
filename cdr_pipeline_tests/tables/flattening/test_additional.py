"""The law of `additional_*`: a value's column follows from its record alone, and nothing is lost.

The law is spelled out here once more, from the promise to users, over what the standard library
reads in the same JSON.
"""

import json
import math
from hashlib import sha256
from random import Random
from typing import Any
from unittest.mock import patch

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdr_pipeline.page import compact
from cdr_pipeline.tables.flattening.additional import Spreader
from cdr_pipeline.tables.names import column_names, plain_name
from cdr_pipeline.tables.values import read_fast, read_object, read_value
from cdr_pipeline_tests.records import KEY, OBJECT, VALUE, flat, spread, verbatim

DIFFERENT_NOTATION = '{"a":-0,"b":-0.0,"c":1E+2,"d":1e400,"e":27.50,"f":[1e400, -0 ],"g":"\\/"}'


def exact(value: object) -> str:
    """A value such that 1, 1.0 and true differ."""
    return json.dumps(value, ensure_ascii=False)


def ending(token: str) -> str:
    """The promised ending for the column of a JSON value."""
    match value := json.loads(token):
        case str() if token[0] == '"':
            return ""
        case bool():
            return "__bool"
        case int() if -(2**63) <= value < 2**63:
            return "__int"
        case float() if math.isfinite(value):
            return "__float"
    return "__json"


def rebuilt(text: str) -> dict[str, Any]:
    """The object behind the columns and keys of one record."""
    columns = spread([text])
    members = {}
    for name, (value,) in columns.values.items():
        (key,) = columns.keys[name]
        members[key] = json.loads(value) if name.endswith("__json") else value
    return members


# ---- nothing is lost


@given(OBJECT)
@example(DIFFERENT_NOTATION)
def test_the_object_can_be_had_back_from_the_columns_and_their_keys(text: str) -> None:
    told = {key: value for key, value in json.loads(text).items() if value not in (None, "")}
    back = rebuilt(text)
    assert {key: exact(value) for key, value in back.items()} == {
        key: exact(value) for key, value in told.items()
    }


@given(OBJECT)
@example(DIFFERENT_NOTATION)
@example('{ "x" : "\\u0041" }')
def test_the_text_of_the_object_stands_as_it_was_received(text: str) -> None:
    made = flat(verbatim("additional", text))
    assert made.cdrs["additional"].to_list() == [text]
    assert made.rejects.is_empty()


def test_an_integer_of_any_length_keeps_its_digits() -> None:
    number = "9" * 5000
    assert read_value(number.encode()) == ("__json", number)
    assert spread([f'{{"a":{number}}}']).values == {"additional_a__json": [number]}


def test_the_digits_of_a_json_cell_are_those_received() -> None:
    token = b'[ 1.10, 1e400, 123456789012345678901234567890, "\\u0111\\/" , {"a" : null} ]'
    told = '[1.10,1e400,123456789012345678901234567890,"đ/",{"a":null}]'
    assert compact(token) == told
    assert read_value(token) == ("__json", told)


# ---- types


@given(VALUE)
@example("-0")
@example("1e400")
@example("9223372036854775807")
@example("9223372036854775808")
@example('"1"')
def test_the_ending_follows_from_the_json_type(token: str) -> None:
    made, value = read_value(token.encode())
    if token == "null":
        assert value is None
        return
    assert made == ending(token)
    told = json.loads(value) if made == "__json" else value
    assert exact(told) == exact(json.loads(token))


@given(OBJECT)
@example(DIFFERENT_NOTATION)
@example('{"a":1,"a":"x"}')
def test_the_fast_reading_is_the_slow_one(text: str) -> None:
    fast, slow = read_fast(text), read_object(text)
    assert list(fast) == list(slow)
    assert [(e, type(v), exact(v)) for e, v in fast.values()] == [
        (e, type(v), exact(v)) for e, v in slow.values()
    ]


@given(st.lists(st.none() | OBJECT, max_size=5))
def test_a_cell_is_what_the_slow_reading_of_its_own_record_says(texts: list[str | None]) -> None:
    columns = spread(texts)
    series = columns.frame().drop("_shape", "_misfits").to_dict()
    assert all(len(one) == len(texts) for one in series.values())
    for row, text in enumerate(texts):
        members = read_object(text) if text is not None else {}
        names = column_names(tuple(members))
        due = {
            f"{name}{ending}": value
            for name, (ending, value) in zip(names, members.values(), strict=True)
            if value not in (None, "")
        }
        cells = {name: one[row] for name, one in series.items() if one[row] is not None}
        assert cells == due
        for key, name in zip(members, names, strict=True):
            for column in due.keys() & {f"{name}{e}" for e in ("", "__int", "__json")}:
                assert key in columns.keys[column]


@given(
    st.lists(OBJECT, min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), min_size=5, max_size=15),
)
@example(['{"a":1.5}', '{"a":2}', '{"a":1e400}'], [(n % 3, 0) for n in range(15)])
@example(
    ['{"a":1,"b":""}', '{"b":"x","a":2}', '{"a":-0,"b":null}'], [(n % 3, 0) for n in range(15)]
)
@example(['{"a":1}', '{"a":1,"a":"x"}', '{"\\u0061":3}'], [(n % 3, 0) for n in range(15)])
@example(['{"a":[1]}', '{"a":null}', '{"a":1e400}'], [(n % 3, n % 2) for n in range(15)])
def test_a_shape_that_was_learned_changes_nobodys_cells(
    texts: list[str], order: list[tuple[int, int]]
) -> None:
    objects = [texts[place % len(texts)] for place, _ in order]
    with patch("cdr_pipeline.tables.flattening.shapes._WORTH_LEARNING", 1):
        spreader = Spreader()
        for _ in range(2):
            learned = spreader.spread(
                [text.encode() for text in objects], [hint for _, hint in order]
            )
    for row, text in enumerate(objects):
        alone = {name: exact(one) for name, (one,) in spread([text]).values.items()}
        cells = {name: values[row] for name, values in learned.values.items()}
        assert {name: exact(one) for name, one in cells.items() if one is not None} == alone


def test_a_column_has_one_type_whatever_stands_in_it() -> None:
    texts = ['{"a":1,"b":"x"}', '{"a":1.5,"b":true}', '{"a":"1","b":[1]}', '{"a":70368744177664}']
    assert {one.name: one.dtype for one in spread(texts).frame().drop("_shape", "_misfits")} == {
        "additional_a": pl.String,
        "additional_a__float": pl.Float64,
        "additional_a__int": pl.Int64,
        "additional_b": pl.String,
        "additional_b__bool": pl.Boolean,
        "additional_b__json": pl.String,
    }


def test_null_and_empty_text_are_in_no_column() -> None:
    assert spread(['{"a":null,"b":"","c":0,"d":false,"e":[]}']).values == {
        "additional_c__int": [0],
        "additional_d__bool": [False],
        "additional_e__json": ["[]"],
    }


# ---- names


@pytest.mark.parametrize(
    ("key", "name"),
    [
        *(("Số tiền", "so_tien"), ("Đỗ", "do"), ("đđ", "dd"), ("Ngày  đến-hạn", "ngay_den_han")),
        *(("N\u0067a\u0300", "nga"), ("ten__int", "ten_int"), ("__a__", "a"), ("data1", "data1")),
        *(
            ("", "key"),
            ("!!!", "key"),
            ("😀", "key"),
            ("İ", "i"),
            ("ÀÉÎ", "aei"),
            ("a.b c", "a_b_c"),
        ),
        ("\0", "key"),
    ],
)
def test_a_name_is_the_key_without_diacritics_in_lower_case(key: str, name: str) -> None:
    assert plain_name(key) == name
    assert column_names((key,)) == (f"additional_{name}",)


def digits(key: str) -> str:
    return sha256(key.encode()).hexdigest()[:6]


def names_of(*keys: str) -> dict[str, str]:
    return dict(zip(keys, column_names(keys), strict=True))


def test_of_keys_that_share_a_name_the_one_that_equals_it_has_it() -> None:
    assert names_of("TEN", "Tên", "ten") == {
        "TEN": f"additional_ten_{digits('TEN')}",
        "Tên": f"additional_ten_{digits('Tên')}",
        "ten": "additional_ten",
    }


def test_else_the_first_by_code_point_has_it() -> None:
    assert names_of("tèn", "Tên", "TEN") == {
        "tèn": f"additional_ten_{digits('tèn')}",
        "Tên": f"additional_ten_{digits('Tên')}",
        "TEN": "additional_ten",
    }


def test_a_key_that_equals_anothers_suffixed_name_keeps_its_own() -> None:
    crafted = f"ten_{digits('Tên')}"
    names = names_of("ten", "Tên", crafted)
    assert names["ten"] == "additional_ten"
    assert names[crafted] == f"additional_{crafted}"
    assert names["Tên"].startswith(f"additional_ten_{digits('Tên')}")
    assert len(set(names.values())) == 3


def test_keys_whose_digests_begin_alike_are_still_told_apart() -> None:
    marks = ["!" * n for n in range(1, 9000)]
    by_digits: dict[str, list[str]] = {}
    for mark in marks:
        by_digits.setdefault(digits(mark), []).append(mark)
    alike = next(keys for keys in by_digits.values() if len(keys) > 1)
    assert len(set(column_names(("key", *alike)))) == len(alike) + 1


@st.composite
def colliding_keys(draw: st.DrawFn) -> list[str]:
    """Keys of one record, some of them the suffixed names of others."""
    keys = draw(st.lists(KEY, max_size=6, unique=True))
    suffixed = [f"{plain_name(key)}_{digits(key)}" for key in keys]
    more = draw(st.lists(st.sampled_from([*keys, *suffixed, "key"]), unique=True))
    again = [f"{key}_{digits(key)}" for key in more]
    shouted = [key.upper() for key in draw(st.lists(st.sampled_from([*more, *again, "x"])))]
    return draw(st.permutations(sorted({*keys, *more, *again, *shouted})))


@given(colliding_keys(), st.randoms(use_true_random=False))
def test_names_are_distinct_and_do_not_depend_on_the_order_of_keys(
    keys: list[str], random: Random
) -> None:
    names = names_of(*keys)
    assert len(set(names.values())) == len(keys)
    other = list(keys)
    random.shuffle(other)
    assert names_of(*other) == names
    for key, name in names.items():
        assert name.startswith(f"additional_{plain_name(key)}")
        if key == plain_name(key):
            assert name == f"additional_{key}"


@given(st.lists(st.dictionaries(KEY, st.integers(0, 9), max_size=4), max_size=4))
def test_a_records_columns_do_not_depend_on_the_records_before_it(
    objects: list[dict[str, int]],
) -> None:
    texts = [json.dumps(one) for one in objects]
    together = spread(texts)
    for row, text in enumerate(texts):
        alone = {name: values[0] for name, values in spread([text]).values.items()}
        beside = {name: values[row] for name, values in together.values.items()}
        assert {name: value for name, value in beside.items() if value is not None} == alone
