"""A machine on which nothing is set."""

from pathlib import Path
from typing import Any

import pytest

from cdr_pipeline.assets.layer import Loading
from cdr_pipeline.settings import Settings, variable


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Resources as on a fresh machine, where nothing is set."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(variable(name), raising=False)
    return {"loading": Loading()}
