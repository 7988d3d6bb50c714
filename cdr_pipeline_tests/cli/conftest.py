"""The commands as a person types them, each test in a folder of its own."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cdr_pipeline import cli
from cdr_pipeline.simulator import Vendor, serve
from cdr_pipeline_tests.cli.typed import OWN, TOKEN, Type, small


@pytest.fixture
def type_(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Type]:
    """`type_("run", "--from", ..., vendor=Vendor(...))` in a folder and with a budget of its own:
    an earlier vendor at the same port may have asked for a pause.
    """
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("budget")))
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


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first `loaded` puts a copy of its days for later tests: to load takes seconds."""
    return tmp_path_factory.mktemp("kept") / "data"


@pytest.fixture
def loaded(type_: Type, kept: Path) -> Type:
    """Three days in `data`, made without a contract, and a contract in `contract.toml`."""
    if kept.exists():
        shutil.copytree(kept, "data")
    else:
        done = type_("run", "--from", "2023-03-06", "--to", "2023-03-08", vendor=small())
        assert done.exit_code == 0, done.output
        shutil.copytree("data", kept)
    Path("contract.toml").write_text(OWN, encoding="utf-8")
    return type_
