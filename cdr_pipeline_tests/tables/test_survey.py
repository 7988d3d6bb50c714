"""Proposals: a contract that fits the stored values; and the changes that a contract would make."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdr_pipeline.tables import survey
from cdr_pipeline.tables.contract import NO_CONTRACT, Contract, Declared, read
from cdr_pipeline.tables.datasets import CDRS
from cdr_pipeline.tables.flattening.additional import fit_declared
from cdr_pipeline.tables.names import digest
from cdr_pipeline.tables.store import Store
from cdr_pipeline_tests.records import DAY, NEW_YORK, OBJECT, SAIGON
from cdr_pipeline_tests.tables.days import write_day

NEXT = DAY + timedelta(days=1)


def proposed(store: Store, *days: dict[str, str]) -> str:
    """The proposal after days with these objects were stored."""
    for after, objects in enumerate(days):
        write_day(store, DAY + timedelta(days=after), objects)
    stored = store.days(CDRS)
    return survey.proposal(survey.observe(store, stored), stored)


def values(*tokens: str) -> dict[str, str]:
    """id -> object, for a day on which the key k has these values."""
    return {f"call-{at}": f'{{"k":{token}}}' for at, token in enumerate(tokens)}


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[Declared]:
    """The declarations that values were fitted to, in order."""
    fitted: list[Declared] = []

    def telling(declared: Declared, *args: Any) -> pl.Series:
        fitted.append(declared)
        return fit_declared(declared, *args)

    monkeypatch.setattr(survey, "fit_declared", telling)
    return fitted


def test_a_keys_values_are_fitted_together_although_each_record_has_other_keys(
    store: Store, tried: list[Declared]
) -> None:
    """A record by itself took 25 ms: a day whose lists had ten of thousands of keys took hours."""
    write_day(store, DAY, {f"call-{at}": f'{{"k":{at},"other {at}":1}}' for at in range(7)})
    (seen, *others) = survey.observe(store, [DAY])
    assert (seen.key, seen.values, len(others)) == ("k", 7, 7)
    looked_at = [one.key for one in tried]
    assert looked_at.count("k") == looked_at.count("other 1")


def test_a_key_that_holds_no_date_is_not_tried_with_each_date_format(
    store: Store, tried: list[Declared]
) -> None:
    """A proposal for 5,000 keys took two minutes."""
    write_day(store, DAY, values('"Quận 7, ấp 3"', "3", '"07/03/2023"'))
    survey.observe(store, [DAY])
    assert {one.type for one in tried} == {"int", "decimal", "float", "bool"}


@pytest.mark.parametrize(
    ("tokens", "type_"),
    [
        (("1", '"2"', "3.0"), "int"),
        (("0", "1"), "int"),
        (("1", "2.5"), "decimal"),
        (("1e-12", "2.5"), "float"),
        (("true", '"no"', "1"), "bool"),
        (('"có"', '"không"'), "bool"),
        (('"0123"', "7"), "string"),
        (("1", '"Miễn phí"'), "string"),
        (("[1]", "1"), "string"),
        (('"2023-03-07"', '""', "null"), "date"),
        (('"07/03/2023"', '"31/12/2023"'), "date"),
        (('"07/03/23"', '"31/12/23"'), "string"),
        (('"2023-03-07 10:00:00"', '"2023-03-08 10:00:00"'), "datetime"),
        (('"2023-03-07T10:00:00Z"',), "datetime"),
    ],
)
def test_a_type_is_proposed_only_if_every_value_fits_it(
    store: Store, tokens: tuple[str, ...], type_: str
) -> None:
    declared = read(proposed(store, values(*tokens)), SAIGON).keys["k"]
    assert declared.type == type_
    changes = survey.compare(store, Contract({"k": declared}, SAIGON), [DAY], 256)
    assert changes.misfits == []


def test_a_value_of_any_day_counts(store: Store) -> None:
    text = proposed(store, values("1", "2"), values('"x"'))
    assert read(text, SAIGON).keys["k"].type == "string"
    assert '# Calls with it: 3 (2 integer, 1 string), such as "x"\n[keys."k"]' in text


@pytest.mark.parametrize(
    ("tokens", "example"),
    [
        (("1", "2"), "1"),
        (("12300000", '"Miễn phí"'), '"Miễn phí"'),
        (('"Miễn phí"', "12300000"), '"Miễn phí"'),
        (('"1"', '"x"', '"2.5"'), '"x"'),
        (('"1"', '"2.5"', '"3"'), '"2.5"'),
        (("7", '"0123"'), '"0123"'),
        (
            ('{"ngày":"2023-03-07","giờ":"9:30","phòng":1}',),
            '{"ngày":"2023-03-07","giờ":"9:30","phòn…',
        ),
    ],
)
def test_the_example_is_the_value_that_decided_on_the_type_cut_with_an_ellipsis(
    store: Store, tokens: tuple[str, ...], example: str
) -> None:
    assert f", such as {example}\n" in proposed(store, values(*tokens))


@pytest.mark.parametrize("value", ["0123", "+84981218709", "1E5"])
def test_text_that_a_number_would_damage_stays_text(store: Store, value: str) -> None:
    text = proposed(store, values(f'"{value}"'))
    assert read(text, SAIGON).keys["k"].type == "string"


def test_a_time_that_the_zone_skips_is_proposed_as_text(tmp_path: Path) -> None:
    store = Store(tmp_path, NEW_YORK)
    text = proposed(store, values('"2023-03-12 02:30:00"', '"2023-03-12 04:30:00"'))
    assert read(text, NEW_YORK).keys["k"].type == "string"


def test_a_key_that_never_held_a_value_is_left_out(store: Store) -> None:
    assert "[keys" not in proposed(store, values("null", '""'))


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("Họ tên", "Nguyễn Văn An", "its name says so"),
        ("otp", "123456", "its name says so"),
        ("data1", "0775702541", "some of its values look like phone numbers"),
        ("data1", "an@example.vn", "some of its values look like e-mail addresses"),
    ],
)
def test_a_personal_key_is_marked_with_the_reason_and_without_an_example(
    store: Store, key: str, value: str, why: str
) -> None:
    text = proposed(store, {"a": json.dumps({key: value})})
    assert f"pii = true  # {why}" in text
    assert value not in text
    assert read(text, SAIGON).keys[key].pii


def test_other_keys_are_not_marked_as_personal(store: Store) -> None:
    assert "pii" not in proposed(store, {"a": '{"so_tien": 100, "content": "x", "data1": "A7"}'})


def test_of_keys_that_share_a_column_one_is_declared_and_the_others_are_commented_out(
    store: Store,
) -> None:
    text = proposed(store, {"a": '{"Tổng": 1}', "b": '{"tong": "x"}'})
    assert list(read(text, SAIGON).keys) == ["Tổng"]
    head, shared, rest = text.partition("# It shares")
    asked = head + shared + re.sub(r"(?m)^# (?=\[keys|type|column)", "", rest)
    both = read(asked, SAIGON).keys
    assert {key: one.column for key, one in both.items()} == {
        "Tổng": "",
        "tong": f"lead_tong_{digest('tong')}",
    }


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(OBJECT, min_size=1, max_size=5))
def test_a_proposal_is_a_contract_that_every_value_fits(store: Store, texts: list[str]) -> None:
    text = proposed(store, {f"call-{at}": text for at, text in enumerate(texts)})
    contract = read(text, SAIGON)
    assert survey.compare(store, contract, [DAY], 256).misfits == []


def test_values_that_are_no_object_are_passed_over(store: Store) -> None:
    assert "[keys" not in proposed(store, {"a": "[1]", "b": '"text"', "c": '"{broken"'})
    text = proposed(store, {"a": "[1]", "b": '{"k": 1}', "c": '{"k": 2}'})
    assert "Calls with it: 2 (2 integer)" in text


# ---- what a contract would change


OBJECTS = {
    "a": '{"x": 1, "when": "07/03/2023", "otp": "1", "same": 1}',
    "b": '{"x": "một", "when": "soon", "ten": "An"}',
}
CONTRACT = read(
    """
    keys.x = {type = "int", column = "amount"}
    keys.when = {type = "date", format = "%d/%m/%Y"}
    keys.otp = {drop = true}
    keys.ten = {type = "int", pii = true}
    """,
    SAIGON,
)


def test_new_dropped_and_changed_columns_are_predicted_correctly(store: Store) -> None:
    write_day(store, DAY, OBJECTS)
    changes = survey.compare(store, CONTRACT, [DAY], 256)
    assert changes.columns == {
        "additional_otp": (pl.String(), None),
        "additional_ten": (pl.String(), None),
        "additional_when": (pl.String(), pl.Date()),
        "additional_x": (pl.String(), None),
        "amount": (None, pl.Int64()),
    }
    write_day(store, DAY, OBJECTS, CONTRACT)
    assert survey.compare(store, CONTRACT, [DAY], 256).columns == {}


def test_values_that_would_not_fit_are_counted_with_examples_except_personal_ones(
    store: Store,
) -> None:
    write_day(store, DAY, OBJECTS)
    write_day(store, NEXT, {"c": '{"x": "hai"}'})
    changes = survey.compare(store, CONTRACT, [DAY, NEXT], 256)
    assert [str(one) for one in changes.misfits] == [
        'x: 2 values are no int, such as "hai", "một"',
        "ten: 1 value is no int",
        'when: 1 value is no date, such as "soon"',
    ]


def test_no_contract_changes_nothing(store: Store) -> None:
    write_day(store, DAY, OBJECTS)
    changes = survey.compare(store, NO_CONTRACT, [DAY], 256)
    assert (changes.columns, changes.misfits) == ({}, [])


def test_more_rows_than_fit_at_once_are_observed_in_parts(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_day(store, DAY, values("1", "2", '"x"', '"y"', '"z"'))
    monkeypatch.setattr(survey, "_ROWS", 2)
    (seen,) = survey.observe(store, [DAY])
    assert seen.types == {"integer": 2, "string": 3}
    contract = read('keys.k = {type = "int"}', SAIGON)
    (misfit,) = survey.compare(store, contract, [DAY], 256).misfits
    assert misfit.count == 3
