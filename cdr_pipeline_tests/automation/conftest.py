"""A machine on which nothing is set."""

from typing import Any

import pytest

from cdr_pipeline.assets.layer import Loading


@pytest.fixture
def unset() -> dict[str, Any]:
    """Resources as on a fresh machine, where nothing is set."""
    return {"loading": Loading()}
