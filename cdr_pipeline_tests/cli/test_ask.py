"""`list`: the request to the vendor, and the formats of its output."""

import json
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from cdr_pipeline.simulator import Vendor
from cdr_pipeline_tests.cli.typed import TOKEN, Type, small


def test_list_asks_the_vendor_with_every_documented_parameter(type_: Type) -> None:
    vendor = small()
    words = (
        "list --from 2023-03-06 --to 2023-03-08 --ended-from 2023-03-06 --ended-to 2023-03-09"
        " --status ANSWERED --phone 0775702541 --hotline 02873003586 --extension 101"
        " --direction outbound --campaign-uuid abc --limit 5"
    )
    assert type_(*words.split(), vendor=vendor).exit_code == 0
    assert vendor.requests[-1].params == {
        "start_date": "2023-03-06 00:00:00",
        "end_date": "2023-03-08 23:59:59",
        "start_date_ended": "2023-03-06 00:00:00",
        "end_date_ended": "2023-03-09 23:59:59",
        "extension": "101",
        "status": "ANSWERED",
        "hotline": "02873003586",
        "phone": "0775702541",
        "direction": "outbound",
        "campaign_uuid": "abc",
        "limit": "5",
        "offset": "0",
    }


def test_list_writes_jsonl_as_sent_and_csv_and_parquet_typed(type_: Type) -> None:
    vendor = small()
    asked = ("list", "--date", "2023-03-07", "--limit", "0")
    truth = sorted(text.decode() for text in vendor.truth(date(2023, 3, 7)))
    lines = type_(*asked, "--format", "jsonl", "--output", "c.jsonl", vendor=vendor)
    assert lines.exit_code == 0
    assert sorted(Path("c.jsonl").read_text(encoding="utf-8").split("\n")[:-1]) == truth
    assert type_(*asked, "--format", "csv", "--output", "c.csv", vendor=vendor).exit_code == 0
    assert (
        type_(*asked, "--format", "parquet", "--output", "c.parquet", vendor=vendor).exit_code == 0
    )
    assert pl.read_csv("c.csv", infer_schema=False).height == len(truth)
    assert pl.read_parquet("c.parquet").height == len(truth)


@pytest.mark.parametrize("name", ["c.jsonl", "c.csv", "c.parquet"])
def test_a_list_that_ends_at_the_limit_says_how_many_there_are(type_: Type, name: str) -> None:
    vendor = small()
    total = len(vendor.truth(date(2023, 3, 7)))
    asked = ("list", "--date", "2023-03-07", "--limit", "3", "--output", name)
    assert type_(*asked, vendor=vendor).stderr.startswith(f"3 of the vendor's {total} ")


@pytest.mark.parametrize("name", ["c.jsonl", "c.csv", "C.Parquet"])
def test_the_ending_of_a_file_determines_its_format(type_: Type, name: str) -> None:
    asked = ("list", "--date", "2023-03-07", "--limit", "3")
    form = name.lower().partition(".")[2]
    assert type_(*asked, "--output", name, vendor=small()).exit_code == 0
    assert type_(*asked, "--output", "due", "--format", form, vendor=small()).exit_code == 0
    assert Path(name).read_bytes() == Path("due").read_bytes()


def test_an_explicit_format_wins_over_the_files_ending(type_: Type) -> None:
    asked = ("list", "--date", "2023-03-07", "--limit", "3", "--output", "c.csv")
    assert type_(*asked, "--format", "jsonl", vendor=small()).exit_code == 0
    assert len(Path("c.csv").read_text(encoding="utf-8").split("\n")[:-1]) == 3


def test_list_writes_records_that_cannot_be_calls_as_they_were_sent(type_: Type) -> None:
    sent = [b'["no call"]', b'{"id":"\\ud800",\n "n": 1.50}']
    vendor = Vendor(records=[("2023-03-07 10:00:00", text) for text in sent], token=TOKEN)
    done = type_("list", "--limit", "0", "--format", "jsonl", vendor=vendor)
    assert done.exit_code == 0, done.output
    lines = sorted(done.stdout_bytes.splitlines())
    assert lines == [b'["no call"]', b'{"id":"\\ud800",  "n": 1.50}']


@pytest.mark.parametrize("width", [80, 200])
def test_list_fits_the_terminal(type_: Type, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    terminal = Console(width=width, force_terminal=True, color_system=None)
    monkeypatch.setattr("cdr_pipeline.cli.shared.out", terminal)
    done = type_("list", "--date", "2023-03-07", "--limit", "3", vendor=small())
    rows = [line for line in done.output.splitlines() if line.startswith("│ 2023-03-07 ")]
    assert len(rows) == 3, done.output
    assert ("campaign_uuid" in done.output) == (width == 200)


def test_in_a_pipe_no_cell_of_a_list_is_cut(type_: Type) -> None:
    cells = {
        "time_started": "2023-03-07 10:00:00",
        "from_number": "+842873003586",
        "to_number": "+84899888999",
        "status": "not-available",
        "campaign_uuid": "fdccdbf2-bc4b-4a0f-a7ea-cb0239daaa7d",
    }
    record = json.dumps({"id": "a", "parent_id": "a", **cells}).encode()
    vendor = Vendor(records=[(cells["time_started"], record)], token=TOKEN)
    done = type_("list", vendor=vendor, COLUMNS="80")
    (row,) = (line for line in done.output.splitlines() if line.startswith("│"))
    assert {*cells.values(), "terminal_unavailable"} <= {cell.strip() for cell in row.split("│")}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
def test_a_file_that_cannot_be_written_is_one_message(type_: Type) -> None:
    asked = ("list", "--date", "2023-03-07", "--format", "csv", "--output", "/dev/full")
    done = type_(*asked, vendor=small())
    assert done.exit_code == 1
    assert "No space left on device. Make room on its disk, then try again." in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--output", "a.txt"), "The name of a.txt tells no format: end it in .jsonl or .csv"),
        (("--output", "a.csv", "--format", "table"), "A table is for the screen"),
        (("--output", "nowhere/a.csv"), "nowhere: there is no such folder."),
        (("--format", "parquet"), "Parquet needs --output"),
        (("--campaign-uuid", " "), "'--campaign-uuid': it is empty; leave it out"),
        (("--phone", "\udcff"), "'--phone': it is not written in UTF-8."),
        (("--from", "2023-03-08", "--to", "2023-03-07"), "is after"),
        (("--ended-from", "2023-03-08", "--ended-to", "2023-03-07"), "is after --ended-to"),
    ],
)
def test_wrong_options_of_list_are_refused_before_the_vendor_is_asked(
    type_: Type, words: tuple[str, ...], says: str
) -> None:
    vendor = small()
    done = type_("list", *words, vendor=vendor)
    assert done.exit_code == 2
    assert not vendor.requests
    assert says in " ".join(done.output.split())
