"""How findings of checks are recorded in Dagster."""

import dagster as dg
import pytest

from cdr_pipeline import checks
from cdr_pipeline.assets.layer import check_spec, evaluation
from cdr_pipeline.checks import Check, Finding

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


@pytest.mark.parametrize(
    ("check", "severity"),
    [(checks.BALANCE, ERROR), (checks.USUAL_VOLUME, WARN), (checks.FRESH, ERROR)],
    ids=["blocking", "a warning", "urgent"],
)
@pytest.mark.parametrize("passed", [True, False])
def test_a_finding_is_recorded_for_its_day(
    check: Check, severity: dg.AssetCheckSeverity, passed: bool
) -> None:
    event = evaluation(Finding(check, passed, "told"), "2023-03-07")
    assert (event.asset_key, event.check_name) == (dg.AssetKey("cdrs"), check.name)
    assert (event.partition, event.passed, event.description) == ("2023-03-07", passed, "told")
    assert (event.blocking, event.severity) == (check.blocking, severity)
    assert check_spec(check).blocking is check.blocking
