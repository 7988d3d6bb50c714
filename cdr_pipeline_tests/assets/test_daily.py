"""A day through all its layers: each day is recorded by itself and succeeds or fails by itself."""

import json
from datetime import date, timedelta
from typing import Any

import dagster as dg
import polars as pl
import pytest

from cdr_pipeline import checks
from cdr_pipeline.assets.daily import daily_calls
from cdr_pipeline.assets.layer import Loading
from cdr_pipeline.simulator import Chaos, Tenant, Vendor
from cdr_pipeline.tables.datasets import (
    ADDITIONAL_KEYS,
    CAMPAIGN_DAILY,
    CAMPAIGN_HOURLY,
    CDRS,
    DATASETS,
    DISPOSITION_DAILY,
    RAW_PAGES,
    RECEIPTS,
    REJECTS,
    Dataset,
)
from cdr_pipeline.tables.store import Store
from cdr_pipeline_tests.damage import cut_short
from cdr_pipeline_tests.desk import TOKEN, Desk, NewDesk, call
from cdr_pipeline_tests.runs import failure_message, last_evaluation

DAY = date(2023, 3, 7)


def test_a_day_becomes_every_dataset_with_exactly_the_vendors_calls(desk: NewDesk) -> None:
    at = desk()
    result = at.run("2023-03-07")
    assert result.success
    truth = [json.loads(text) for text in at.vendor.truth(DAY)]
    cdrs = at.store.read(CDRS, DAY)
    assert sorted(cdrs["id"]) == sorted(record["id"] for record in truth)
    assert at.store.read(REJECTS, DAY).is_empty()
    assert all(at.store.holds(dataset, DAY) for dataset in DATASETS.values())
    roots = cdrs.filter("is_root").height
    assert at.store.read(CAMPAIGN_DAILY, DAY)["calls"].sum() == roots
    assert at.store.read(DISPOSITION_DAILY, DAY)["calls"].sum() == roots


def test_every_dataset_and_every_check_yields_an_output(desk: NewDesk) -> None:
    """Dagster warns of each missing output, as if the proof had been skipped."""
    outputs = [
        event.step_output_data.output_name
        for event in desk().run("2023-03-07").all_events
        if event.event_type_value == "STEP_OUTPUT"
    ]
    assert sorted(outputs) == sorted(
        [*DATASETS, *(f"{check.asset}_{check.name}" for check in checks.ALL)]
    )


def test_raw_pages_hold_every_response_byte_for_byte(desk: NewDesk) -> None:
    at = desk(
        Vendor(
            tenant=Tenant(calls_per_day=120),
            token=TOKEN,
            keep_bodies=True,
            chaos=Chaos.parse("cap=30"),
        )
    )
    at.run("2023-03-07")
    kept = at.store.read(RAW_PAGES, DAY)["body"].to_list()
    sent = [exchange.body for exchange in at.vendor.requests if exchange.status == 200]
    assert sorted(kept) == sorted(sent)
    assert len(sent) > 3


def test_all_other_datasets_are_made_again_from_raw_pages_without_the_vendor(desk: NewDesk) -> None:
    at = desk()
    at.run("2023-03-07")
    before = {d.name: at.store.path(d, DAY).read_bytes() for d in (CDRS, CAMPAIGN_DAILY)}
    asked = len(at.vendor.requests)
    for dataset in (CDRS, REJECTS, CAMPAIGN_DAILY, DISPOSITION_DAILY):
        at.store.path(dataset, DAY).unlink()
    names = [CDRS.name, REJECTS.name, CAMPAIGN_DAILY.name, DISPOSITION_DAILY.name]
    assert at.run("2023-03-07", assets=names).success
    assert {d.name: at.store.path(d, DAY).read_bytes() for d in (CDRS, CAMPAIGN_DAILY)} == before
    assert len(at.vendor.requests) == asked


def test_an_empty_day_is_a_typed_file_without_rows(desk: NewDesk) -> None:
    at = desk(Vendor(records=[], token=TOKEN))
    assert at.run("2023-03-07").success
    for dataset in DATASETS.values():
        if dataset in (RAW_PAGES, RECEIPTS):  # these hold the response and the proof
            continue
        frame = at.store.read(dataset, DAY)
        assert frame.is_empty()
        assert frame.schema == dataset.schema(at.settings.zone)


def test_a_failed_day_fails_no_other_day(desk: NewDesk) -> None:
    twins = [call(1, "2023-03-07 10:00:00"), call(1, "2023-03-07 10:00:00")]
    others = [call(2, "2023-03-06 10:00:00"), call(3, "2023-03-08 10:00:00")]
    at = desk(Vendor(records=[*twins, *others], token=TOKEN))
    result = at.run("2023-03-06", "2023-03-08")
    assert not result.success
    good = {"2023-03-06", "2023-03-08"}
    for dataset in DATASETS.values():
        assert at.materialized(dataset.name) == good
    assert not at.store.holds(CDRS, DAY)
    assert [day for day, error in at.ended if error] == [DAY]
    message = failure_message(result)
    assert "2023-03-07" in message
    assert "not proved complete" in message


def test_a_damaged_file_of_a_day_used_for_comparison_fails_no_other_day(desk: NewDesk) -> None:
    at = desk()
    layers = [one.name for one in (RAW_PAGES, RECEIPTS, CDRS, REJECTS, ADDITIONAL_KEYS)]
    assert at.run("2023-02-28", assets=layers).success
    assert at.run("2023-03-06", assets=layers).success
    for dataset, day in ((CDRS, date(2023, 2, 28)), (ADDITIONAL_KEYS, date(2023, 3, 6))):
        cut_short(at.store.path(dataset, day))
    assert at.run("2023-03-07", assets=layers).success


def test_days_are_recorded_with_their_own_figures_and_checks(desk: NewDesk) -> None:
    at = desk()
    at.run("2023-03-06", "2023-03-07")
    for day in (DAY - timedelta(days=1), DAY):
        rows = at.metadata(CDRS, day)["dagster/partition_row_count"]
        assert rows.value == len(at.vendor.truth(day))
    assert evaluations(at, RAW_PAGES.name, "verified") == [
        (None, True),
        ("2023-03-07", True),
        ("2023-03-06", True),
    ]


def evaluations(at: Desk, asset: str, check: str) -> list[tuple[str | None, bool]]:
    """(partition, whether it passed) of each evaluation of a check, the newest first."""
    key = dg.AssetCheckKey(dg.AssetKey(asset), check)
    history = at.instance.event_log_storage.get_asset_check_execution_history(key, limit=100)
    return [(one.partition, one.status.value == "SUCCEEDED") for one in history]


def test_a_check_fails_for_the_run_if_it_failed_for_one_of_its_days(desk: NewDesk) -> None:
    odd = call(1, "2023-03-07 10:00:00", surprise="from the vendor")
    plain = [call(2, "2023-03-06 10:00:00"), call(3, "2023-03-08 10:00:00")]
    at = desk(Vendor(records=[odd, *plain], token=TOKEN))
    assert at.run("2023-03-06", "2023-03-08").success
    assert evaluations(at, CDRS.name, "documented_fields")[0] == (None, False)
    assert ("2023-03-07", False) in evaluations(at, CDRS.name, "documented_fields")
    assert evaluations(at, CDRS.name, "balance")[0] == (None, True)


def test_a_day_by_itself_records_every_check_once_for_its_partition(desk: NewDesk) -> None:
    at = desk()
    at.run("2023-03-07")
    recorded = {one.name: evaluations(at, one.asset, one.name) for one in checks.ALL}
    assert all(days == [("2023-03-07", True)] for days in recorded.values()), recorded


def test_metadata_hold_no_token_no_recording_and_no_whole_phone_number(desk: NewDesk) -> None:
    at = desk()
    result = at.run("2023-03-07")
    events = "".join(str(event) for event in result.all_events)
    cdrs = at.store.read(CDRS, DAY)
    assert TOKEN not in events
    for column in ("to_number", "recording_url", "fullname"):
        secrets = cdrs[column].drop_nulls().unique().to_list()
        assert secrets
        assert not [secret for secret in secrets if secret in events]


def test_a_number_or_a_link_in_an_open_field_is_cut_in_metadata(desk: NewDesk) -> None:
    number, link = "0912345678", "https://rec.example.vn/1.wav"
    fields = dict.fromkeys(
        ("receive_dest", "extension", "press_key", "status", "lead_uuid"), number
    )
    odd = call(1, "2023-03-07 10:00:00", sip_call_id=f"{number}@10.0.0.1", cause=link, **fields)
    at = desk(Vendor(records=[odd], token=TOKEN))
    events = "".join(str(event) for event in at.run("2023-03-07").all_events)
    assert at.store.read(CDRS, DAY)["receive_dest"].to_list() == [number]
    assert "091…" in events
    assert number not in events
    assert link not in events


@pytest.mark.parametrize("most", [256, 1])
def test_numbers_and_links_in_the_keys_of_a_lead_list_without_heading_are_cut(
    desk: NewDesk, most: int
) -> None:
    """The first lead's values become the keys of all other leads, and so names of columns."""
    number, spaced, link = "0912345678", "+84 987 654 321", "https://rec.example.vn/1.wav"
    headless = dict.fromkeys((number, spaced, link, "2023-03-07"), "of the next lead")
    headed = call(0, "2023-03-06 10:00:00", additional={"ten": "An"})
    records = [headed, call(1, "2023-03-07 10:00:00", additional=headless)]
    at = desk(Vendor(records=records, token=TOKEN), max_additional_columns=most)
    events = "".join(str(event) for event in at.run("2023-03-06", "2023-03-07").all_events)
    columns = at.store.read(ADDITIONAL_KEYS, DAY)["column"].to_list()
    assert {f"additional_{number}", "additional_84_987_654_321"} < set(columns)
    assert not [one for one in (number, spaced, "84_987_654_321", link) if one in events]
    assert all(shown in events for shown in ("091…", "additional_84_…", "2023_03_07"))


def test_a_preview_is_a_markdown_table_whatever_its_cells_hold(desk: NewDesk) -> None:
    odd = call(1, "2023-03-07 10:00:00", sip_call_id=f"a|b\n{'c' * 60}")
    at = desk(Vendor(records=[odd], token=TOKEN))
    at.run("2023-03-07")
    names, line, row = f"{at.metadata(CDRS, DAY)['preview'].value}".split("\n")
    assert names.startswith("| id | ")
    assert set(line) == set("|- ")
    assert f"| a\\|b {'c' * 35}… |" in row
    assert "| null |" in row


def test_a_call_that_ends_in_the_last_hours_of_9999_fails_no_day_in_any_zone(desk: NewDesk) -> None:
    """West of UTC, Python cannot convert such a time to UTC, and its preview failed the day."""
    endless = call(1, "2023-03-07 10:00:00", time_ended="9999-12-31 23:59:59")
    at = desk(Vendor(records=[endless], token=TOKEN), timezone="America/New_York")
    assert at.run("2023-03-07").success
    assert len(at.store.read(CAMPAIGN_HOURLY, DAY)) == 14


def test_the_page_of_checks_names_every_odd_day_of_a_run(desk: NewDesk) -> None:
    """The page shows the evaluation that began last, which was that of the last odd day only."""
    odd = [call(day, f"2023-03-0{day} 10:00:00", status="bận") for day in (6, 7)]
    at = desk(Vendor(records=odd, token=TOKEN))
    assert at.run("2023-03-06", "2023-03-08").success
    key = dg.AssetCheckKey(dg.AssetKey(CDRS.name), "known_status")
    evaluation = last_evaluation(at.instance, key)
    assert evaluation.description == (
        "2 of 3 days: 2023-03-06 to 2023-03-07. On 2023-03-06: 1 of 1 calls: bận (1)"
    )
    # Otherwise the page shows "Not Evaluated", if the last day was recorded in the same second.
    (recorded,) = at.instance.fetch_materializations(key.asset_key, limit=1).records
    assert evaluation.target_materialization_data
    assert evaluation.target_materialization_data.storage_id == recorded.storage_id


THIRTY = [call(number, f"2023-03-07 10:00:{number:02}") for number in range(30)]


@pytest.mark.parametrize(
    ("proved", "says", "another_vendor"),
    [
        (THIRTY[2:10], "8 calls where 10 are stored", False),
        (THIRTY[6:], "24 calls where 10 are stored (6 gone, 20 new)", True),
        (THIRTY[22:], "8 calls where 10 are stored (10 gone, 8 new)", True),
    ],
    ids=["fewer", "more, but others", "fewer, and others"],
)
def test_a_day_of_fewer_or_other_calls_is_kept_unless_the_run_accepts_it(
    desk: NewDesk, proved: list[dict[str, Any]], says: str, another_vendor: bool
) -> None:
    """From a wrong host, every call was replaced, and only a figure in the metadata showed it."""
    desk(Vendor(records=THIRTY[:10], token=TOKEN)).run("2023-03-07")
    at = desk(Vendor(records=proved, token=TOKEN))
    assert not at.run("2023-03-07").success
    message = str(at.ended[0][1])
    assert says in message
    assert ("Is it the same vendor (CDR_API_BASE_URL)?" in message) == another_vendor
    assert len(at.store.read(CDRS, DAY)) == 10
    assert at.run("2023-03-07", accept_shrink=True).success
    assert len(at.store.read(CDRS, DAY)) == len(proved)


def test_a_day_whose_pages_are_gone_is_compared_with_its_receipt(desk: NewDesk) -> None:
    at = desk(Vendor(records=THIRTY[:10], token=TOKEN))
    at.run("2023-03-07")
    at.store.path(RAW_PAGES, DAY).unlink()
    fewer = desk(Vendor(records=THIRTY[2:10], token=TOKEN))
    assert not fewer.run("2023-03-07").success
    assert "8 calls where 10 are stored (its raw_pages are gone)" in str(fewer.ended[0][1])
    assert len(at.store.read(CDRS, DAY)) == 10
    assert at.run("2023-03-07").success


def test_a_second_fetch_counts_new_changed_and_gone_calls(desk: NewDesk) -> None:
    desk(Vendor(records=THIRTY[:10], token=TOKEN)).run("2023-03-07")
    edited = [{**THIRTY[1], "note": "gọi lại"}, *THIRTY[2:10], call(50, "2023-03-07 23:59:59")]
    at = desk(Vendor(records=edited, token=TOKEN))
    assert at.run("2023-03-07").success
    receipt = at.store.read(RECEIPTS, DAY).row(0, named=True)
    assert (receipt["new_calls"], receipt["changed_calls"], receipt["gone_calls"]) == (1, 1, 1)


def test_records_in_equal_calls_and_whole_rejects_on_a_messy_day(desk: NewDesk) -> None:
    vendor = Vendor(tenant=Tenant(calls_per_day=300), token=TOKEN, chaos=Chaos.parse("messy=0.5"))
    at = desk(vendor, page_size=500)
    assert at.run("2023-03-07").success
    rejects = at.store.read(REJECTS, DAY)
    whole = rejects.filter(pl.col("field").is_null())
    receipt = at.store.read(RECEIPTS, DAY).row(0, named=True)
    records = receipt["unique_records"] - receipt["outside_window"]
    assert records == len(at.vendor.truth(DAY))
    assert records == len(at.store.read(CDRS, DAY)) + len(whole)
    assert len(whole) > 0
    assert set(whole["payload"]) <= set(at.vendor.truth(DAY))


@pytest.mark.parametrize("token", ["", "wrong"])
def test_a_missing_or_wrong_token_stops_the_run_with_one_message(desk: NewDesk, token: str) -> None:
    at = desk(Vendor(tenant=Tenant(calls_per_day=20), token=TOKEN), api_token=token or None)
    result = at.run("2023-03-06", "2023-03-08")
    assert not result.success
    assert "CDR_API_TOKEN" in failure_message(result)
    assert not (at.settings.data_dir / CDRS.name).exists()
    assert len(at.vendor.requests) <= 1


def test_a_layer_without_its_source_says_so(desk: NewDesk) -> None:
    at = desk()
    assert not at.run("2023-03-07", assets=[CDRS.name]).success
    assert "raw_pages of 2023-03-07 is not there" in str(at.ended[0][1])


def test_checks_without_assets_check_the_newest_day_and_load_nothing(
    desk: NewDesk,
) -> None:
    at = desk()
    at.run("2023-03-06", "2023-03-07")
    asked = len(at.vendor.requests)
    job = dg.Definitions(
        assets=[daily_calls(at.settings)],
        jobs=[dg.define_asset_job("look", dg.AssetSelection.all_asset_checks())],
        resources={"loading": Loading(settings=lambda **_: at.settings)},
    ).resolve_job_def("look")
    result = job.execute_in_process(instance=at.instance)
    assert result.success
    evaluations = result.get_asset_check_evaluations()
    assert {one.partition for one in evaluations} == {"2023-03-07"}
    assert {one.check_name for one in evaluations} == {check.name for check in checks.ALL}
    assert len(at.vendor.requests) == asked


def test_a_total_that_was_proved_is_not_doubted_again_in_a_later_run(desk: NewDesk) -> None:
    at = desk(Vendor(tenant=Tenant(calls_per_day=200), token=TOKEN), page_size=500)
    at.run("2023-03-08")
    first = len(at.vendor.requests)
    at.run("2023-03-06")
    assert len(at.vendor.requests) - first == 1 < first


@pytest.mark.parametrize(
    "chaos", ["ceiling=60:empty", "unstable", "repeat", "max-range=6", "cap=7"]
)
def test_a_day_proved_in_parts_is_whole_in_every_dataset(desk: NewDesk, chaos: str) -> None:
    faults = Chaos.parse(chaos, seed=5)
    at = desk(Vendor(tenant=Tenant(calls_per_day=150), token=TOKEN, chaos=faults))
    assert at.run("2023-03-07").success, at.ended
    truth = sorted(json.loads(text)["id"] for text in at.vendor.truth(DAY))
    assert sorted(at.store.read(CDRS, DAY)["id"]) == truth
    again = at.run("2023-03-07")
    assert again.success, at.ended
    receipt = at.store.read(RECEIPTS, DAY).row(0, named=True)
    assert (receipt["new_calls"], receipt["changed_calls"], receipt["gone_calls"]) == (0, 0, 0)


def test_figures_of_a_day_are_numbers_so_that_dagster_plots_them(desk: NewDesk) -> None:
    at = desk()
    at.run("2023-03-07", "2023-03-08")

    def plotted(dataset: Dataset) -> set[str]:
        metadata = at.metadata(dataset, DAY + timedelta(days=1))
        return {name for name, one in metadata.items() if isinstance(one.value, (int, float))}

    assert plotted(RAW_PAGES) >= {"bytes", "seconds", "requests", "retries", "reported_total"}
    assert plotted(CDRS) >= {"bytes", "answered", "rejects", "additional_columns"}
    assert plotted(ADDITIONAL_KEYS) >= {"keys", "new_keys"}
    assert plotted(CAMPAIGN_DAILY) >= {"calls", "asr", "ner", "acd_seconds"}


def test_keys_are_compared_with_those_of_the_last_stored_day_before(
    desk: NewDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To find that day, each day of a backfill listed all stored days of the years before."""
    at, looked_through, days = desk(), list[Dataset](), Store.days

    def telling(store: Store, dataset: Dataset, *args: Any, **kwargs: Any) -> list[date]:
        looked_through.append(dataset)
        return days(store, dataset, *args, **kwargs)

    monkeypatch.setattr(Store, "days", telling)
    for day, through_all in (("2023-03-06", True), ("2023-03-07", False), ("2023-03-09", True)):
        looked_through.clear()
        at.run(day)
        (record,) = at.instance.fetch_materializations(dg.AssetKey("additional_keys"), 1).records
        assert record.asset_materialization is not None
        assert ("new_keys" in record.asset_materialization.metadata) == (day > "2023-03-06")
        assert (ADDITIONAL_KEYS in looked_through) == through_all
