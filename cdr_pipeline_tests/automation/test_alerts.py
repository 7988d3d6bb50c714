"""The alerts of failed runs that a webhook receives."""

import os
import signal
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
import pytest
from dagster._core.events import JobFailureData, RunFailureReason, StepMaterializationData
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.utils import make_new_run_id
from pydantic import SecretStr

from cdr_pipeline.assets import cdrs
from cdr_pipeline.assets.layer import Made, Work
from cdr_pipeline.automation.alerts import alert
from cdr_pipeline.automation.jobs import days_tags
from cdr_pipeline.home import LOCATION
from cdr_pipeline.launcher import GONE, process_tags
from cdr_pipeline.settings import Settings
from cdr_pipeline.tables.datasets import DATASETS
from cdr_pipeline.tables.flattening.crew import Crew
from cdr_pipeline_tests.automation.nights import FIRST, after_nights, some_days
from cdr_pipeline_tests.desk import TOKEN
from cdr_pipeline_tests.hook import Hook
from cdr_pipeline_tests.living import DAY, Clock, NewWorld, Switchboard, World, at


def fail_and_tell(it: World, ahead: int = 1) -> None:
    """A night whose run fails, and the sensor's tick after it."""
    it.sensor("alerts")
    Clock.at = at(FIRST + DAY * ahead, 1.5)
    it.nightly()
    assert not it.last_run().is_success
    it.sensor("alerts")


def without_the_vendor(world: NewWorld) -> World:
    """A world after a night in which the vendor was down."""
    it, _ = world(some_days(Switchboard(), 1))
    it.board.down = at(FIRST), at(FIRST + DAY * 9)
    fail_and_tell(it)
    return it


def a_run(
    it: World, *besides: str, location: str | None = None, tags: Mapping[str, str] | None = None
) -> dg.DagsterRun:
    """A run of two days that has begun: without a selection, or of all datasets and `besides`."""
    selected = frozenset(map(dg.AssetKey, [*DATASETS, *besides])) if besides else None
    origin = None
    if location:
        code = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), "__repository__")
        origin = RemoteJobOrigin(code, "load_days")
    return it.instance.add_run(
        dg.DagsterRun(
            job_name="load_days",
            run_id=make_new_run_id(),
            tags={**days_tags(FIRST, FIRST + DAY), **(tags or {})},
            asset_selection=selected,
            remote_job_origin=origin,
        )
    )


def found_dead(it: World, run: dg.DagsterRun) -> None:
    """The daemon fails a run whose process is gone; then the sensor's tick."""
    found = CheckRunHealthResult(WorkerStatus.FAILED, GONE)
    words = f"Detected run worker status {found}. Marking run {run.run_id} as failed."
    failed(it, run, words)


def failed(it: World, run: dg.DagsterRun, words: str, data: JobFailureData | None = None) -> None:
    """The run fails with these words and this data; then the sensor's tick."""
    it.sensor("alerts")
    it.instance.report_run_failed(run, words, data)
    it.sensor("alerts")


@pytest.fixture
def webhook(hook: tuple[str, type[Hook]], monkeypatch: pytest.MonkeyPatch) -> type[Hook]:
    """The webhook that CDR_ALERT_URL names."""
    url, webhook = hook
    monkeypatch.setenv("CDR_ALERT_URL", url)
    return webhook


def test_a_failed_run_is_alerted_once_with_days_cause_and_what_to_do(
    world: NewWorld, webhook: type[Hook]
) -> None:
    it = without_the_vendor(world)
    (message,) = webhook.messages
    assert message["days"] == ["2023-03-01"]
    assert "answered 503" in message["cause"]
    assert "old content or its new" in message["safe"]
    assert "nightly" in message["to_do"]
    assert message["run_id"] == it.last_run().run_id
    assert message["run_path"] == f"/runs/{message['run_id']}"
    assert all(message[part] in message["text"] for part in ("cause", "safe", "to_do"))
    assert TOKEN not in str(message)
    assert "s3cret-path" not in str(message)


def test_an_unexpected_error_is_alerted_without_phone_numbers(
    world: NewWorld, webhook: type[Hook], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chat got `Execution of run for "load_days" failed. Steps failed: ['daily_calls'].`"""

    def broken(*_: object) -> None:
        raise ValueError("no place for 0775702541\nsecond line")

    it, _ = world(some_days(Switchboard(), 1))
    monkeypatch.setattr("cdr_pipeline.assets.daily._record_checks", broken)
    fail_and_tell(it)
    (message,) = webhook.messages
    assert message["cause"] == "2023-03-01: ValueError: no place for 077…"


def test_a_webhook_that_fails_gets_an_alert_once_and_its_address_is_not_logged(
    world: NewWorld, webhook: type[Hook], capfd: pytest.CaptureFixture[str]
) -> None:
    webhook.status = 500
    without_the_vendor(world)
    assert len(webhook.messages) == 1
    logged = "".join(capfd.readouterr())
    assert "the webhook answered 500" in logged
    assert "s3cret-path" not in logged


@pytest.mark.parametrize("away", [429, 502, 503])
def test_alerts_that_the_webhook_did_not_take_are_sent_later_once_and_in_order(
    world: NewWorld, webhook: type[Hook], away: int
) -> None:
    """Each alert was sent only once, whether the webhook took it or not."""
    webhook.status = away
    it = without_the_vendor(world)
    first = it.last_run().run_id
    fail_and_tell(it, ahead=2)
    assert f"the webhook answered {away}" in it.skipped
    webhook.status = 200
    webhook.messages.clear()
    it.sensor("alerts")
    it.sensor("alerts")
    assert [one["run_id"] for one in webhook.messages] == [first, it.last_run().run_id]


def test_after_a_day_without_the_webhook_only_later_alerts_are_sent(
    world: NewWorld, webhook: type[Hook], monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook.status = 503
    it = without_the_vendor(world)
    monkeypatch.setattr("cdr_pipeline.automation.alerts._PATIENCE_SECONDS", 0)
    it.sensor("alerts")
    webhook.status = 200
    webhook.messages.clear()
    fail_and_tell(it, ahead=2)
    assert [one["run_id"] for one in webhook.messages] == [it.last_run().run_id]


def test_a_run_whose_alert_cannot_be_made_stops_no_other_alert(
    world: NewWorld, webhook: type[Hook]
) -> None:
    it, _ = world(Switchboard())
    failed(it, a_run(it, tags={"dagster/asset_partition_range_start": "one day"}), GONE)
    assert not webhook.messages
    assert "ValueError" in it.skipped
    found_dead(it, a_run(it))
    assert len(webhook.messages) == 1


def test_runs_that_failed_before_the_sensors_first_tick_are_not_alerted(
    world: NewWorld, webhook: type[Hook]
) -> None:
    it, _ = world(Switchboard())
    it.instance.report_run_failed(a_run(it), GONE)
    it.sensor("alerts")
    it.sensor("alerts")
    assert not webhook.messages


@pytest.mark.parametrize("cursor", ["0", "none"])
def test_a_cursor_set_by_hand_is_replaced(
    world: NewWorld, webhook: type[Hook], cursor: str
) -> None:
    """Each tick failed with a traceback, and no alert was sent."""
    it, _ = world(Switchboard())
    it.instance.report_run_failed(a_run(it), GONE)
    it.cursors["alerts"] = cursor
    failed(it, a_run(it), GONE)
    assert [one["run_id"] for one in webhook.messages] == [it.last_run().run_id]


def test_an_alert_is_sent_once_an_unreachable_webhook_can_be_reached(
    world: NewWorld,
    hook: tuple[str, type[Hook]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CDR_ALERT_URL", "http://127.0.0.1:9/s3cret-path")
    it = without_the_vendor(world)
    logged = "".join(capfd.readouterr())
    assert "Connection refused. Check CDR_ALERT_URL" in logged
    assert "s3cret-path" not in logged
    url, webhook = hook
    monkeypatch.setenv("CDR_ALERT_URL", url)
    it.sensor("alerts")
    assert len(webhook.messages) == 1


def test_a_run_that_failed_by_a_wrong_setting_is_alerted_if_the_alert_url_is_right(
    unset: dict[str, Any], webhook: type[Hook], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With CDR_PAGE_SIZE=0 the tick was skipped, and a run by hand sent no alert either."""
    monkeypatch.setenv("CDR_API_BASE_URL", "api.example.vn")
    monkeypatch.setenv("CDR_API_TOKEN", TOKEN)
    monkeypatch.setenv("CDR_PAGE_SIZE", "0")
    with dg.DagsterInstance.ephemeral() as instance:
        fail_and_tell(World(Switchboard(), instance, Settings.for_display(), unset["loading"]))
    (message,) = webhook.messages
    assert message["days"] == ["2023-03-01"]
    assert "CDR_PAGE_SIZE: should be greater than or equal to 1" in message["cause"]


def test_a_wrong_alert_url_is_named_in_the_log(
    unset: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CDR_API_BASE_URL", "api.example.vn")
    monkeypatch.setenv("CDR_ALERT_URL", "no-url")
    with dg.DagsterInstance.ephemeral() as instance:
        fail_and_tell(World(Switchboard(), instance, Settings.for_display(), unset["loading"]))
    logged = "".join(capfd.readouterr())
    assert "Nobody was told" in logged
    assert "CDR_ALERT_URL: must be an http(s) URL" in logged


def test_an_alert_holds_no_secret_though_the_cause_does() -> None:
    settings = Settings(api_token=SecretStr("t0ken"), alert_url=SecretStr("http://h/s3cret"))
    run = dg.DagsterRun(job_name="load_days")
    cause = "t0ken was refused, http://h/s3cret too"
    message = alert(run, {cause: ["2023-03-01"], "other": []}, settings)
    assert "t0ken" not in str(message)
    assert "s3cret" not in str(message)
    assert message["cause"] == "2023-03-01: *** was refused, *** too\nother"


def test_a_run_that_ended_with_dagster_names_the_days_it_did_not_finish(
    world: NewWorld, webhook: type[Hook], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster only says `No user initiated termination request was found, treating as failure`."""

    def ended_with_dagster(work: Work, crew: Crew) -> Iterator[Made]:
        if work.day > FIRST + DAY:
            os.kill(os.getpid(), signal.SIGINT)
        yield from build(work, crew)

    build = cdrs.build
    it, _ = after_nights(world, 1, days=4)
    monkeypatch.setattr(cdrs, "build", ended_with_dagster)
    fail_and_tell(it, ahead=4)
    (message,) = webhook.messages
    assert message["days"] == ["2023-03-03", "2023-03-04"]
    assert message["cause"] == f"2023-03-03 to 2023-03-04: {GONE}"


def test_a_killed_run_is_alerted_without_dagsters_words(
    world: NewWorld, webhook: type[Hook]
) -> None:
    it, _ = world(Switchboard())
    found_dead(it, a_run(it, location=LOCATION))
    (message,) = webhook.messages
    assert message["cause"] == f"2023-03-01 to 2023-03-02: {GONE}"


def test_a_killed_command_is_alerted_and_one_that_alerted_itself_is_not(
    world: NewWorld, webhook: type[Hook]
) -> None:
    """No alert was sent for a `run` from cron that the kernel had killed for lack of memory."""
    it, _ = world(Switchboard())
    of_a_step = JobFailureData(error=None, failure_reason=RunFailureReason.STEP_FAILURE)
    words = "Steps failed: ['daily_calls']."
    failed(it, a_run(it, tags=process_tags()), words, of_a_step)
    assert not webhook.messages
    killed = a_run(it, tags=process_tags())
    found_dead(it, killed)
    (message,) = webhook.messages
    assert message["run_id"] == killed.run_id
    assert message["cause"] == f"2023-03-01 to 2023-03-02: {GONE}"


def test_a_run_of_another_code_location_is_not_alerted(
    world: NewWorld, webhook: type[Hook]
) -> None:
    it, _ = world(Switchboard())
    found_dead(it, a_run(it, location="somebody.elses"))
    assert not webhook.messages


def test_a_finished_day_is_not_named_though_the_catalog_was_to_follow(
    world: NewWorld, webhook: type[Hook]
) -> None:
    it, _ = world(Switchboard())
    run = a_run(it, "catalog")
    for name in DATASETS:
        made = StepMaterializationData(dg.AssetMaterialization(name, partition=f"{FIRST}"))
        kind = dg.DagsterEventType.ASSET_MATERIALIZATION.value
        event = dg.DagsterEvent(kind, run.job_name, event_specific_data=made)
        it.instance.report_dagster_event(event, run.run_id)
    failed(it, run, GONE)
    (message,) = webhook.messages
    assert message["days"] == [f"{FIRST + DAY}"]
