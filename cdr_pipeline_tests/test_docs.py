"""The documents agree with the code."""

import re
from datetime import time
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import polars as pl
import pytest

from cdr_pipeline.cli import main
from cdr_pipeline.settings import Settings, variable
from cdr_pipeline.simulator import Chaos
from cdr_pipeline.tables.contract import read
from cdr_pipeline.tables.datasets import DATASETS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
READING = (ROOT / ".readme" / "READING.md").read_text()
NAMES = [variable(name) for name in Settings.model_fields]


def shown(default: object) -> str:
    if isinstance(default, time):
        return f"{default:%H:%M}"
    return "" if default is None else str(default)


def test_the_example_has_every_setting_with_its_default_and_no_other() -> None:
    lines = re.findall(r"^#?(CDR_\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert [name for name, _ in lines] == NAMES
    defaults = [shown(field.default) for field in Settings.model_fields.values()]
    assert [default for _, default in lines] == defaults


def test_the_readme_has_every_setting_with_its_default() -> None:
    rows = re.findall(r"^\| (CDR_[\w ]+) \| ([^|]*)\|", README, re.MULTILINE)
    defaults = {
        name: default.strip(" `") for names, default in rows for name in names.split(" or ")
    }
    assert defaults == {
        variable(name): shown(field.default) for name, field in Settings.model_fields.items()
    }


def test_the_readme_of_the_data_folder_lists_every_dataset() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", (ROOT / "data" / "README.md").read_text(), re.MULTILINE)
    assert listed == list(DATASETS)


def test_the_operating_page_names_every_fault_of_the_simulator() -> None:
    page = (ROOT / ".readme" / "OPERATING.md").read_text()
    assert [fault for fault in Chaos.names() if f"`{fault}`" not in page] == []


def test_every_link_from_one_document_to_another_leads_somewhere() -> None:
    for source in [ROOT / "README.md", *ROOT.glob(".readme/*.md"), *ROOT.glob("data/*.md")]:
        for link in re.findall(r"\]\(((?!https?:)[^)\s]+)\)", source.read_text()):
            path, _, anchor = link.partition("#")
            target = source.parent / path if path else source
            assert target.exists(), (source.name, link)
            heads = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE) if anchor else []
            slugs = {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}
            assert not anchor or anchor in slugs, (source.name, link)


def test_no_file_names_a_registry_or_a_path_of_a_machine() -> None:
    for path in [*ROOT.glob("*"), *ROOT.glob(".ci/*"), *(ROOT / "cdr_pipeline").rglob("*.py")]:
        if path.is_file() and path.name not in (".env", "uv.lock"):
            text = path.read_text()
            found = re.search(r"pypi\.org|pythonhosted|/root/|/home/\w|/tmp/\w|/work/", text)
            assert not found, path


@pytest.mark.parametrize("text", [READING, main.commands["contract"].help or ""])
def test_the_examples_of_a_contract_are_contracts(text: str) -> None:
    toml = re.search(r"^ *\[keys.*?drop = true", text, re.DOTALL | re.MULTILINE)
    assert toml
    declared = read(toml[0].replace("\b", ""), ZoneInfo("Asia/Ho_Chi_Minh"))
    assert declared.keys["Số tiền"].column == "amount"
    assert len(declared.keys) == 3


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with data, for the README's examples."""
    from click.testing import CliRunner

    from cdr_pipeline import cli

    monkeypatch.setattr("cdr_pipeline.cli.demo.CALLS_PER_DAY", 200)
    monkeypatch.setenv("DAGSTER_HOME", "")
    assert CliRunner().invoke(cli.main, ["demo"]).exit_code == 0
    (tmp_path / ".demo" / "data").rename(tmp_path / "data")
    return tmp_path


def test_the_readmes_queries_answer_from_loaded_days(loaded: Path) -> None:
    (sql,) = re.findall(r"```sql\n(.*?)```", README, re.DOTALL)
    with duckdb.connect("data/cdrs.duckdb", read_only=True) as catalog:
        for query in filter(str.strip, sql.split(";")):
            assert catalog.execute(query).fetchall()
    (python,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, object] = {}
    exec(python, names)
    assert isinstance(names["day"], pl.DataFrame)
    assert names["day"].height > 0
