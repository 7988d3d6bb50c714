"""Days made under another contract or by earlier rules: how they are found, reported, and read
together with other days.
"""

import os
import warnings
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest

from cdr_pipeline.record import RULES
from cdr_pipeline.tables import catalog
from cdr_pipeline.tables.contract import NO_CONTRACT, Contract, read
from cdr_pipeline.tables.datasets import CAMPAIGN_DAILY, CDRS, RAW_PAGES, RECEIPTS, Dataset
from cdr_pipeline.tables.footer import MadeBy
from cdr_pipeline.tables.provenance import (
    ASKED_FOR,
    MADE,
    about_calls,
    about_fetch,
    about_source,
    days_in_words,
    is_torn,
    is_unmade,
    made_by,
    outdated_days,
    stale_days,
    stale_in_words,
    to_make,
)
from cdr_pipeline.tables.readers import AnotherContract, scan
from cdr_pipeline.tables.store import Store
from cdr_pipeline_tests.damage import cut_short
from cdr_pipeline_tests.records import DAY, SAIGON
from cdr_pipeline_tests.tables.days import write_day

OWN = """\
[keys.x]
type = "decimal"
column = "amount"
description = "Amount due"

[keys.when]
type = "datetime"
format = "%d/%m/%Y %H:%M"
pii = true

[keys.n]
type = "decimal"

[keys.d]
type = "date"

[keys.t]
type = "datetime"
format = "%Y-%m-%d %H:%M:%S%.f"
"""
CONTRACT = read(OWN, SAIGON)
NEXT = DAY + timedelta(days=1)
OBJECTS = {
    "a": '{"x": 27.50, "when": "07/03/2023 10:05", "n": 7, "d": "2023-03-07"}',
    "b": '{"x": "không", "n": 12345678901234567890, "d": "x", "t": "2023-03-07 10:00:00.25"}',
    "c": '{"t": "2023-03-07 10:00:00", "y": 1}',
}


@pytest.fixture
def mixed(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """One day made without the contract and one made under it."""
    monkeypatch.setenv("CDR_DATA_DIR", str(store.root))
    write_day(store, DAY, OBJECTS)
    write_day(store, NEXT, OBJECTS, CONTRACT)
    return store


def in_force(monkeypatch: pytest.MonkeyPatch, store: Store, text: str) -> None:
    """Name a contract with this text in CDR_CONTRACT."""
    path = store.root.parent / "contract.toml"
    path.write_text(text, encoding="utf-8")
    monkeypatch.setenv("CDR_CONTRACT", str(path))


def test_a_file_names_its_contract_or_none(mixed: Store) -> None:
    bare, made = (pq.read_schema(mixed.path(CDRS, day)) for day in (DAY, NEXT))
    rules = {b"cdr_rules": b"%d" % RULES}
    assert bare.metadata == rules
    assert made.metadata == rules | {b"cdr_contract": CONTRACT.mark.encode()}
    assert made_by(mixed, DAY) == MadeBy(NO_CONTRACT.mark, SAIGON.key, RULES)
    assert made_by(mixed, NEXT) == MadeBy(CONTRACT.mark, SAIGON.key, RULES)


def test_a_file_marks_personal_columns_and_describes_declared_ones(mixed: Store) -> None:
    schema = pq.read_schema(mixed.path(CDRS, NEXT))
    amount = schema.field("amount__decimal").metadata
    assert amount[b"description"] == b"From the lead list. Amount due."
    assert b"pii" not in amount
    assert schema.field("additional_when__datetime").metadata[b"pii"] == b"true"


def test_days_of_another_contract_are_stale_until_they_are_made_again(mixed: Store) -> None:
    assert stale_days(mixed, CONTRACT.mark) == [DAY]
    assert stale_days(mixed, NO_CONTRACT.mark) == [NEXT]
    assert stale_days(mixed, "other") == [DAY, NEXT]
    assert stale_days(mixed, "other", NEXT) == [NEXT]
    write_day(mixed, DAY, OBJECTS, CONTRACT)
    assert stale_days(mixed, CONTRACT.mark) == []


def test_a_day_without_a_version_of_the_rules_is_stale_until_it_is_made_again(
    mixed: Store,
) -> None:
    whole = pq.read_table(mixed.path(CDRS, DAY))
    pq.write_table(whole.replace_schema_metadata(None), mixed.path(CDRS, DAY))
    assert made_by(mixed, DAY) == MadeBy(NO_CONTRACT.mark, SAIGON.key, rules=0)
    assert stale_days(mixed, NO_CONTRACT.mark, DAY, DAY) == [DAY]
    assert to_make(mixed, NO_CONTRACT.mark, DAY, DAY) == []
    write(mixed, fetch_at(1), RAW_PAGES)
    assert to_make(mixed, NO_CONTRACT.mark, DAY, DAY) == [DAY]
    assert f"{made_by(mixed, DAY)}" == f"{NO_CONTRACT.mark} in {SAIGON.key}"
    write_day(mixed, DAY, OBJECTS)
    assert stale_days(mixed, NO_CONTRACT.mark, DAY, DAY) == []


def test_a_day_that_another_program_wrote_anew_is_stale(mixed: Store) -> None:
    path = mixed.path(CDRS, DAY)
    pq.write_table(pq.read_table(path), path, store_schema=False)
    assert made_by(mixed, DAY).zone == "UTC"
    assert stale_days(mixed, NO_CONTRACT.mark, DAY, DAY) == [DAY]


def fetch_at(hour: int) -> dict[str, str]:
    """The metadata of files that were made from the fetch of this hour."""
    return about_fetch(datetime(2023, 3, 8, hour, tzinfo=UTC))


def write(store: Store, about: dict[str, str], *datasets: Dataset) -> None:
    """Write partitions of the day without rows, with the metadata `about`."""
    for dataset in datasets:
        store.write(dataset, DAY, pl.DataFrame(schema=dataset.schema(SAIGON)), about=about)


def test_a_day_is_unmade_while_a_dataset_is_missing_or_of_another_fetch(
    store: Store,
) -> None:
    *calls, last = MADE
    for fetch in (fetch_at(1), fetch_at(2)):
        write(store, fetch, *ASKED_FOR)
        assert is_unmade(store, DAY)
        write(store, fetch, *calls)
        assert is_unmade(store, DAY)
        write(store, fetch, last)
        assert not is_unmade(store, DAY)


def test_a_day_is_unmade_while_an_aggregate_is_of_calls_made_by_other_rules(
    store: Store,
) -> None:
    write(store, fetch_at(1), *ASKED_FOR, CAMPAIGN_DAILY)
    assert outdated_days(store, CAMPAIGN_DAILY) == []  # there are no calls
    write(store, fetch_at(1), CDRS)
    others = [dataset for dataset in MADE if dataset is not CDRS]
    write(store, about_source(store, CDRS, DAY), *others)
    assert not is_unmade(store, DAY)
    for other in (
        MadeBy(CONTRACT.mark, SAIGON.key),
        MadeBy(NO_CONTRACT.mark, "UTC"),
        MadeBy(NO_CONTRACT.mark, SAIGON.key, RULES - 1),
    ):
        write(store, fetch_at(1) | about_calls(other), CAMPAIGN_DAILY)
        os.utime(store.path(CAMPAIGN_DAILY, DAY), (0, 0))
        assert is_unmade(store, DAY)
        assert outdated_days(store, CAMPAIGN_DAILY) == [DAY]
    write(store, about_source(store, CDRS, DAY), CAMPAIGN_DAILY)
    assert not is_unmade(store, DAY)


def test_a_day_killed_before_its_receipt_is_torn_and_cannot_be_made(
    store: Store,
) -> None:
    write(store, fetch_at(1), RAW_PAGES, RECEIPTS, CDRS)
    assert not is_torn(store, DAY)
    write(store, fetch_at(2), RAW_PAGES)
    assert is_torn(store, DAY)
    assert not is_unmade(store, DAY)


@pytest.mark.parametrize("every", [False, True])
def test_a_day_with_a_damaged_file_is_to_be_made_again_unless_it_is_torn(
    store: Store, every: bool
) -> None:
    due = None if every else NO_CONTRACT.mark
    write(store, fetch_at(1), *ASKED_FOR, *MADE)
    assert to_make(store, due, DAY, DAY) == ([DAY] if every else [])
    cut_short(store.path(CDRS, DAY))
    assert to_make(store, due, DAY, DAY) == [DAY]
    write(store, fetch_at(2), RAW_PAGES)
    assert to_make(store, due, DAY, DAY) == []
    # Whether the day is torn is unknown without its receipt: the run that makes it says why.
    cut_short(store.path(RECEIPTS, DAY))
    assert to_make(store, due, DAY, DAY) == [DAY]


def test_an_aggregate_is_outdated_while_it_is_of_another_fetch_than_the_calls(
    store: Store,
) -> None:
    write(store, fetch_at(1), CDRS, CAMPAIGN_DAILY)
    assert outdated_days(store, CAMPAIGN_DAILY) == []
    os.utime(store.path(CAMPAIGN_DAILY, DAY), (0, 0))
    assert outdated_days(store, CAMPAIGN_DAILY) == []
    write(store, fetch_at(2), CDRS)
    assert outdated_days(store, CAMPAIGN_DAILY) == [DAY]


def test_other_file_times_in_a_copy_of_the_folder_are_no_other_fetch(store: Store) -> None:
    write(store, fetch_at(1), *ASKED_FOR, *MADE)
    os.utime(store.path(CDRS, DAY), (0, 0))
    assert not is_unmade(store, DAY)


def test_a_day_whose_files_name_no_source_is_believed(store: Store) -> None:
    write(store, {}, *ASKED_FOR, *MADE)
    assert not is_unmade(store, DAY)
    assert not is_torn(store, DAY)


def test_one_stale_day_is_singular_and_two_are_plural() -> None:
    assert stale_in_words([DAY]).startswith(f"1 day ({DAY}) was made under another contract")
    days = [DAY, DAY + timedelta(days=1)]
    assert " were made under another contract" in stale_in_words(days)
    assert "makes such days again" in stale_in_words(days)


def test_days_are_written_as_ranges() -> None:
    assert days_in_words([DAY]) == "1 day (2023-03-07)"
    text = days_in_words([DAY, NEXT, *(date(2024, n, 1) for n in range(1, 12))])
    assert text.startswith("13 days (2023-03-07 to 2023-03-08, 2024-01-01, ")
    assert text.endswith("2024-05-01 and 6 more ranges)")


# ---- readers


@pytest.fixture
def warned(mixed: Store) -> pl.LazyFrame:
    with pytest.warns(AnotherContract, match="2023-03-07"):
        return scan("cdrs")


#: column -> its type over both days, and its values: calls a, b, c of the first day, then of the
#: second.
TRUTH: dict[str, tuple[Any, list[Any]]] = {
    "additional_x": (pl.String(), ["27.5", "không", None, None, None, None]),
    "amount": (pl.Decimal(38, 9), [None, None, None, Decimal("27.5"), None, None]),
    "additional_when": (
        pl.String(),
        ["07/03/2023 10:05", None, None, "2023-03-07 10:05:00", None, None],
    ),
    "additional_n": (
        pl.String(),
        ["7", "12345678901234567890", None, "7", "12345678901234567890", None],
    ),
    "additional_d": (pl.String(), ["2023-03-07", "x", None, "2023-03-07", None, None]),
    "additional_t": (
        pl.String(),
        [
            *(None, "2023-03-07 10:00:00.25", "2023-03-07 10:00:00"),
            *(None, "2023-03-07 10:00:00.250000", "2023-03-07 10:00:00"),
        ],
    ),
    "additional_y": (pl.Int64(), [None, None, 1, None, None, 1]),
}


def test_old_and_new_days_read_as_one_table(warned: pl.LazyFrame) -> None:
    found = warned.sort("date", "id").collect()
    assert {name: found.schema[name] for name in TRUTH} == {
        name: dtype for name, (dtype, _) in TRUTH.items()
    }
    for name, (_, values) in TRUTH.items():
        assert found[name].to_list() == values, name


def test_old_and_new_days_read_as_one_view(mixed: Store) -> None:
    names = [*TRUTH]
    with duckdb.connect(catalog.build(mixed, CONTRACT).path, read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        rows = connection.sql(f"SELECT {', '.join(names)} FROM cdrs ORDER BY date, id").fetchall()
    for at, name in enumerate(names):
        assert [row[at] for row in rows] == TRUTH[name][1], name


@pytest.mark.usefixtures("mixed")
def test_days_of_one_contract_have_the_declared_types() -> None:
    frame = scan("cdrs", NEXT, NEXT).collect()
    for column, dtype in {
        "additional_when": pl.Datetime("us", "Asia/Ho_Chi_Minh"),
        "additional_d": pl.Date(),
        "additional_n": pl.Decimal(38, 9),
    }.items():
        assert frame.schema[column] == dtype
        assert frame[column].count() > 0


def test_integers_and_decimals_unite_as_decimals_and_never_as_floats(store: Store) -> None:
    write_day(store, DAY, {"a": '{"n": 9007199254740993}'})
    write_day(store, NEXT, {"b": '{"n": "0.1"}'}, CONTRACT)
    with pytest.warns(AnotherContract):
        frame = scan("cdrs", data_dir=store.root)
    found = frame.sort("id").collect()["additional_n"]
    assert found.to_list() == [Decimal(9007199254740993), Decimal("0.1")]
    with duckdb.connect(catalog.build(store).path, read_only=True) as connection:
        rows = connection.sql("SELECT additional_n FROM cdrs ORDER BY id").fetchall()
    assert [value for (value,) in rows] == found.to_list()


# ---- warnings


def test_reading_only_days_of_the_contract_in_force_warns_of_nothing(
    mixed: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_force(monkeypatch, mixed, OWN)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scan("cdrs", NEXT)
    with pytest.warns(AnotherContract, match=r"1 day \(2023-03-07\).*cdr-pipeline rebuild"):
        scan("cdrs")


def test_without_a_contract_only_a_mixture_of_days_warns(mixed: Store) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scan("cdrs", DAY, DAY)
        scan("cdrs", NEXT, NEXT)
    with pytest.warns(AnotherContract, match="2023-03-07"):
        scan("cdrs")


def test_the_catalogs_comments_name_stale_days_and_describe_declared_columns(mixed: Store) -> None:
    def comments(contract: Contract) -> tuple[str, dict[str, str]]:
        with duckdb.connect(catalog.build(mixed, contract).path, read_only=True) as connection:
            ((view,),) = connection.sql(
                "SELECT comment FROM duckdb_views() WHERE view_name = 'cdrs'"
            ).fetchall()
            columns = connection.sql(
                "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'cdrs'"
            ).fetchall()
        return view, dict(columns)

    view, columns = comments(CONTRACT)
    assert "1 day (2023-03-07) was made under another contract" in view
    assert columns["amount"].endswith("Amount due.")
    assert columns["additional_when"].endswith("Personal data.")
    write_day(mixed, DAY, OBJECTS, CONTRACT)
    view, _ = comments(CONTRACT)
    assert "another contract" not in view
