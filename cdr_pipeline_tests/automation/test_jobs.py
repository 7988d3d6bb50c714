"""What holds for each schedule and sensor: settings, messages, and that it is on by default."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from cdr_pipeline.assets.layer import Loading
from cdr_pipeline.automation import SENSORS
from cdr_pipeline.automation.freshness import freshness
from cdr_pipeline.automation.late_calls import late_calls
from cdr_pipeline.automation.nightly import nightly
from cdr_pipeline.settings import Settings
from cdr_pipeline_tests.automation.nights import FIRST
from cdr_pipeline_tests.living import at


def test_without_settings_every_tick_is_skipped_and_says_what_is_missing(
    unset: dict[str, Any],
) -> None:
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_schedule_context(
            instance, scheduled_execution_time=at(FIRST, 1.5), resources=unset
        ) as scheduled,
        dg.build_sensor_context(instance, resources=unset) as sensed,
    ):
        night = nightly(Settings())(scheduled)
        late, fresh = late_calls(sensed), freshness(sensed)
    assert isinstance(night, dg.SkipReason)
    assert isinstance(late, dg.SensorResult)
    assert late.skip_reason
    for said in (night.skip_message, late.skip_reason.skip_message):
        assert said
        assert "CDR_API_BASE_URL is missing" in said
        assert "CDR_API_TOKEN or CDR_API_KEY is missing" in said
    assert isinstance(fresh, dg.SensorResult)
    assert fresh.skip_reason
    assert fresh.asset_events == []


def test_the_next_tick_uses_a_token_that_was_replaced_in_the_env_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Dagster reads `.env` when its code server starts: older days were no longer probed, since the
    old token was refused until somebody restarted the server.
    """
    monkeypatch.setenv("CDR_API_BASE_URL", "api.example.vn")
    monkeypatch.setenv("CDR_API_TOKEN", "expired")  # Dagster sets it from `.env` at its start
    Path(".env").write_text("CDR_API_TOKEN=new\n")
    used: list[str] = []

    def noted(vendor: bool) -> Settings:
        settings = Settings.load(vendor=vendor)
        assert settings.api_token
        used.append(settings.api_token.get_secret_value())
        return settings

    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_schedule_context(
            instance,
            scheduled_execution_time=at(FIRST, 1.5),
            resources={"loading": Loading(settings=noted)},
        ) as scheduled,
        dg.build_sensor_context(instance, resources={"loading": Loading(settings=noted)}) as sensed,
    ):
        nightly(Settings())(scheduled)
        late_calls(sensed)
        freshness(sensed)
    assert used == ["new"] * 3


def test_schedule_and_sensors_are_on_by_default_and_described() -> None:
    schedule = nightly(Settings(timezone="America/New_York", schedule_time="04:05"))
    assert schedule.cron_schedule == "5 4 * * *"
    assert schedule.execution_timezone == "America/New_York"
    for one in (schedule, *SENSORS):
        assert one.default_status.value == "RUNNING"
        assert one.description
