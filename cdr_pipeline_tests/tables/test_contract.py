"""A declared contract: faults are told with their lines, values are exact or counted misfits."""

import json
import math
import re
from datetime import UTC, date, datetime
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any
from unicodedata import normalize
from zoneinfo import ZoneInfo

import msgspec
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdr_pipeline.errors import SettingsError
from cdr_pipeline.tables.contract import (
    NO_MARK,
    Contract,
    Declared,
    load,
    read,
)
from cdr_pipeline.tables.datasets import CDRS
from cdr_pipeline.tables.fitting import WORDS
from cdr_pipeline.tables.flattening import records, runs
from cdr_pipeline.tables.flattening.flatten import Flat, flatten
from cdr_pipeline.tables.flattening.typed import Rules
from cdr_pipeline.tables.raw_pages import StoredPage
from cdr_pipeline.tables.types import DECLARED, as_written, type_of
from cdr_pipeline.tables.values import read_value
from cdr_pipeline.window import Window
from cdr_pipeline_tests.records import (
    DAY,
    KEY,
    NEW_YORK,
    OBJECT,
    SAIGON,
    VALUE,
    call,
    in_full,
    page_of,
    quoted,
    spread,
    verbatim,
)

EXAMPLE = """\
# What our campaigns send.
[keys."Số tiền"]
type = "decimal"
column = "amount"
description = "Amount due, VND"

[keys.ngay_sinh]
type = "date"
format = "%d/%m/%Y"
pii = true

[keys."hẹn gọi"]
type = "datetime"
format = "%d/%m/%Y %H:%M"

[keys.otp]
drop = true
"""


def contract(text: str, zone: ZoneInfo = SAIGON) -> Contract:
    return read(text, zone)


def faults(text: str) -> list[tuple[int, str]]:
    """(line, message) of each fault of a contract."""
    with pytest.raises(SettingsError) as caught:
        contract(text)
    found = re.findall(r"^  - contract\.toml, line (\d+): (.*)$", str(caught.value), re.MULTILINE)
    return [(int(line), words) for line, words in found]


def flat_under(given: Contract, *records: Any, most_columns: int = 256) -> Flat:
    stored = [StoredPage(1, page_of(*records))]
    return flatten(stored, Rules(Window.of(DAY), given.zone, most_columns, given))


# ---- reading


def test_a_contract_declares_type_column_and_description_of_each_key() -> None:
    keys = contract(EXAMPLE).keys
    assert keys["Số tiền"] == Declared(
        "Số tiền", "decimal", column="amount", description="Amount due, VND"
    )
    assert keys["ngay_sinh"] == Declared("ngay_sinh", "date", format="%d/%m/%Y", pii=True)
    assert keys["otp"] == Declared("otp", drop=True)


def test_the_default_format_of_a_date_is_iso() -> None:
    assert contract('keys.a.type = "date"').keys["a"].format == "%Y-%m-%d"


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "[keys]\n"])
def test_an_empty_contract_declares_nothing(text: str) -> None:
    assert contract(text).keys == {}
    assert contract(text).mark == NO_MARK


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ('[keys.a]\n\ntype = "money"', 3, 'no type "money": it is one of string, int, float'),
        ('[keys.a]\n# c\ncolour = 1\ntype = "int"', 3, "did you mean column?"),
        ("\n[keys.a]\npii = true", 2, "type is missing"),
        ('[keys.a]\ntype = "int"\ndrop = true', 2, "means nothing beside drop"),
        ("[keys.a]\ndrop = 'yes'", 2, "drop must be true or false"),
        ('[keys.a]\ntype = "int"\npii = 1', 3, "pii must be true or false"),
        ('[keys.a]\ntype = "datetime"', 1, "format is missing"),
        ('[keys.a]\ntype = "int"\nformat = "%d"', 3, "format goes with date and datetime"),
        ('[keys.a]\ntype = "date"\nformat = "%d/%m"', 3, "does not tell a whole date"),
        ('[keys.a]\ntype = "date"\nformat = "day"', 3, "does not tell a whole date"),
        ('[keys.a]\ntype = "datetime"\nformat = "%d/%m/%Y"', 3, "does not tell a whole datetime"),
        ('[keys.a]\ntype = "datetime"\nformat = "%I:%M %d/%m/%Y"', 3, "cannot be read"),
        ('[keys.a]\ntype = "date"\nformat = "%Q"', 3, "cannot be read"),
        ('[keys.a]\ntype = "datetime"\nformat = "%Y-%m-%dT%H:%M:%SZ"', 3, "write %#z"),
        ('[keys.a]\ntype = "datetime"\nformat = "%F %T %Z"', 3, "write %#z"),
        ('[keys.a]\ntype = "datetime"\nformat = "%F %T.%f"', 3, "write %.f"),
        *(
            (f'[keys.a]\ntype = "int"\ncolumn = "{name}"', 3, says)
            for name, says in {
                "note": "there is a column note already",
                "date": "there is a column date already",
                "filename": "there is a column filename already",
                "additional": "there is a column additional already",
                "additional_x": "do not begin with additional_",
                "a__int": "no column's name",
                "Amount": "no column's name",
                "2nd": "no column's name",
                "a_": "no column's name",
                "": "no column's name",
                "số": "no column's name",
            }.items()
        ),
        ('[keys]\na = "int"', 2, 'must be a table with a type, as type = "int"'),
        ('[keys]\na = {type = "money"}', 2, "no type"),
        ('keys.a.type = "int"\nkeys.b.type = "money"', 2, "no type"),
        ("[columns.a]\ntype = 'int'", 1, '"columns" is not known here'),
        ("keys = 3", 1, "keys must be tables"),
        ('[[keys.a]]\ntype = "int"', 1, "must be a table"),
        ('[keys.a]\ntype = "int', 2, "no TOML"),
        ('[keys.a]\ntype = "int"\n[keys.a]', 3, "no TOML"),
        ('[keys.a]\ntype = """int', 2, "no TOML"),
        (
            '[keys.a]\ntype = "int"\ncolumn = "x"\n[keys.b]\ntype = "int"\ncolumn = "x"',
            6,
            'its column x is that of "a", too',
        ),
        (
            '[keys.TEN]\ntype = "int"\n[keys."tên"]\ntype = "int"',
            3,
            'its column additional_ten is that of "TEN", too',
        ),
    ],
)
def test_a_fault_is_named_with_its_line(text: str, line: int, says: str) -> None:
    ((at, words),) = faults(text)
    assert at == line
    assert says in words


def test_a_fault_after_a_text_of_several_lines_has_its_own_line() -> None:
    text = '[keys.a]\ntype = "int"\ndescription = """\nas in\nthe list"""\npii = 1'
    assert [line for line, _ in faults(text)] == [6]


def test_all_faults_are_named_at_once_in_the_order_of_their_lines() -> None:
    text = '[keys.a]\ntype = "money"\npii = 1\n[keys.b]\n[keys.c]\ntype = "int"\ncolumn = "id"'
    assert [line for line, _ in faults(text)] == [2, 3, 4, 7]


@pytest.mark.parametrize(
    ("content", "says"), [(None, "cannot be read"), (b"\xff\xfe", "is not UTF-8 text")]
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, content: bytes | None, says: str
) -> None:
    path = tmp_path / "contract.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=says) as caught:
        load(path, SAIGON)
    assert str(path) in str(caught.value)


def test_without_a_file_nothing_is_declared() -> None:
    assert load(None, SAIGON) == Contract(zone=SAIGON)


def test_a_file_may_begin_with_a_mark_of_its_encoding(tmp_path: Path) -> None:
    path = tmp_path / "contract.toml"
    path.write_text('keys.a.type = "int"\r\n', encoding="utf-8-sig")
    assert load(path, SAIGON).keys == {"a": Declared("a", "int")}


# ---- the mark


@pytest.mark.parametrize(
    "same",
    [
        EXAMPLE.replace("# What our campaigns send.", "\n\n# Something else."),
        EXAMPLE.replace('description = "Amount due, VND"\n', ""),
        EXAMPLE.replace("[keys.otp]\ndrop = true\n", "").replace(
            '[keys."Số tiền"]', '[keys.otp]\ndrop   =   true\n[keys."Số tiền"]'
        ),
        EXAMPLE.replace('type = "date"', 'type = "date"\ndrop = false'),
    ],
)
def test_equal_meaning_has_an_equal_mark(same: str) -> None:
    assert same != EXAMPLE
    assert contract(same).mark == contract(EXAMPLE).mark


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"amount"', '"amount_due"'),
        ('"decimal"', '"float"'),
        ("%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M"),
        ("pii = true", "pii = false"),
        ("keys.otp", "keys.OTP"),
        ("drop = true", 'type = "string"'),
    ],
)
def test_another_meaning_has_another_mark(old: str, new: str) -> None:
    assert contract(EXAMPLE.replace(old, new)).mark != contract(EXAMPLE).mark


# ---- values


def cell(declared: Declared, token: str, zone: ZoneInfo = SAIGON) -> Any:
    """The cell of a declared key's column for one JSON value."""
    given = Contract({declared.key: declared}, zone)
    texts = [f"{{{quoted(declared.key)}:{token}}}"]
    ((_, cells),) = spread_under(given, texts).values() or ((None, [None]),)
    return cells[0]


def spread_under(given: Contract, texts: list[str]) -> dict[str, tuple[Any, list[Any]]]:
    columns = spread(texts, given)
    return {one.name: (one.dtype, one.to_list()) for one in columns.frame().drop("_misfits")}


@pytest.mark.parametrize(
    ("type_", "token", "value"),
    [
        *(("int", token, 33) for token in ("33", '"33"', "33.0", '" 33 "', '"+33"', "3.3e1")),
        *(("int", token, None) for token in ("33.5", '"a"', "true", "[33]", '"3 3"', "1e400")),
        ("int", '"0775702541"', 775702541),
        ("int", "9223372036854775807", 2**63 - 1),
        ("int", "9223372036854775808", None),
        ("int", "9007199254740993.0", 9007199254740993),
        ("int", "-0.0", 0),
        ("int", "1e99999999999999999999", None),
        ("float", "0.1", 0.1),
        ("float", "7", 7.0),
        ("float", '" 1e-3 "', 0.001),
        ("float", "9007199254740993", None),
        ("float", '"9007199254740993"', None),
        ("float", "1e400", None),
        ("float", '"nan"', None),
        ("float", '"inf"', None),
        ("decimal", "27.50", Decimal("27.5")),
        ("decimal", "0.1", Decimal("0.1")),
        ("decimal", '"1200000"', Decimal(1200000)),
        ("decimal", "12345678901234567890.123456789", Decimal("12345678901234567890.123456789")),
        ("decimal", "1.1234567891", None),
        ("decimal", "1.12345678900000", Decimal("1.123456789")),
        ("decimal", "9" * 29, Decimal("9" * 29)),
        ("decimal", "9" * 30, None),
        ("decimal", "1E+2", Decimal(100)),
        ("decimal", "5e-10", None),
        ("decimal", "0e999999", Decimal(0)),
        ("decimal", '"1.200.000"', None),
        ("decimal", '"1,5"', None),
        ("bool", "true", True),
        ("bool", "0", False),
        ("bool", "2", None),
        ("bool", "1.0", None),
        *(("bool", quoted(word.upper()), value) for word, value in WORDS.items()),
        *(("bool", quoted(normalize("NFD", word)), value) for word, value in WORDS.items()),
        ("bool", '"maybe"', None),
        ("date", '"07/03/2023"', date(2023, 3, 7)),
        ("date", '" 7/3/2023 "', date(2023, 3, 7)),
        ("date", '"07/03/23"', None),
        ("date", '"31/02/2023"', None),
        ("date", '"07/03/2023 10:00"', None),
        ("datetime", '"07/03/2023 10:05"', datetime(2023, 3, 7, 10, 5, tzinfo=SAIGON)),
        ("datetime", '"07/03/2023"', None),
        ("datetime", '"07/03/0023 10:05"', None),
        ("string", '"0123"', "0123"),
        ("string", "27.50", "27.50"),
        ("string", "-0", "-0"),
        ("string", "true", "true"),
        ("string", '[ 1.10, {"a" : null} ]', '[1.10,{"a":null}]'),
        *((type_, token, None) for type_ in DECLARED for token in ("null", '""')),
        *(
            (type_, token, None)
            for type_ in ("date", "datetime")
            for token in ("20230307", "1.5", "true", "[1]", '{"a":1}', "1e400")
        ),
    ],
)
def test_a_value_is_exact_or_null(type_: str, token: str, value: Any) -> None:
    forms = {"date": "%d/%m/%Y", "datetime": "%d/%m/%Y %H:%M"}
    found = cell(Declared("k", type_, format=forms.get(type_, "")), token)
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("form", "token", "instant"),
    [
        ("%Y-%m-%dT%H:%M:%S%#z", '"2023-03-07T10:00:00Z"', "2023-03-07T10:00:00Z"),
        ("%Y-%m-%dT%H:%M:%S%z", '"2023-03-07T10:00:00+07:00"', "2023-03-07T03:00:00Z"),
        ("%s", "1678158000", "2023-03-07T03:00:00Z"),
        ("%Y-%m-%d %H:%M", '"2023-03-07 10:00"', "2023-03-07T15:00:00Z"),
        ("%s%.f", '"1678158000.1234560"', "2023-03-07T03:00:00.123456Z"),
        ("%Y%m%d.%H%M%S%3f", '"20230307.101112123"', "2023-03-07T15:11:12.123Z"),
        ("%F %T%.f", '"9998-12-31 10:00:00.5"', "9998-12-31T15:00:00.5Z"),
    ],
)
def test_a_datetime_is_read_in_the_zone_of_the_settings_unless_it_names_its_own(
    form: str, token: str, instant: str
) -> None:
    found = cell(Declared("k", "datetime", format=form), token, NEW_YORK)
    assert found.astimezone(UTC) == datetime.fromisoformat(instant)


def test_a_time_that_comes_twice_is_the_earlier_and_a_skipped_time_is_none() -> None:
    declared = Declared("k", "datetime", format="%Y-%m-%d %H:%M")
    twice = cell(declared, '"2023-11-05 01:30"', NEW_YORK)
    assert twice.astimezone(UTC) == datetime(2023, 11, 5, 5, 30, tzinfo=UTC)
    assert cell(declared, '"2023-03-12 02:30"', NEW_YORK) is None


def number(token: str) -> Decimal | None:
    """The number in a JSON number or text, exactly; None if it holds none."""
    text = json.loads(token).strip() if token.startswith('"') else token
    if not re.fullmatch(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?", text):
        return None
    with localcontext() as context:
        context.prec = 6000
        return Decimal(text)


def defined_value(type_: str, token: str) -> Any:
    """The value of a JSON token as a declared type: the definition in plain Python."""
    if token in ("null", '""'):
        return None
    if type_ == "string":
        kind, value = read_value(token.encode())
        return value if kind in ("string", "number", "object", "array") else token
    if type_ == "bool":
        decoded = json.loads(token)
        return (
            WORDS.get(str(decoded).strip().lower()) if type(decoded) in (str, int, bool) else None
        )
    exact = number(token)
    if exact is None:
        return None
    if type_ == "int":
        whole = exact == exact.to_integral_value() and -(2**63) <= exact < 2**63
        return int(exact) if whole else None
    if type_ == "float":
        plain = re.fullmatch(r'"?\s*[+-]?[0-9]+\s*"?', token)
        nearest = float(exact)
        inexact = plain and abs(exact) >= 2**53
        return None if inexact or math.isinf(nearest) else nearest
    with localcontext() as context:
        context.prec = 6000
        scaled = exact.scaleb(9)
        return exact if scaled == scaled.to_integral_value() and abs(exact) < 10**29 else None


NUMBER_TEXT = st.one_of(
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.integers(-(2**70), 2**70).map(str),
    st.from_regex(r"[+-]?[0-9]{1,35}(\.[0-9]{0,12})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    st.sampled_from([*WORDS, "Có", "TRUE"]),
)


@given(
    st.sampled_from(["int", "float", "decimal", "bool", "string"]),
    VALUE | NUMBER_TEXT.map(quoted) | NUMBER_TEXT.filter(lambda text: text[0] in "123456789"),
)
@example("decimal", "-0.0")
@example("decimal", '"1000000000000000000.0000000001"')
@example("int", "-9223372036854775808")
def test_the_fast_fit_equals_the_definition(type_: str, token: str) -> None:
    try:
        json.loads(token, parse_int=str)
    except ValueError:
        return
    due = defined_value(type_, token)
    found = cell(Declared("k", type_), token)
    assert (type(found), found) == (type(due), due)


# ---- columns


A_TYPE = st.sampled_from(["int", "float", "decimal", "bool", "string", "date", "drop"])


@st.composite
def declared_objects(draw: st.DrawFn) -> tuple[Contract, list[str]]:
    """Some objects, and a contract for a few keys, mostly keys of these objects."""
    texts = draw(st.lists(OBJECT, min_size=1, max_size=4))
    theirs = sorted({key for text in texts for key in json.loads(text)})
    key = st.sampled_from(theirs) | KEY if theirs else KEY
    keys = draw(st.dictionaries(key, A_TYPE, min_size=1, max_size=4))
    declared = Contract(
        {
            key: Declared(
                key,
                "" if type_ == "drop" else type_,
                column=draw(st.sampled_from(["", f"own_{number}"])),
                pii=draw(st.booleans()),
                format="%Y-%m-%d",
                drop=type_ == "drop",
            )
            for number, (key, type_) in enumerate(keys.items())
        },
        SAIGON,
    )
    return declared, texts


def cells_of(given: Contract, texts: list[str]) -> list[dict[str, Any]]:
    """For each record: column -> cell, without nulls."""
    series = list(spread(texts, given).frame().drop("_misfits"))
    return [
        {one.name: one[row] for one in series if one[row] is not None} for row in range(len(texts))
    ]


@given(declared_objects())
def test_a_declared_key_changes_no_other_keys_cells(drawn: tuple[Contract, list[str]]) -> None:
    given, texts = drawn
    for text, cells in zip(texts, cells_of(given, texts), strict=True):
        members = json.loads(text)
        names = spread([text])
        due = {
            column: values[0]
            for column, values in in_full(names).items()
            if not names.keys[column] & given.keys.keys()
        }
        under = spread([text], given)
        others = {
            column: cells[column] for column in cells if not under.keys[column] & given.keys.keys()
        }
        assert json.dumps(others, sort_keys=True) == json.dumps(due, sort_keys=True)
        assert set().union(*under.keys.values()) <= members.keys()


@given(declared_objects())
def test_a_declared_value_is_in_its_column_exactly_or_null_and_counted(
    drawn: tuple[Contract, list[str]],
) -> None:
    given, texts = drawn
    columns = spread(texts, given)
    for row, text in enumerate(texts):
        alone = spread([text], given)
        counted = sorted(columns.misfits.get(row, []))
        assert counted == sorted(alone.misfits.get(0, []))
        placed = {key for keys in alone.keys.values() for key in keys}
        for key, declared in given.keys.items():
            token = text_of(text, key)
            holds = token not in (None, "null", '""') and not declared.drop
            assert (key in placed) + (key in counted) == holds
            if key in placed:
                (name,) = (name for name, keys in alone.keys.items() if key in keys)
                assert name.endswith(declared.ending)
                assert token is not None
                if declared.type != "date":
                    assert in_full(alone)[name] == [defined_value(declared.type, token)]


def text_of(text: str, key: str) -> str | None:
    """The JSON text of a key's value; the last one if the key comes twice."""
    members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    return bytes(members[key]).decode() if key in members else None


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("%F %T%.f", "2023-03-07 10:00:00.1234567"),
        ("%F %T%.f", "9998-12-31 10:00:00.0000001"),
        ("%F %T,%9f", "2023-03-07 10:00:00,123456789"),
        ("%+", "2023-03-07T10:00:00.1234567+07:00"),
    ],
)
def test_a_time_finer_than_microseconds_is_none_and_not_cut(form: str, text: str) -> None:
    assert cell(Declared("k", "datetime", format=form), quoted(text)) is None


@pytest.mark.parametrize(
    ("zone", "form", "text"),
    [
        (SAIGON, "%Y-%m-%dT%H:%M:%S%#z", "9999-12-31T23:59:59Z"),
        (SAIGON, "%s", "253402300799"),
        (NEW_YORK, "%Y-%m-%d %H:%M:%S", "9999-12-31 23:59:59"),
    ],
)
def test_the_last_second_of_the_year_9999_is_no_datetime_and_fails_no_day(
    zone: ZoneInfo, form: str, text: str
) -> None:
    """In the zone or in UTC it is in the year 10000, which Python lacks: one such value failed a
    whole day.
    """
    contract = read(f'[keys.a]\ntype = "datetime"\nformat = "{form}"', zone)
    columns = spread([json.dumps({"a": text})], contract)
    assert columns.misfits == {0: ["a"]}
    assert not columns.used


@given(st.lists(OBJECT, max_size=3))
def test_an_empty_contract_changes_nothing(texts: list[str]) -> None:
    records = [verbatim("additional", text, id_=f"{at}") for at, text in enumerate(texts)]
    bare = flatten([StoredPage(1, page_of(*records))], Rules(Window.of(DAY), SAIGON))
    under = flat_under(Contract(zone=SAIGON), *records)
    assert under.cdrs.equals(bare.cdrs)
    assert under.cdrs.schema == bare.cdrs.schema
    assert under.additional_keys.equals(bare.additional_keys)
    assert under.misfits == []


def test_a_column_has_its_declared_type_whatever_came() -> None:
    given = contract(EXAMPLE)
    texts = ['{"Số tiền": 1.5, "ngay_sinh": "07/03/1990"}', '{"hẹn gọi": "07/03/2023 10:00"}']
    assert {name: dtype for name, (dtype, _) in spread_under(given, texts).items()} == {
        "amount__decimal": pl.Decimal(38, 9),
        "additional_ngay_sinh__date": pl.Date(),
        "additional_hen_goi__datetime": pl.Datetime("us", "Asia/Ho_Chi_Minh"),
    }
    for name in spread_under(given, texts):
        assert as_written(type_of(name), SAIGON) == spread_under(given, texts)[name][0]


def test_a_dropped_key_has_no_column_and_stays_in_additional() -> None:
    made = flat_under(contract(EXAMPLE), call(additional={"otp": "123456", "ten": "An"}))
    assert [name for name in made.cdrs.columns if name not in CDRS.schema(SAIGON)] == [
        "additional_ten"
    ]
    assert made.cdrs["additional"].to_list() == ['{"otp": "123456", "ten": "An"}']
    rows = made.additional_keys.select("key", "column").rows()
    assert rows == [("otp", None), ("ten", "additional_ten")]


def test_a_declared_key_gets_another_name_in_a_record_where_another_key_owns_it() -> None:
    given = contract('[keys."Số tiền"]\ntype = "string"')
    texts = ['{"Số tiền": "1", "so_tien": "2"}', '{"Số tiền": "3"}']
    (clash, alone) = cells_of(given, texts)
    assert clash["additional_so_tien"] == "2"
    assert sorted(clash.values()) == ["1", "2"]
    assert alone == {"additional_so_tien": "3"}


def test_declared_columns_are_kept_beyond_the_limit_of_columns() -> None:
    given = contract('[keys.rare]\ntype = "int"')
    often = [call(f"{n}", additional={"a": "x", "b": "y"}) for n in range(3)]
    made = flat_under(given, *often, call("r", additional={"rare": 7}), most_columns=1)
    assert list(made.keys) == ["additional_a", "additional_rare__int"]
    assert made.left_out == ["additional_b"]


def test_misfits_are_counted_with_examples_over_the_calls_that_count() -> None:
    given = contract('[keys.n]\ntype = "int"\n[keys.p]\ntype = "int"\npii = true')
    earlier = call("a", additional={"n": "superseded"})
    calls = [
        call("a", additional={"n": "một", "p": "An"}),
        call("b", additional={"n": [1.5]}),
        call("c", additional={"n": 1, "p": ""}),
        call("d", "2023-03-08 10:00:00", additional={"n": "another day's"}),
    ]
    made = flat_under(given, earlier, *calls)
    assert [str(one) for one in made.misfits] == [
        'n: 2 values are no int, such as "một", [1.5]',
        "p: 1 value is no int",
    ]


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("n", "gọi +84 912 345 678", '"gọi +84 …"'),
        ("n", "https://pbx.example.vn/rec/1.mp3?token=abc", '"htt…"'),
        ("n", "1234567", '"1234567"'),
        ("Số ĐT", "không có", ""),
    ],
)
def test_an_example_shows_no_whole_number_no_link_and_nothing_personal(
    key: str, value: str, shown: str
) -> None:
    given = contract(f'[keys."{key}"]\ntype = "bool"')
    (misfits,) = flat_under(given, call(additional={key: value})).misfits
    assert misfits.examples == ((shown,) if shown else ())


def test_a_day_flattened_in_many_parts_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = contract(EXAMPLE)
    pages = [
        StoredPage(1, page_of(call(f"{at}", additional={"Số tiền": value, "ngay_sinh": "x"})))
        for at, value in enumerate([1.5, "2", "a", "b", None, "", [1]])
    ]
    whole = flatten(pages, Rules(Window.of(DAY), SAIGON, contract=given))
    monkeypatch.setattr(records, "BATCH_ROWS", 2)
    monkeypatch.setattr(runs, "_RUN_ROWS", 1)
    parts = flatten(pages, Rules(Window.of(DAY), SAIGON, contract=given), tmp_path)
    assert parts.cdrs.equals(whole.cdrs)
    assert [(one.declared.key, one.count) for one in parts.misfits] == [
        ("ngay_sinh", 7),
        ("Số tiền", 3),
    ]
    assert whole.misfits == parts.misfits


def test_personal_values_are_in_no_example() -> None:
    given = contract('[keys.p]\ntype = "string"\npii = true')
    made = flat_under(given, call(additional={"p": "Nguyễn Văn An", "q": "open"}))
    examples = made.additional_keys.select("key", "example").rows()
    assert examples == [("p", None), ("q", "open")]
