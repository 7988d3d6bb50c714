"""The columns of every dataset, compared with those promised to users (`PROMISED`)."""

import polars as pl
import pytest

from cdr_pipeline.record import FIELDS
from cdr_pipeline.tables.datasets import CDRS, DATASETS, RAW_PAGES, Dataset, schema_faults, shown
from cdr_pipeline.tables.types import free_type
from cdr_pipeline_tests.records import SAIGON

LOCAL = pl.Datetime("us", "Asia/Ho_Chi_Minh")
WALL_CLOCK = pl.Datetime("us")
DISPOSITIONS = (
    "answered user_busy ring_no_answer terminal_rejected terminal_unavailable number_fault"
    " network_failure not_attempt unknown"
)

PROMISED: dict[str, dict[str, pl.DataType]] = {
    "raw_pages": {
        **dict.fromkeys(("pass", "offset", "limit"), pl.Int64()),
        **dict.fromkeys(("window_start", "window_end"), WALL_CLOCK),
        "fetched_at": LOCAL,
        "body": pl.Binary(),
    },
    "cdr_receipts": {
        **dict.fromkeys(
            (
                *("reported_total", "received", "unique_records", "duplicates", "outside_window"),
                *("pages", "requests", "retries", "passes"),
            ),
            pl.Int64(),
        ),
        "verified": pl.Boolean(),
        **dict.fromkeys(("window_start", "window_end"), WALL_CLOCK),
        **dict.fromkeys(("started_at", "finished_at"), LOCAL),
        "api_host": pl.String(),
    },
    "additional_keys": {
        **dict.fromkeys(("campaign_uuid", "key", "column"), pl.String()),
        "records": pl.Int64(),
    },
    "cdr_rejects": {
        **dict.fromkeys(("id", "field", "value", "reason"), pl.String()),
        "payload": pl.Binary(),
    },
    "campaign_daily": {
        "campaign_uuid": pl.String(),
        "calls": pl.Int64(),
        **dict.fromkeys((*DISPOSITIONS.split(), "seizures", "effective"), pl.Int64()),
        **dict.fromkeys(("asr", "ner", "acd_seconds"), pl.Float64()),
        **dict.fromkeys(
            (
                *("duration_seconds", "billsec", "ring_seconds", "short_calls", "key_presses"),
                *("unique_leads", "unique_numbers"),
            ),
            pl.Int64(),
        ),
        **dict.fromkeys(("first_call_at", "last_call_at"), LOCAL),
    },
    "disposition_daily": {
        **dict.fromkeys(
            ("campaign_uuid", "disposition", "status", "cause", "sip_hangup_disposition"),
            pl.String(),
        ),
        **dict.fromkeys(("calls", "duration_seconds", "billsec"), pl.Int64()),
        "share": pl.Float64(),
    },
}


@pytest.mark.parametrize("name", PROMISED)
def test_a_dataset_has_the_promised_columns_in_the_promised_order(name: str) -> None:
    schema = dict(DATASETS[name].schema(SAIGON))
    assert {column: schema.get(column) for column in PROMISED[name]} == PROMISED[name]
    assert list(schema)[: len(PROMISED[name])] == list(PROMISED[name])


def test_a_call_has_the_documented_fields_then_ours_then_the_free_text() -> None:
    schema = CDRS.schema(SAIGON)
    assert list(schema)[: len(FIELDS)] == [field.label for field in FIELDS]
    assert list(schema.items())[len(FIELDS) :] == [
        *(("disposition", pl.String()), ("is_root", pl.Boolean()), ("hour", pl.Int8())),
        *(("ring_seconds", pl.Int64()), ("pdd_seconds", pl.Int64()), ("key_pressed", pl.Int8())),
        *(("additional", pl.String()), ("extra", pl.String())),
    ]


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS)
def test_every_dataset_and_column_is_described_and_named_once(dataset: Dataset) -> None:
    names = [column.name for column in dataset.columns]
    assert len(set(names)) == len(names)
    assert "date" not in names
    assert dataset.description.endswith(".")
    assert all(column.description.endswith(".") for column in dataset.columns)


def test_bodies_payloads_and_people_are_not_shown() -> None:
    assert shown(RAW_PAGES, RAW_PAGES.schema(SAIGON)) == list(RAW_PAGES.schema(SAIGON))[:-1]
    open_ = shown(CDRS, [*CDRS.schema(SAIGON), "additional_ten", "unheard_of"])
    assert {"id", "status", "duration", "disposition"} <= set(open_)
    hidden = {"to_number", "recording_url", "additional", "additional_ten", "extra", "unheard_of"}
    assert not hidden & set(open_)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("additional_ten", pl.String()),
        ("additional_ten_int", pl.String()),
        ("additional_ten__int", pl.Int64()),
        ("additional_ten_0a1b2c__float", pl.Float64()),
        ("additional_ten__bool", pl.Boolean()),
        ("additional_ten__json", pl.String()),
        ("additional_ten__list", None),
        ("ten__int", pl.Int64()),
        ("so_tien__decimal", pl.Decimal(38, 9)),
        ("ngay_sinh__date", pl.Date()),
        ("hen_goi__datetime", pl.Datetime("us", "UTC")),
    ],
)
def test_the_ending_of_a_free_column_tells_its_type(name: str, dtype: pl.DataType | None) -> None:
    assert free_type(name) == dtype


def test_a_frame_as_promised_fits_with_free_columns_on_top() -> None:
    fits = CDRS.schema(SAIGON) | {"additional_ten": pl.String(), "additional_tuoi__int": pl.Int64()}
    assert schema_faults(CDRS, pl.Schema(fits), SAIGON) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"duration": pl.Int32()}, "duration is Int32"),
        ({"time_started": pl.Datetime("us", "UTC")}, "time_started"),
        ({"time_ended": pl.Datetime("ms", "Asia/Ho_Chi_Minh")}, "time_ended"),
        ({"status": pl.Categorical()}, "status is Categorical"),
        ({"status": pl.Enum(["busy"])}, "status is Enum"),
        ({"note": pl.Null()}, "note is Null"),
        ({"additional_ten": pl.Int64()}, "additional_ten is Int64"),
        ({"additional_ten__int": pl.Float64()}, "additional_ten__int is Float64"),
        ({"additional_ten__struct": pl.Struct({"a": pl.Int64()})}, "additional_ten__struct"),
        ({"surprise": pl.String()}, "surprise"),
    ],
)
def test_a_column_of_another_type_or_name_is_a_misfit(
    change: dict[str, pl.DataType], word: str
) -> None:
    (fault,) = schema_faults(CDRS, pl.Schema(CDRS.schema(SAIGON) | change), SAIGON)
    assert word in fault


def test_a_missing_column_is_a_misfit() -> None:
    schema = CDRS.schema(SAIGON)
    del schema["billsec"]
    assert schema_faults(CDRS, schema, SAIGON) == ["billsec is missing, not Int64"]
