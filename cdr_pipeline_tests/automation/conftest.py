"""Resources of a machine without settings."""

from typing import Any

import pytest

from cdr_pipeline.assets.layer import Loading


@pytest.fixture
def unset() -> dict[str, Any]:
    """Dagster's resources on a new machine, where no setting is set."""
    return {"loading": Loading()}
