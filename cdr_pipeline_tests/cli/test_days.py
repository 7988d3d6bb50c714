"""`run`, `rebuild` and `status`: which days they take, their messages and exit codes."""

import os
import re
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from io import StringIO
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Never

import polars as pl
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from sqlalchemy.exc import OperationalError

from cdr_pipeline.assets import aggregates, cdrs
from cdr_pipeline.assets.layer import Made, Work
from cdr_pipeline.errors import CdrError
from cdr_pipeline.simulator import Chaos, Tenant, Vendor, serve
from cdr_pipeline.simulator.source import Call
from cdr_pipeline.tables.flattening.crew import Crew
from cdr_pipeline.tables.provenance import MADE
from cdr_pipeline_tests.cli.typed import TOKEN, Type, declared, interrupt, small
from cdr_pipeline_tests.damage import cut_short
from cdr_pipeline_tests.hook import Hook

LOAD = ("run", "--from", "2023-03-07", "--to", "2023-03-07")


def liar() -> Vendor:
    """A vendor whose totals are higher by seven than what it lists."""
    return small(chaos=Chaos.parse("lying-total=7:1"))


def test_run_loads_both_days_included_and_status_shows_them(type_: Type) -> None:
    done = type_("run", "--from", "2023-03-06", "--to", "2023-03-07", vendor=small())
    assert done.exit_code == 0, done.output
    days = sorted(path.name for path in Path("data/cdrs").iterdir())
    assert days == ["date=2023-03-06", "date=2023-03-07"]
    status = type_("status")
    calls = pl.read_parquet("data/cdrs/date=2023-03-07/*.parquet").height
    assert f"2023-03-07 │{calls:>6,} │" in status.output
    assert "yes" in status.output
    assert "changed" not in status.output, "of no day is there anything to say"
    piped = type_("status", COLUMNS="80").output
    assert sum("yes" in line for line in piped.splitlines()) == 2
    assert sum("│" in line for line in piped.splitlines()) == 2, "a line a day"


@pytest.mark.parametrize("vendor", [small, liar])
def test_the_bar_says_at_once_whether_a_day_failed(
    type_: Type, monkeypatch: pytest.MonkeyPatch, vendor: Callable[[], Vendor]
) -> None:
    """While the vendor was down, the bar said `Loaded` for half an hour."""
    shown = StringIO()
    terminal = Console(file=shown, force_terminal=True)
    monkeypatch.setattr("cdr_pipeline.cli.shared.err", terminal)
    type_(*LOAD, vendor=vendor())
    assert ("Loaded 2023-03-07" in shown.getvalue()) == (vendor is small)
    assert ("Failed 2023-03-07" in shown.getvalue()) == (vendor is liar)


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"CDR_API_TOKEN": "wrong"}, "does not accept CDR_API_TOKEN"),
        ({"CDR_API_BASE_URL": "http://127.0.0.1:1"}, "could not be reached"),
        ({"CDR_API_BASE_URL": ""}, "CDR_API_BASE_URL is missing"),
        ({"CDR_PAGE_SIZE": "0"}, "CDR_PAGE_SIZE"),
        ({"DAGSTER_HOME": "/dev/null/home"}, "DAGSTER_HOME: /dev/null/home cannot be made"),
        ({"CDR_DATA_DIR": "/dev/null/data"}, "CDR_DATA_DIR: /dev/null/data cannot"),
    ],
)
def test_a_fault_that_a_person_can_mend_is_one_message_without_a_traceback(
    type_: Type, environment: dict[str, str], says: str
) -> None:
    done = type_("run", "--from", "2023-03-06", "--to", "2023-03-07", vendor=small(), **environment)
    assert done.exit_code == 1
    assert done.output.count(says) == 1
    assert "Traceback" not in done.output
    assert TOKEN not in done.output
    assert not Path("data/cdrs").exists()


@pytest.mark.parametrize(
    ("first", "last", "says"),
    [
        ("2023-03-08", "2023-03-07", "is after"),
        ("2022-12-31", "2023-01-01", "from 2023-01-01"),
        ("2023-03-07", "2999-01-01", "last complete day"),
    ],
)
def test_days_that_cannot_be_loaded_are_refused_at_once(
    type_: Type, first: str, last: str, says: str
) -> None:
    done = type_("run", "--from", first, "--to", last, vendor=small())
    assert done.exit_code == 2
    assert says in done.output.replace("\n", " ")


def test_a_day_that_failed_is_named_once(type_: Type) -> None:
    assert type_(*LOAD, vendor=small()).exit_code == 0
    fewer = Vendor(tenant=Tenant(calls_per_day=20), token=TOKEN)
    done = type_(*LOAD, vendor=fewer)
    assert "Failed: 2023-03-07: the vendor now proves" in done.output


def test_a_run_that_is_interrupted_says_what_is_safe_and_what_to_do(
    type_: Type, monkeypatch: pytest.MonkeyPatch, hook: tuple[str, type[Hook]]
) -> None:
    def interrupted(work: Work, crew: Crew) -> Iterator[Made]:
        if work.day > date(2023, 3, 6):
            interrupt()
        yield from build(work, crew)

    build, (url, webhook) = cdrs.build, hook
    monkeypatch.setattr(cdrs, "build", interrupted)
    words = ("run", "--from", "2023-03-06", "--to", "2023-03-08")
    done = type_(*words, vendor=small(), CDR_ALERT_URL=url)
    assert done.exit_code == 1
    says = (
        "2023-03-07 to 2023-03-08: it was interrupted. Days that are loaded stay so; run it again"
    )
    assert f"Failed: {says}" in done.output
    assert "dagster" not in done.output
    (alert,) = webhook.messages
    assert alert["days"] == ["2023-03-07", "2023-03-08"]
    assert alert["cause"].startswith(says)


@dataclass
class Reached:
    """The calls of a vendor; the first request for them interrupts the process group `group`."""

    group: int = 0

    def between(self, start: datetime | None, end: datetime | None) -> Sequence[Call]:
        if self.group:
            os.killpg(self.group, signal.SIGINT)
        self.group = 0
        return Tenant(calls_per_day=60).between(start, end)


def test_ctrl_c_in_a_terminal_shows_no_traceback_of_any_process() -> None:
    """A terminal interrupts every process of the run, and each could print a traceback."""
    reached = Reached()
    with serve(Vendor(tenant=reached, token=TOKEN)) as running:
        command = [sys.executable, "-c", "from cdr_pipeline.cli import program; program()", "run"]
        settings = {"CDR_API_BASE_URL": running.base_url, "CDR_API_TOKEN": TOKEN}
        with Popen(
            [*command, "--from", "2023-03-06", "--to", "2023-03-07"],
            stderr=PIPE,
            text=True,
            env=os.environ | settings,
            start_new_session=True,
        ) as process:
            reached.group = process.pid
            said = process.communicate()[1]
    assert process.returncode == 1
    assert "it was interrupted. Days that are loaded stay so" in said
    assert "Traceback" not in said


def test_an_interrupt_before_dagster_has_begun_gives_the_same_message(
    type_: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdr_pipeline.cli.materialize.instance_here", interrupt)
    done = type_("run", "--from", "2023-03-06", "--to", "2023-03-07", vendor=small())
    assert done.exit_code == 1
    assert done.output.strip() == (
        "Error: It was interrupted. Days that are loaded stay so; run it again for the rest."
    )


def test_a_history_that_cannot_be_written_is_an_error_of_one_sentence(
    type_: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a full disk below DAGSTER_HOME, SQLAlchemy printed two hundred lines."""

    def full(*_: object, **__: object) -> Never:
        raise OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))

    monkeypatch.setattr("cdr_pipeline.history._Events.store_event_batch", full)
    done = type_("run", "--from", "2023-03-06", "--to", "2023-03-07", vendor=small())
    assert done.exit_code == 1
    (message,) = (line for line in done.output.splitlines() if line.startswith("Error:"))
    assert message.startswith("Error: Dagster's history in ")
    assert "cannot be read or written: database or disk is full. Every partition" in message
    assert "Traceback" not in done.output


def test_an_interrupt_ends_every_range_and_leaves_the_catalog(
    loaded: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    def interrupted(work: Work, _: object) -> None:
        begun.append(work.day)
        interrupt()

    monkeypatch.setattr("cdr_pipeline.assets.cdrs.build", interrupted)
    Path("data/raw_pages/date=2023-03-07/part-0.parquet").unlink()
    Path("data/cdrs.duckdb").unlink()
    done = loaded("rebuild", "--all")
    assert done.exit_code == 1
    assert "Failed: 2023-03-06, 2023-03-08: it was interrupted" in done.output
    assert begun == [date(2023, 3, 6)]
    assert not Path("data/cdrs.duckdb").exists()


def test_rebuild_names_failures_of_days_of_aggregates_and_of_the_catalog(
    loaded: Type, monkeypatch: pytest.MonkeyPatch, hook: tuple[str, type[Hook]]
) -> None:
    def broken(*_: object, **__: object) -> Iterator[tuple[date, pl.DataFrame]]:
        raise CdrError("it broke")

    Path("data/cdr_receipts/date=2023-03-07/part-0.parquet").unlink()
    monkeypatch.setitem(aggregates._LOOKING_BACK, "lead_attempts", broken)
    monkeypatch.setattr("cdr_pipeline.assets.catalog.build", broken)
    url, webhook = hook
    done = loaded("rebuild", CDR_ALERT_URL=url, CDR_CONTRACT="contract.toml")
    assert done.exit_code == 1
    causes = [
        "2023-03-06, 2023-03-08: lead_attempts: it broke All else of these days is made.",
        "2023-03-07: cdr_receipts of 2023-03-07 is not there",
        "cdrs.duckdb is not made anew: it broke",
    ]
    assert all(f"Failed: {cause}" in done.output for cause in causes)
    (alert,) = webhook.messages
    assert all(cause in alert["cause"] for cause in causes)


#: A file that comes from the vendor, and a file that can be made from it.
DAMAGED = ("raw_pages/date=2023-03-07", "cdrs/date=2023-03-08")


@pytest.mark.parametrize("dataset", ["raw_pages", "cdr_receipts"])
def test_a_damaged_file_from_the_vendor_is_named_and_loaded_again_after_it_is_deleted(
    loaded: Type, dataset: str
) -> None:
    path = Path(f"data/{dataset}/date=2023-03-07/part-0.parquet")
    cut_short(path)
    again = loaded(*LOAD, vendor=small())
    assert again.exit_code == 1
    assert f"Failed: 2023-03-07: {path} cannot be read" in again.output
    assert again.output.count("Failed:") == 1
    status = loaded("status")
    assert status.exit_code == 1
    assert f"{path} cannot be read" in status.output
    path.unlink()
    assert loaded(*LOAD, vendor=small()).exit_code == 0
    assert loaded("status").exit_code == 0


@pytest.mark.parametrize("deleted", [True, False])
def test_damaged_files_that_rebuild_makes_are_named_and_made_again(
    loaded: Type, deleted: bool
) -> None:
    paths = [Path(f"data/{made.name}/date=2023-03-07/part-0.parquet") for made in MADE]
    whole = [pl.read_parquet(path) for path in paths]
    cut_short(*paths)
    status = loaded("status")
    assert status.exit_code == 1
    assert all(f"{path}" in status.output for path in paths)
    for path in paths if deleted else []:
        path.unlink()
    assert loaded("rebuild").exit_code == 0
    assert all(pl.read_parquet(path).equals(was) for path, was in zip(paths, whole, strict=True))
    assert loaded("status").exit_code == 0


@pytest.mark.parametrize("every", [(), ("--all",)])
def test_rebuild_makes_the_other_days_though_a_file_of_one_is_damaged(
    loaded: Type, every: tuple[str, ...]
) -> None:
    damaged = {name: Path(f"data/{name}/part-0.parquet") for name in DAMAGED}
    cut_short(*damaged.values())
    done = loaded("rebuild", *every, CDR_CONTRACT="contract.toml")
    assert done.exit_code == 1
    raw_pages, cdrs = damaged.values()
    assert f"Failed: 2023-03-07: {raw_pages} cannot be read" in done.output
    assert f"{cdrs} cannot be read" not in done.output, "it is made of raw_pages, which are whole"
    assert declared("2023-03-06")
    assert declared("2023-03-08")
    assert not declared("2023-03-07")


def test_status_names_every_damaged_file_and_lists_the_other_days(loaded: Type) -> None:
    last = Path("data/cdr_receipts/date=2023-03-08/part-0.parquet")
    paths = [Path(f"data/{name}/date=2023-03-06/part-0.parquet") for name in ("cdrs", "raw_pages")]
    cut_short(*paths)
    # The footer stays whole, so the damage shows only when the rows are read.
    content = last.read_bytes()
    last.write_bytes(b"PAR1" + bytes(100) + content[104:])
    status = loaded("status", CDR_CONTRACT="contract.toml")
    assert status.exit_code == 1
    assert "2 days (2023-03-07 to 2023-03-08) were made under another" in status.output
    assert re.findall(r"(2023-03-0\d) │ +(\S+) │", status.output) == [
        ("2023-03-06", "unreadable"),
        ("2023-03-07", f"{pl.read_parquet('data/cdrs/date=2023-03-07').height}"),
        ("2023-03-08", "unreadable"),
    ]
    assert all(f"{path}" in status.output for path in (*paths, last))
    assert "Delete such a file" in status.output


def test_a_failed_run_sends_an_alert_as_one_that_dagster_launched(
    type_: Type, hook: tuple[str, type[Hook]]
) -> None:
    url, webhook = hook
    assert type_(*LOAD, vendor=liar(), CDR_ALERT_URL=url).exit_code == 1
    (message,) = webhook.messages
    assert message["days"] == ["2023-03-07"]
    assert "not proved complete" in message["cause"]
    assert type_(*LOAD, vendor=small(), CDR_ALERT_URL=url).exit_code == 0
    assert len(webhook.messages) == 1


def test_an_alert_that_cannot_be_sent_is_named_beside_the_failure(type_: Type) -> None:
    done = type_(*LOAD, vendor=liar(), CDR_ALERT_URL="http://127.0.0.1:9/s3cret-path")
    assert done.exit_code == 1
    assert "Nobody was told" in done.output
    assert "not proved complete" in done.output
    assert "s3cret-path" not in done.output


def test_rebuild_makes_stale_days_again_without_the_vendor(loaded: Type) -> None:
    status = loaded("status", CDR_CONTRACT="contract.toml").output
    assert "3 days (2023-03-06 to 2023-03-08) were made under another contract" in status
    assert status.count("other rules") == 3
    done = loaded("rebuild", "--to", "2023-03-06", CDR_CONTRACT="contract.toml")
    assert done.exit_code == 0, done.output
    assert [declared(f"2023-03-0{day}") for day in (6, 7, 8)] == [True, False, False]
    status = loaded("status", CDR_CONTRACT="contract.toml").output
    assert "2 days (2023-03-07 to 2023-03-08)" in status
    assert loaded("rebuild", CDR_CONTRACT="contract.toml").exit_code == 0
    assert all(declared(f"2023-03-0{day}") for day in (6, 7, 8))
    assert "other" not in loaded("status", CDR_CONTRACT="contract.toml").output
    again = loaded("rebuild", CDR_CONTRACT="contract.toml")
    assert again.exit_code == 0
    assert "No day needs to be made again" in again.output


def test_a_day_made_by_older_rules_than_its_aggregates_is_reported_once(loaded: Type) -> None:
    """When an earlier day is loaded, the attempts of a later day are recounted, by newer rules."""
    path = Path("data/cdrs/date=2023-03-07/part-0.parquet")
    calls = pq.read_table(path)
    about = calls.schema.metadata
    pq.write_table(calls.replace_schema_metadata(about | {b"cdr_rules": b"1"}), path)
    status = loaded("status").output
    assert "1 day (2023-03-07) was made under another contract or zone" in status
    assert "not all made of it since" not in status


@pytest.mark.parametrize("before", [False, True], ids=["first load", "load again"])
def test_a_day_that_was_fetched_but_not_made_is_named_and_made_without_the_vendor(
    type_: Type, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    if before:
        assert type_(*LOAD, vendor=small()).exit_code == 0
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr("cdr_pipeline.assets.cdrs.build", interrupt)
        assert type_(*LOAD, vendor=small()).exit_code == 1
    status = type_("status").output
    assert ("in part │" if before else "not made yet │") in status
    assert "not every dataset made since: 1 day (2023-03-07)" in status
    made = type_("rebuild")
    assert made.exit_code == 0, made.output
    assert "not all made of it" not in type_("status").output
    calls = pl.read_parquet("data/cdrs/date=2023-03-07/*.parquet").height
    assert f"2023-03-07 │{calls:>6,} │" in type_("status").output
    assert "No day needs to be made again" in type_("rebuild").output


def test_findings_of_warning_checks_are_printed_and_stop_nothing(type_: Type) -> None:
    messy = small(chaos=Chaos.parse("messy"))
    words = ("run", "--from", "2023-03-07", "--to", "2023-03-08")
    done = type_(*words, vendor=messy)
    assert done.exit_code == 0
    finding = "Odd: everything_fits: 2 of 2 days: 2023-03-07 to 2023-03-08. On 2023-03-07: "
    assert finding in done.output


def test_status_shows_the_days_that_are_asked_for(loaded: Type) -> None:
    status = loaded("status", "--from", "2023-03-07", "--to", "2023-03-07").output
    assert "2023-03-07" in status
    assert "2023-03-06" not in status
    assert "Nothing of these days" in loaded("status", "--from", "2024-01-01").output


def test_rebuild_of_nothing_says_how_to_load_days_and_asks_whether_the_folder_is_right(
    type_: Type,
) -> None:
    mistyped = type_("rebuild", CDR_DATA_DIR="nope")
    assert mistyped.exit_code == 1
    assert "nope: there is no such folder. Is CDR_DATA_DIR right?" in mistyped.output
    assert not Path("nope").exists()
    Path("data").mkdir()
    empty = type_("rebuild")
    assert empty.exit_code == 1
    assert "There are no raw_pages of these days in data. Load days with `cdr-" in empty.output


def test_a_date_in_another_format_is_refused_with_the_right_format(type_: Type) -> None:
    done = type_("run", "--from", "07/03/2023", "--to", "2023-03-07")
    assert done.exit_code == 2
    assert "'07/03/2023' is not written as YYYY-MM-DD" in done.output


def test_rebuild_all_makes_the_same_files_again(loaded: Type) -> None:
    path = Path("data/cdrs/date=2023-03-07/part-0.parquet")
    before, written = path.read_bytes(), path.stat().st_mtime_ns
    assert loaded("rebuild", "--all", "--from", "2023-03-07").exit_code == 0
    assert path.read_bytes() == before
    assert path.stat().st_mtime_ns > written


def test_rebuild_makes_the_catalog_even_if_no_day_needs_to_be_made(loaded: Type) -> None:
    Path("data/cdrs.duckdb").unlink()
    done = loaded("rebuild")
    assert done.exit_code == 0
    assert "No day needs to be made again" in done.output
    assert "vendor's total" not in done.output
    assert Path("data/cdrs.duckdb").exists()


def test_rebuild_makes_nothing_of_a_day_killed_before_its_receipt_and_its_change_is_noted_later(
    type_: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert type_(*LOAD, "--accept-shrink", vendor=small()).exit_code == 0
    more = Vendor(tenant=Tenant(calls_per_day=90), token=TOKEN)
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr("cdr_pipeline.assets.raw_pages._receipt_frame", interrupt)
        assert type_(*LOAD, "--accept-shrink", vendor=more).exit_code == 1
    made = type_("rebuild", "--all")
    assert made.exit_code == 0, made.output
    assert "killed before it wrote the receipt: 1 day (2023-03-07)" in made.output
    assert type_(*LOAD, "--accept-shrink", vendor=more).exit_code == 0
    receipt = pl.read_parquet("data/cdr_receipts/date=2023-03-07/*.parquet")
    assert receipt["last_change_at"].item() == receipt["finished_at"].item()


def test_rebuild_names_and_passes_over_a_day_whose_pages_were_deleted(loaded: Type) -> None:
    """OPERATING.md allows to delete them to save space: each later `rebuild` failed for the day."""
    Path("data/raw_pages/date=2023-03-07/part-0.parquet").unlink()
    done = loaded("rebuild", CDR_CONTRACT="contract.toml")
    assert done.exit_code == 0, done.output
    for command in (done, loaded("status", CDR_CONTRACT="contract.toml")):
        assert "Without raw_pages: 1 day (2023-03-07)" in command.output
        assert "made under another contract" not in command.output
    assert [declared(f"2023-03-0{day}") for day in (6, 7, 8)] == [True, False, True]


def test_status_names_days_without_a_receipt(loaded: Type) -> None:
    missing = "Without cdr_receipts: 1 day (2023-03-07)"
    Path("data/cdr_receipts/date=2023-03-07/part-0.parquet").unlink()
    assert missing in loaded("status").output
    assert missing not in loaded("status", "--to", "2023-03-06").output
    shutil.rmtree("data/cdr_receipts")
    status = loaded("status").output
    assert "Without cdr_receipts: 3 days" in status
    assert "Nothing" not in status


def test_status_names_days_missing_between_stored_ones(loaded: Type) -> None:
    """After weeks of sleep only the last night's day was loaded, and no message named the gap."""
    missing = "Not stored, between days that are: 1 day (2023-03-07)"
    assert "Not stored" not in loaded("status").output
    for dataset in Path("data").iterdir():
        shutil.rmtree(dataset / "date=2023-03-07", ignore_errors=True)
    assert missing in loaded("status").output
    assert "Not stored" not in loaded("status", "--from", "2023-03-07").output


def test_status_names_days_fetched_when_the_clock_was_ahead(
    loaded: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Days that had not begun were proved empty, and Dagster waits until the time of that clock."""

    class Before(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime(2023, 3, 7, tzinfo=tz)

    assert "still to come" not in loaded("status").output
    monkeypatch.setattr("cdr_pipeline.cli.status.datetime", Before)
    status = loaded("status").output
    assert "Fetched at a time that is still to come: 3 days (2023-03-06 to 2023-03-08)" in status
