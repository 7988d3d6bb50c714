"""Rules of `additional_*`: a value's column depends on its record alone, and nothing is lost.

The rules are written here a second time, from the promise to users, over what the standard library
reads from the same JSON. For single values and keys, see `test_values` and `test_names`.
"""

import json
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import polars as pl
from hypothesis import example, given
from hypothesis import strategies as st

from cdr_pipeline.tables.flattening.additional import Spreader
from cdr_pipeline.tables.names import column_names
from cdr_pipeline.tables.types import ENDING_OF
from cdr_pipeline.tables.values import read_object
from cdr_pipeline_tests.records import (
    DIFFERENT_NOTATION,
    OBJECT,
    call,
    exact,
    flat,
    in_full,
    spread,
    the_call,
    verbatim,
)


def rebuilt(text: str) -> dict[str, Any]:
    """The object, rebuilt from the columns and keys of one record."""
    columns = spread([text])
    members = {}
    for name, (value,) in in_full(columns).items():
        (key,) = columns.keys[name]
        members[key] = json.loads(value) if name.endswith("__json") else value
    return members


# ---- nothing is lost


@given(OBJECT)
@example(DIFFERENT_NOTATION)
def test_the_object_can_be_rebuilt_from_the_columns_and_their_keys(text: str) -> None:
    sent = {key: value for key, value in json.loads(text).items() if value not in (None, "")}
    back = rebuilt(text)
    assert {key: exact(value) for key, value in back.items()} == {
        key: exact(value) for key, value in sent.items()
    }


@given(OBJECT)
@example(DIFFERENT_NOTATION)
@example('{ "x" : "\\u0041" }')
def test_the_text_of_the_object_is_kept_as_received(text: str) -> None:
    made = flat(verbatim("additional", text))
    assert made.cdrs["additional"].to_list() == [text]
    assert made.rejects.is_empty()


def test_wide_integers_and_decimals_keep_every_digit() -> None:
    token = (
        f'{{"w":{2**70},"i":9007199254740993,"f":0.10000000000000000555,"d":33.0,"n":[{2**70}]}}'
    )
    made = the_call(verbatim("additional", token))
    assert {name: made[name] for name in made if name.startswith("additional_")} == {
        "additional_d__float": 33.0,
        "additional_f__float": 0.1,
        "additional_i__int": 9007199254740993,
        "additional_n__json": f"[{2**70}]",
        "additional_w__json": str(2**70),
    }
    digits = json.loads(made["additional"], parse_float=Decimal)["f"]
    assert digits == Decimal("0.10000000000000000555")


# ---- types


@given(st.lists(st.none() | OBJECT, max_size=5))
@example([f'{{"a":{"9" * 5000}}}'])
def test_a_cell_equals_the_slow_reading_of_its_own_record(texts: list[str | None]) -> None:
    columns = spread(texts)
    series = columns.frame().drop("_misfits").to_dict()
    assert all(len(one) == len(texts) for one in series.values())
    for row, text in enumerate(texts):
        members = read_object(text) if text is not None else {}
        names = column_names(tuple(members))
        due = {
            f"{name}{ENDING_OF[kind]}": value
            for name, (kind, value) in zip(names, members.values(), strict=True)
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
@example(['{"Ten":1}', '{"ten":"x"}', '{"ten":2,"Ten":3}'], [(n % 3, 0) for n in range(15)])
@example(['{"a":1}', '{"b":""}', '{"b":[2],"c":null}'], [(n % 3, 0) for n in range(15)])
def test_keys_that_were_learned_change_no_cell(
    texts: list[str], order: list[tuple[int, int]]
) -> None:
    objects = [texts[place % len(texts)] for place, _ in order]
    with patch("cdr_pipeline.tables.flattening.objects._WORTH_LEARNING", 1):
        spreader = Spreader()
        for _ in range(2):
            learned = spreader.spread(
                [text.encode() for text in objects], [f"c{campaign}" for _, campaign in order]
            )
    for row, text in enumerate(objects):
        alone = {name: exact(one) for name, (one,) in in_full(spread([text])).items()}
        cells = {name: values[row] for name, values in in_full(learned).items()}
        assert {name: exact(one) for name, one in cells.items() if one is not None} == alone


def test_a_column_has_one_type_whatever_values_came() -> None:
    texts = ['{"a":1,"b":"x"}', '{"a":1.5,"b":true}', '{"a":"1","b":[1]}', '{"a":70368744177664}']
    assert {one.name: one.dtype for one in spread(texts).frame().drop("_misfits")} == {
        "additional_a": pl.String,
        "additional_a__float": pl.Float64,
        "additional_a__int": pl.Int64,
        "additional_b": pl.String,
        "additional_b__bool": pl.Boolean,
        "additional_b__json": pl.String,
    }


def test_null_and_empty_text_are_in_no_column() -> None:
    assert in_full(spread(['{"a":null,"b":"","c":0,"d":false,"e":[]}'])) == {
        "additional_c__int": [0],
        "additional_d__bool": [False],
        "additional_e__json": ["[]"],
    }


# ---- beside other records and columns


def test_keys_of_additional_never_share_a_column_with_documented_fields() -> None:
    listed = {"id": 1, "status": "vip", "additional": "x", "additional_ten": "y", "date": "z"}
    made = the_call(call(status="busy", additional=listed))
    assert (made["id"], made["status"]) == ("a", "busy")
    assert {name: made[name] for name in made if name.startswith("additional_")} == {
        "additional_additional": "x",
        "additional_additional_ten": "y",
        "additional_date": "z",
        "additional_id__int": 1,
        "additional_status": "vip",
    }
