"""Drills of what goes wrong in a year of operation: each ends in right data, or in one failure that
says what happened, what is safe and what to do.

Other drills: a run killed at any moment (`test_killed`), a machine stopped during a backfill
(`test_launcher` for the run, here for its days), a vendor that lies, drifts or cuts
(`api.test_listing_laws`), nights without the vendor and late calls over weeks (`automation`).
"""

import json
import os
import shutil
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from cdr_pipeline.assets import aggregates
from cdr_pipeline.assets.partitions import partitions
from cdr_pipeline.settings import Settings
from cdr_pipeline.simulator import Tenant, Vendor, serve
from cdr_pipeline.tables.datasets import CAMPAIGN_DAILY, CDRS, DATASETS, RAW_PAGES
from cdr_pipeline.window import every_day, ranges
from cdr_pipeline_tests.damage import full
from cdr_pipeline_tests.desk import TOKEN, Desk, NewDesk, call
from cdr_pipeline_tests.runs import failure_message

FIRST, LAST = date(2023, 3, 6), date(2023, 3, 9)


def missing(at: Desk, first: date, last: date) -> list[date]:
    """The days that "Failed and missing" in the UI would take, from `first` to `last`."""
    done = at.materialized(CDRS.name)
    return [day for day in every_day(first, last) if f"{day}" not in done]


def is_exact(at: Desk, day: date) -> bool:
    """Whether `cdrs` has exactly the vendor's calls, and `campaign_daily` counts their roots."""
    truth = sorted(json.loads(text)["id"] for text in at.vendor.truth(day))
    cdrs = at.store.read(CDRS, day)
    aggregated = at.store.read(CAMPAIGN_DAILY, day)["calls"].sum()
    return sorted(cdrs["id"]) == truth and aggregated == cdrs["is_root"].sum()


def contents(at: Desk, day: date) -> dict[str, bytes]:
    return {one.name: at.store.path(one, day).read_bytes() for one in DATASETS.values()}


class Expiring(Vendor):
    """A vendor that accepts the token for `answers` requests."""

    def __init__(self, answers: int, **options: Any) -> None:
        super().__init__(tenant=Tenant(calls_per_day=60), token=TOKEN, **options)
        self.left = answers

    def _admits(self, token: str) -> bool:
        self.left -= 1
        return self.left >= 0 and super()._admits(token)


def test_a_token_that_expires_in_the_night_fails_only_the_days_after_it(
    desk: NewDesk,
) -> None:
    """At 03:10 the token's 160 days end, in the middle of a load of four days."""
    vendor = Expiring(answers=4)
    at = desk(vendor, page_size=500)
    message = failure_message(at.run(f"{FIRST}", f"{LAST}"))
    assert message.count("does not accept CDR_API_TOKEN") == 1, "one cause, told once"
    left = missing(at, FIRST, LAST)
    assert 0 < len(left) < 4
    assert f"{ranges(left)}: " in message
    assert all(is_exact(at, day) for day in every_day(FIRST, LAST) if day not in left)

    vendor.left = 10**6  # a new token, in the morning
    assert at.run(f"{left[0]}", f"{left[-1]}").success
    assert all(is_exact(at, day) for day in every_day(FIRST, LAST))


def test_days_are_loaded_after_the_vendor_was_down_for_six_hours(
    desk: NewDesk,
) -> None:
    """No connection from 01:30 to 07:30: each run of the night ends soon, with one message."""
    at = desk()
    assert at.run(f"{FIRST}").success
    down = Desk(
        at.settings.model_copy(update={"api_base_url": "http://127.0.0.1:1"}),
        at.vendor,
        at.instance,
    )
    asked = len(at.vendor.requests)
    for _hour in range(6):
        message = failure_message(down.run(f"{FIRST + timedelta(1)}", f"{LAST}"))
        assert message.count("could not be reached") == 1
    assert len(at.vendor.requests) == asked
    assert is_exact(at, FIRST)
    left = missing(at, FIRST, LAST)
    assert left == every_day(FIRST, LAST)[1:]
    assert at.run(f"{left[0]}", f"{left[-1]}").success
    assert all(is_exact(at, day) for day in every_day(FIRST, LAST))


def test_a_full_disk_leaves_every_day_old_or_new_and_says_that_it_is_full(
    desk: NewDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full while a stored day is loaded again together with a new one."""
    at = desk()
    at.run(f"{FIRST}")
    before = contents(at, FIRST)
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(pq.ParquetWriter, "write_table", full)
        message = failure_message(at.run(f"{FIRST}", f"{FIRST + timedelta(1)}"))
    assert "No space left on device" in message
    assert "Every partition holds its old content or its new" in message
    assert contents(at, FIRST) == before
    assert not list((at.settings.data_dir / ".staging").glob("*.parquet"))
    assert at.run(f"{FIRST}", f"{FIRST + timedelta(1)}").success
    assert is_exact(at, FIRST + timedelta(1))


def test_a_disk_that_fills_up_after_cdrs_is_written_does_not_say_unchanged(
    desk: NewDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = desk()
    at.run(f"{FIRST}")
    before = contents(at, FIRST)[CDRS.name]
    monkeypatch.setattr(aggregates, "_written", full)
    message = failure_message(at.run(f"{FIRST}"))
    assert "No space left on device. Every partition holds its old content or its new" in message
    assert "unchanged" not in message
    assert contents(at, FIRST)[CDRS.name] != before  # its metadata name another fetch


def test_a_data_folder_that_cannot_be_written_fails_before_the_vendor_is_asked(
    desk: NewDesk, tmp_path: Path
) -> None:
    """For instance, a volume is not mounted, or the folder belongs to another user."""
    (tmp_path / "file").touch()
    at = desk(data_dir=tmp_path / "file" / "data")
    message = failure_message(at.run(f"{FIRST}", f"{LAST}"))
    assert "CDR_DATA_DIR" in message
    assert not at.vendor.requests


def test_a_backfill_that_was_cut_off_goes_on_with_the_missing_days(desk: NewDesk) -> None:
    """The daemon is restarted during the backfill; the run ends with it (see `test_launcher`)."""

    class CutOff(list[Any]):
        def append(self, ended: Any) -> None:
            super().append(ended)
            if len(self) == 2:
                raise SystemExit

    at = desk()
    at.ended = CutOff()
    assert not at.run(f"{FIRST}", f"{LAST}").success
    done = [day for day, _ in at.ended]
    at.ended = []
    left = missing(at, FIRST, LAST)
    assert left == every_day(FIRST, LAST)[2:]
    fetched = {day: at.store.path(RAW_PAGES, day).stat().st_mtime_ns for day in done}
    assert at.run(f"{left[0]}", f"{left[-1]}").success
    assert all(is_exact(at, day) for day in every_day(FIRST, LAST))
    assert {day: at.store.path(RAW_PAGES, day).stat().st_mtime_ns for day in done} == fetched


def test_a_partition_deleted_by_hand_fails_its_readers_and_is_made_again(desk: NewDesk) -> None:
    """Dagster still shows the deleted day green; a run that needs it says what to do."""
    at = desk()
    at.run(f"{FIRST}")
    shutil.rmtree(at.store.path(CDRS, FIRST).parent)
    message = failure_message(at.run(f"{FIRST}", assets=[RAW_PAGES.name, CAMPAIGN_DAILY.name]))
    assert f"cdrs of {FIRST} is not there. Every partition holds its old" in message
    assert "unchanged" not in message, "its raw_pages were fetched anew"
    asked = len(at.vendor.requests)
    below = [name for name in DATASETS if name not in (RAW_PAGES.name, "cdr_receipts")]
    assert at.run(f"{FIRST}", assets=below).success
    assert is_exact(at, FIRST)
    assert len(at.vendor.requests) == asked, "made again from raw_pages"

    shutil.rmtree(at.store.path(RAW_PAGES, FIRST).parent)
    assert at.run(f"{FIRST}").success
    assert is_exact(at, FIRST)


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_the_hosts_zone_changes_nothing(zone: str, tmp_path: Path) -> None:
    """On a container in UTC and a laptop in New York, the day is a day of the vendor's zone."""
    with serve(Vendor(tenant=Tenant(calls_per_day=60), token=TOKEN)) as running:
        environment = {
            "TZ": zone,
            "CDR_API_BASE_URL": running.base_url,
            "CDR_API_TOKEN": TOKEN,
            "CDR_REQUESTS_PER_SECOND": "0",
            "DAGSTER_HOME": "",
        }
        command = "from cdr_pipeline.cli import program; program()"
        loaded = subprocess.run(
            [sys.executable, "-c", command, "run", "--from", "2023-03-12", "--to", "2023-03-12"],
            cwd=tmp_path,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert loaded.returncode == 0, loaded.stderr
        truth = [json.loads(text) for text in running.vendor.truth(date(2023, 3, 12))]
    cdrs = pl.read_parquet(tmp_path / "data" / "cdrs" / "date=2023-03-12" / "part-0.parquet")
    starts = cdrs.select("id", pl.col("time_started").dt.strftime("%Y-%m-%d %H:%M:%S"))
    assert dict(starts.rows()) == {one["id"]: one["time_started"] for one in truth}


def test_a_leap_day_is_loaded_like_any_day(desk: NewDesk) -> None:
    leap = date(2024, 2, 29)
    assert f"{leap}" in partitions(Settings()).get_partition_keys()
    at = desk()
    assert at.run("2024-02-28", "2024-03-01").success
    assert at.store.days(CDRS) == [leap - timedelta(1), leap, leap + timedelta(1)]
    assert all(is_exact(at, day) for day in at.store.days(CDRS))


def test_at_years_end_each_call_is_in_the_year_it_began_in(desk: NewDesk) -> None:
    eve, new_year = date(2023, 12, 31), date(2024, 1, 1)
    calls = [
        call(1, "2023-12-31 23:59:59", time_ended="2024-01-01 00:00:09"),
        call(2, "2024-01-01 00:00:00"),
    ]
    at = desk(Vendor(records=calls, token=TOKEN))
    assert at.run(f"{eve}", f"{new_year}").success
    assert at.store.read(CDRS, eve)["id"].to_list() == ["call-1"]
    assert at.store.read(CDRS, new_year)["id"].to_list() == ["call-2"]
