"""The commands, as a person types them: words, files and exit codes."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from socket import create_server
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from cdr_pipeline import cli
from cdr_pipeline.settings import Settings
from cdr_pipeline.simulator import Chaos, Tenant, Vendor, serve
from cdr_pipeline_tests.hook import Hook

TOKEN = "a-token-that-must-not-be-seen"
Type = Callable[..., Result]


@pytest.fixture
def type_(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Type]:
    """`type_("run", "--from", ..., vendor=Vendor(...))` in a folder of its own, and with a budget
    of its own: some other vendor may have asked to be left alone at the same port.
    """
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("budget")))
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("CDR_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("CDR_REQUESTS_PER_SECOND", "0")
    monkeypatch.setenv("COLUMNS", "200")
    with ExitStack() as stack:

        def typed(*words: str, vendor: Vendor | None = None, **environment: str) -> Result:
            if vendor:
                running = stack.enter_context(serve(vendor))
                environment = {"CDR_API_BASE_URL": running.base_url} | environment
                environment = {"CDR_API_TOKEN": TOKEN} | environment
            return CliRunner().invoke(cli.main, words, env=environment, catch_exceptions=False)

        yield typed


def small(**options: object) -> Vendor:
    return Vendor(tenant=Tenant(calls_per_day=60), token=TOKEN, **options)  # type: ignore[arg-type]


def test_run_loads_the_days_both_included_and_status_tells_of_them(type_: Type) -> None:
    done = type_("run", "--from", "2023-03-06", "--to", "2023-03-07", vendor=small())
    assert done.exit_code == 0, done.output
    days = sorted(path.name for path in Path("data/cdrs").iterdir())
    assert days == ["date=2023-03-06", "date=2023-03-07"]
    told = type_("status")
    calls = pl.read_parquet("data/cdrs/date=2023-03-07/*.parquet").height
    assert f"2023-03-07 │{calls:>6,} │" in told.output
    assert "yes" in told.output
    piped = type_("status", COLUMNS="80").output
    assert sum("yes" in line for line in piped.splitlines()) == 2
    assert sum("│" in line for line in piped.splitlines()) == 2, "a line a day"


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"CDR_API_TOKEN": "wrong"}, "does not accept CDR_API_TOKEN"),
        ({"CDR_API_BASE_URL": "http://127.0.0.1:1"}, "could not be reached"),
        ({"CDR_API_BASE_URL": ""}, "CDR_API_BASE_URL is missing"),
        ({"CDR_PAGE_SIZE": "0"}, "CDR_PAGE_SIZE"),
        ({"DAGSTER_HOME": "/dev/null/home"}, "DAGSTER_HOME: /dev/null/home cannot be made"),
        ({"CDR_DATA_DIR": "/dev/null/data"}, "Failed: CDR_DATA_DIR: /dev/null/data cannot"),
    ],
)
def test_what_a_person_can_mend_is_one_message_without_a_traceback(
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


def test_a_vendor_that_lies_fails_the_day_with_figures(type_: Type) -> None:
    liar = small(chaos=Chaos.parse("lying-total=7:1"))
    done = type_("run", "--from", "2023-03-07", "--to", "2023-03-07", vendor=liar)
    assert done.exit_code == 1
    assert "not proved complete" in done.output
    assert not Path("data/cdrs").exists()


def test_a_day_that_failed_is_named_once(type_: Type) -> None:
    load = ("run", "--from", "2023-03-07", "--to", "2023-03-07")
    assert type_(*load, vendor=small()).exit_code == 0
    fewer = Vendor(tenant=Tenant(calls_per_day=20), token=TOKEN)
    done = type_(*load, vendor=fewer)
    assert "Failed: 2023-03-07: the vendor now proves" in done.output


def test_a_run_that_is_interrupted_says_what_is_safe_and_what_to_do(
    type_: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("cdr_pipeline.assets.cdrs.build", interrupted)
    done = type_("run", "--from", "2023-03-06", "--to", "2023-03-08", vendor=small())
    assert done.exit_code == 1
    assert "interrupted. Days that are loaded stay so; run it again" in done.output
    assert "dagster" not in done.output


def test_a_failed_run_is_told_to_the_webhook_as_one_that_dagster_launched(
    type_: Type, hook: tuple[str, type[Hook]]
) -> None:
    url, heard = hook
    liar = small(chaos=Chaos.parse("lying-total=7:1"))
    words = ("run", "--from", "2023-03-07", "--to", "2023-03-07")
    assert type_(*words, vendor=liar, CDR_ALERT_URL=url).exit_code == 1
    (told,) = heard.told
    assert told["days"] == ["2023-03-07"]
    assert "not proved complete" in told["cause"]
    assert type_(*words, vendor=small(), CDR_ALERT_URL=url).exit_code == 0
    assert len(heard.told) == 1


def test_a_webhook_that_cannot_be_told_is_said_beside_what_failed(type_: Type) -> None:
    liar = small(chaos=Chaos.parse("lying-total=7:1"))
    words = ("run", "--from", "2023-03-07", "--to", "2023-03-07")
    done = type_(*words, vendor=liar, CDR_ALERT_URL="http://127.0.0.1:9/s3cret-path")
    assert done.exit_code == 1
    assert "Nobody was told" in done.output
    assert "not proved complete" in done.output
    assert "s3cret-path" not in done.output


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


def test_the_demo_needs_nothing_and_leaves_parquet_that_opens(
    type_: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "DEMO_CALLS_PER_DAY", 80)
    done = type_("demo", CDR_DATA_DIR="elsewhere", CDR_PAGE_SIZE="nonsense")
    assert done.exit_code == 0, done.output
    assert "ASR" in done.output
    assert pl.read_parquet(".demo/data/campaign_daily/*/*.parquet")["calls"].sum() > 0
    assert not Path("elsewhere").exists()
    assert type_("demo").exit_code == 0, "a second time is as good as the first"


#: Writes down the settings that a process of Dagster's would load days by.
DAGSTERS_SETTINGS = """
import sys
from pathlib import Path
from dagster._cli.utils import get_possibly_temporary_instance_for_cli
from cdr_pipeline.settings import Settings
with get_possibly_temporary_instance_for_cli():
    settings = Settings.load(vendor=True)
    Path(sys.argv[1]).write_text(f"{settings.api_base_url} {settings.data_dir}")
"""


def test_the_demos_ui_loads_nothing_by_the_users_env_file(
    type_: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster lets `.env` win: "Materialize all" in the demo's UI asked the user's own vendor and
    wrote into the user's own data.
    """
    popen, said = subprocess.Popen, tmp_path / "said"

    def shown(_: list[str], **options: Any) -> Any:
        return popen([sys.executable, "-c", DAGSTERS_SETTINGS, str(said)], **options)

    Path(".env").write_text("CDR_API_BASE_URL=https://live.example.vn\nCDR_DATA_DIR=live\n")
    monkeypatch.setattr(cli, "load_days", lambda *_: [])
    monkeypatch.setattr(cli, "_print_demo", lambda _: None)
    monkeypatch.setattr(subprocess, "Popen", shown)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    environment = {f"CDR_{name.upper()}": "" for name in Settings.model_fields}
    assert type_("demo", "--ui", **environment).exit_code == 0
    host, data = said.read_text().split()
    assert host.startswith("http://127.0.0.1:")
    assert Path(data) == tmp_path / ".demo" / "data"


def test_report_writes_one_page_of_a_day_or_a_range_in_either_language(type_: Type) -> None:
    assert type_("run", "--from", "2023-03-06", "--to", "2023-03-07", vendor=small()).exit_code == 0
    day = type_("report", "--from", "2023-03-07")
    assert day.output.strip().endswith("data/reports/2023-03-07.html")
    assert "Calls of 2023-03-07" in Path("data/reports/2023-03-07.html").read_text()
    words = ("--from", "2023-03-06", "--to", "2023-03-07", "--lang", "vi", "--output", "week.html")
    assert type_("report", *words).exit_code == 0
    assert "Cuộc gọi 06/03/2023 đến 07/03/2023" in Path("week.html").read_text(encoding="utf-8")
    assert type_("report", "--from", "2023-03-07", CDR_REPORT_LANGUAGE="vi").exit_code == 0
    text = Path("data/reports/2023-03-07.html").read_text(encoding="utf-8")
    assert "Cuộc gọi ngày 07/03/2023" in text


def test_report_says_what_is_missing_or_turned_round(type_: Type) -> None:
    nothing = type_("report", "--from", "2023-03-07")
    assert nothing.exit_code == 1
    assert "nothing to report of 2023-03-07" in " ".join(nothing.output.split())
    turned = type_("report", "--from", "2023-03-07", "--to", "2023-03-06")
    assert turned.exit_code == 2
    assert "--from 2023-03-07 is after --to 2023-03-06" in turned.output


def test_help_names_every_command_and_every_fault(type_: Type) -> None:
    told = type_("--help").output
    for command in ("demo", "run", "list", "simulate", "status", "ui"):
        assert f"  {command} " in told
    faults = type_("simulate", "--help").output
    for fault in Chaos.names():
        assert fault in faults


def test_an_unknown_fault_is_answered_with_the_known_ones(type_: Type) -> None:
    done = type_("simulate", "--chaos", "locusts")
    assert done.exit_code == 2
    assert "drift" in done.output


def test_simulate_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from cdr_pipeline.cli import program; program()", "simulate"]
    with subprocess.Popen(
        [*command, "--port", "0"], stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        assert process.stderr is not None
        assert "Serving" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) in (0, 1, -signal.SIGINT)


def test_simulate_says_nothing_but_that_it_cannot_on_a_port_that_is_taken(type_: Type) -> None:
    with create_server(("127.0.0.1", 0)) as taken:
        done = type_("simulate", "--port", f"{taken.getsockname()[1]}")
    assert done.exit_code == 1
    assert "Cannot listen" in done.output
    assert "Serving" not in done.output


@pytest.mark.parametrize("width", [80, 200])
def test_list_fits_the_terminal(type_: Type, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setattr(cli, "out", Console(width=width))
    done = type_("list", "--date", "2023-03-07", "--limit", "3", vendor=small())
    rows = [line for line in done.output.splitlines() if line.startswith("│ 2023-03-07 ")]
    assert len(rows) == 3, done.output
    assert ("campaign_uuid" in done.output) == (width == 200)


def test_a_file_that_cannot_be_written_is_one_message(type_: Type) -> None:
    asked = ("list", "--date", "2023-03-07", "--format", "csv", "--output", "nowhere/c.csv")
    done = type_(*asked, vendor=small())
    assert done.exit_code == 1
    assert "nowhere/c.csv" in done.output
    assert "Traceback" not in done.output


def test_help_keeps_its_examples_on_lines_of_their_own(type_: Type) -> None:
    told = type_("--help").output
    assert "\\b" not in told
    assert "\n  Load a week:               cdr-pipeline run" in told


def test_an_env_file_that_is_not_utf_8_is_one_message(type_: Type) -> None:
    Path(".env").write_bytes(b"\xff\xfeC\x00")
    done = type_("status")
    assert done.exit_code == 1
    assert "UTF-8" in done.output


# ---- a declared contract

OWN = '[keys."Số tiền"]\ntype = "decimal"\ncolumn = "amount"\n'


@pytest.fixture
def loaded(type_: Type) -> Type:
    """Three days in `data`, made without a contract; a contract waits in `contract.toml`."""
    done = type_("run", "--from", "2023-03-06", "--to", "2023-03-08", vendor=small())
    assert done.exit_code == 0, done.output
    Path("contract.toml").write_text(OWN, encoding="utf-8")
    return type_


def declared(day: str) -> bool:
    """Whether the stored day has the declared column."""
    return "amount__decimal" in pl.read_parquet_schema(f"data/cdrs/date={day}/part-0.parquet")


def test_rebuild_makes_stale_days_again_without_any_vendor(loaded: Type) -> None:
    told = loaded("status", CDR_CONTRACT="contract.toml").output
    assert "3 days (2023-03-06 to 2023-03-08) were made under another contract" in told
    assert told.count("another  │") == 3
    done = loaded("rebuild", "--to", "2023-03-06", CDR_CONTRACT="contract.toml")
    assert done.exit_code == 0, done.output
    assert [declared(f"2023-03-0{day}") for day in (6, 7, 8)] == [True, False, False]
    told = loaded("status", CDR_CONTRACT="contract.toml").output
    assert "2 days (2023-03-07 to 2023-03-08)" in told
    assert loaded("rebuild", CDR_CONTRACT="contract.toml").exit_code == 0
    assert all(declared(f"2023-03-0{day}") for day in (6, 7, 8))
    assert "another" not in loaded("status", CDR_CONTRACT="contract.toml").output
    again = loaded("rebuild", CDR_CONTRACT="contract.toml")
    assert again.exit_code == 0
    assert "all were made under the contract" in again.output


@pytest.mark.parametrize("before", [False, True], ids=["first load", "load again"])
def test_a_day_that_was_fetched_and_not_made_is_told_and_made_without_any_vendor(
    type_: Type, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    def killed(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    load = ("run", "--from", "2023-03-07", "--to", "2023-03-07")
    if before:
        assert type_(*load, vendor=small()).exit_code == 0
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr("cdr_pipeline.assets.cdrs.build", killed)
        assert type_(*load, vendor=small()).exit_code == 1
    told = type_("status").output
    assert ("in part │" if before else "not made yet │") in told
    assert "not all made of it since: 1 day (2023-03-07)" in told
    made = type_("rebuild")
    assert made.exit_code == 0, made.output
    assert "not all made of it" not in type_("status").output
    calls = pl.read_parquet("data/cdrs/date=2023-03-07/*.parquet").height
    assert f"2023-03-07 │{calls:>6,} │" in type_("status").output
    assert "of what was fetched last" in type_("rebuild").output


def test_rebuild_all_makes_the_same_files_again(loaded: Type) -> None:
    path = Path("data/cdrs/date=2023-03-07/part-0.parquet")
    before, written = path.read_bytes(), path.stat().st_mtime_ns
    assert loaded("rebuild", "--all", "--from", "2023-03-07").exit_code == 0
    assert path.read_bytes() == before
    assert path.stat().st_mtime_ns > written


def test_a_day_that_cannot_be_made_again_takes_no_other_along(loaded: Type) -> None:
    Path("data/raw_pages/date=2023-03-07/part-0.parquet").unlink()
    done = loaded("rebuild", CDR_CONTRACT="contract.toml")
    assert done.exit_code == 1
    assert "2023-03-07: raw_pages of 2023-03-07 is not there" in done.output
    assert [declared(f"2023-03-0{day}") for day in (6, 7, 8)] == [True, False, True]


def test_a_proposal_can_be_put_into_force_as_it_is(loaded: Type) -> None:
    text = loaded("contract", "propose").stdout
    Path("proposed.toml").write_text(text, encoding="utf-8")
    told = loaded("contract", "diff", "proposed.toml")
    assert told.exit_code == 0, told.output
    assert "Every value fits." in told.output
    assert "3 days (2023-03-06 to 2023-03-08)" in told.output


def test_diff_tells_of_columns_values_and_days_and_changes_nothing(loaded: Type) -> None:
    told = loaded("contract", "diff", CDR_CONTRACT="contract.toml").output
    assert "amount" in told
    assert "Decimal" in told
    assert "cdr-pipeline rebuild" in told
    assert not declared("2023-03-07")


@pytest.mark.parametrize(
    "words",
    [
        ("run", "--from", "2023-03-06", "--to", "2023-03-06"),
        ("status",),
        ("rebuild",),
        ("contract", "diff"),
        ("dictionary",),
    ],
)
def test_a_wrong_contract_is_one_message_with_file_and_line(
    type_: Type, words: tuple[str, ...]
) -> None:
    Path("contract.toml").write_text('[keys.a]\ntype = "money"\n', encoding="utf-8")
    done = type_(*words, vendor=small(), CDR_CONTRACT="contract.toml")
    assert done.exit_code == 1
    assert "contract.toml, line 2" in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize("words", [("contract", "propose"), ("contract", "diff")])
def test_nothing_stored_is_nothing_to_propose_from(type_: Type, words: tuple[str, ...]) -> None:
    done = type_(*words)
    assert done.exit_code == 1
    assert "No calls are stored" in done.output


def test_the_dictionary_tells_what_is_declared(type_: Type) -> None:
    Path("contract.toml").write_text(OWN, encoding="utf-8")
    told = type_("dictionary", CDR_CONTRACT="contract.toml").stdout
    assert '| `amount` | "Số tiền" | Decimal' in told


def test_a_port_that_is_taken_or_is_none_is_one_line(type_: Type) -> None:
    with create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for command in ("ui", "simulate"):
            done = type_(command, "--port", str(port))
            assert done.exit_code == 1
            assert "Cannot listen on" in done.output
    for command in ("ui", "simulate"):
        assert type_(command, "--port", "99999").exit_code == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--date", "2023-03-07", "--output", "a.txt"), "give --format"),
        (("--from", "2023-03-08", "--to", "2023-03-07"), "is after"),
    ],
)
def test_a_list_that_cannot_be_is_refused_before_anybody_is_asked(
    type_: Type, words: tuple[str, ...], says: str
) -> None:
    done = type_("list", *words, vendor=small())
    assert done.exit_code == 2
    assert says in done.output
