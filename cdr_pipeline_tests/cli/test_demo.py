"""`demo`: needs no settings, and changes none of the user's data."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cdr_pipeline.cli.materialize import Outcome
from cdr_pipeline.environment import COVERED, note_dotenv
from cdr_pipeline.settings import Settings
from cdr_pipeline_tests.cli.typed import Type, interrupt


def test_the_demo_needs_no_settings_and_leaves_readable_parquet(
    type_: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdr_pipeline.cli.demo.CALLS_PER_DAY", 80)
    wrong = {"CDR_PAGE_SIZE": "nonsense", "CDR_DAGSTER_POSTGRES_URL": "nonsense"}
    done = type_("demo", CDR_DATA_DIR="elsewhere", **wrong)
    assert done.exit_code == 0, done.output
    assert "ASR" in done.output
    assert pl.read_parquet(".demo/data/campaign_daily/*/*.parquet")["calls"].sum() > 0
    assert not Path("elsewhere").exists()
    assert type_("demo").exit_code == 0, "a second time is as good as the first"


@pytest.mark.parametrize("meanwhile", ["cli.materialize.instance_here", "assets.cdrs.build"])
def test_an_interrupted_demo_says_what_is_safe(
    type_: Type, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    """The message does not name `cdr-pipeline rebuild`, which is for the user's own data."""
    monkeypatch.setattr("cdr_pipeline.cli.demo.CALLS_PER_DAY", 80)
    monkeypatch.setattr(f"cdr_pipeline.{meanwhile}", interrupt)
    done = type_("demo")
    assert done.exit_code == 1
    assert done.output.strip() == (
        "Error: It was interrupted. Nothing but .demo was touched; the next demo makes it anew."
    )


#: Writes the settings with which a process of Dagster would load days to a file.
DAGSTERS_SETTINGS = """
import sys
from pathlib import Path
from dagster._cli.utils import get_possibly_temporary_instance_for_cli
from cdr_pipeline.environment import read_dotenv_again
from cdr_pipeline.settings import Settings
with get_possibly_temporary_instance_for_cli():
    read_dotenv_again()  # as each run, schedule and sensor does
    settings = Settings.load(vendor=True)
    theirs = settings.api_key or settings.alert_url or settings.contract
    Path(sys.argv[1]).write_text(f"{settings.api_base_url} {settings.data_dir} {theirs}")
"""


def test_the_demos_ui_loads_nothing_by_the_users_settings(
    type_: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Dagster `.env` wins: "Materialize all" in the demo's UI asked the user's own vendor and
    wrote into the user's own data. Later, runs and sensors took the lines of the user's `.env` for
    deleted and removed the demo's settings with them: those of the user's shell came back.
    """
    monkeypatch.delenv(COVERED)
    popen, said = subprocess.Popen, tmp_path / "said"

    def loaded(*_: object) -> Outcome:
        note_dotenv()  # our storage for Dagster calls it
        return Outcome([], [])

    def shown(_: list[str], **options: Any) -> Any:
        return popen([sys.executable, "-c", DAGSTERS_SETTINGS, str(said)], **options)

    Path(".env").write_text("CDR_API_BASE_URL=https://live.example.vn\nCDR_DATA_DIR=live\n")
    monkeypatch.setattr("cdr_pipeline.cli.materialize.load_days", loaded)
    monkeypatch.setattr("cdr_pipeline.cli.demo._print_demo", lambda _: None)
    monkeypatch.setattr(subprocess, "Popen", shown)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    environment = {f"CDR_{name.upper()}": "" for name in Settings.model_fields}
    environment |= {"CDR_API_KEY": "live", "CDR_ALERT_URL": "https://live.example.vn/hook"}
    environment |= {"CDR_CONTRACT": "live.toml"}
    assert type_("demo", "--ui", **environment).exit_code == 0
    host, data, theirs = said.read_text().split()
    assert host.startswith("http://127.0.0.1:")
    assert Path(data) == tmp_path / ".demo" / "data"
    assert theirs == "None"
