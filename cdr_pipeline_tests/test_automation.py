"""Schedule, sensors and alerts, tick by tick: what they ask for, and what if they cannot."""

import itertools
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import SecretStr

from cdr_pipeline import automation
from cdr_pipeline.assets.layer import Loading
from cdr_pipeline.settings import PREFIX, Settings
from cdr_pipeline.simulator import Chaos
from cdr_pipeline.tables.contract import CAMPAIGN_DAILY, CDRS, DATASETS, RAW_PAGES, RECEIPTS
from cdr_pipeline.tables.provenance import MADE

from .hook import Hook
from .living import DAY, HOUR, TOKEN, Clock, NewWorld, Switchboard, World, at

FIRST = date(2023, 3, 1)


def some_days(board: Switchboard, count: int, calls: int = 5) -> Switchboard:
    """So many days from the first on, with so many calls each."""
    for ahead in range(count):
        for number in range(calls):
            board.add(at(FIRST + DAY * ahead, 9 + number))
    return board


def nights(it: World, first: date, last: date) -> None:
    """The schedule's ticks on these dates, both included."""
    while first <= last:
        Clock.at = at(first, 1.5)
        it.nightly()
        first += DAY


def asked(requests: list[dg.RunRequest]) -> list[tuple[str, ...]]:
    return [tuple(value for key, value in one.tags.items() if "range" in key) for one in requests]


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Resources as on a fresh machine, where nothing is set."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"{PREFIX}{name.upper()}", raising=False)
    return {"loading": Loading()}


# ---- nothing set


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
        night = automation.nightly(Settings())(scheduled)
        late, fresh = automation.late_calls(sensed), automation.freshness(sensed)
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


def test_a_token_replaced_in_the_env_file_is_the_next_ticks(
    unset: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster reads `.env` when its code server begins: older days were no longer probed, since
    the token of that time was refused until somebody restarted it.
    """
    monkeypatch.setenv("CDR_API_BASE_URL", "api.example.vn")
    monkeypatch.setenv("CDR_API_TOKEN", "expired")  # as Dagster does from `.env`, once
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
        automation.nightly(Settings())(scheduled)
        automation.late_calls(sensed)
        automation.freshness(sensed)
    assert used == ["new"] * 3


def test_all_are_on_from_the_start_and_explained() -> None:
    schedule = automation.nightly(Settings(timezone="America/New_York", schedule_time="04:05"))
    assert schedule.cron_schedule == "5 4 * * *"
    assert schedule.execution_timezone == "America/New_York"
    for one in (schedule, *automation.SENSORS):
        assert one.default_status.value == "RUNNING"
        assert one.description


# ---- nightly


def test_the_first_night_loads_the_day_that_ended_and_the_next_ones_the_lookback_too(
    world: NewWorld,
) -> None:
    it, _ = world(some_days(Switchboard(), 6), lookback_days=2)
    Clock.at = at(FIRST + DAY * 4, 1.5)
    assert asked(it.nightly()) == [("2023-03-04", "2023-03-04")]
    Clock.at += DAY
    (request,) = it.nightly()
    assert asked([request]) == [("2023-03-04", "2023-03-05")]
    assert request.tags[automation.ASKED_BY] == "nightly: 2023-03-06"
    assert it.loaded(FIRST + DAY * 4) == it.board.truth(FIRST + DAY * 4)
    assert it.nightly(at(FIRST + DAY * 5, 1.5)) == []
    assert "was proved on 2023-03-06" in it.skipped


def test_before_the_first_partition_there_is_nothing_to_load(world: NewWorld) -> None:
    it, vendor = world(Switchboard(), start_date=FIRST)
    Clock.at = at(FIRST, 1.5)
    assert it.nightly() == []
    assert "CDR_START_DATE" in it.skipped
    assert not vendor.requests


def test_a_partition_deleted_by_hand_is_back_after_the_night(world: NewWorld) -> None:
    it, vendor = world(some_days(Switchboard(), 8), lookback_days=0)
    nights(it, FIRST + DAY, FIRST + DAY * 6)
    it.store.path(RAW_PAGES, FIRST + DAY).unlink()
    it.store.path(CAMPAIGN_DAILY, FIRST + DAY * 2).unlink()
    vendor.requests.clear()
    Clock.at = at(FIRST + DAY * 7, 1.5)
    *fetched, made = it.nightly()
    assert asked(fetched) == [("2023-03-02", "2023-03-02"), ("2023-03-07", "2023-03-07")]
    assert asked([made]) == [("2023-03-03", "2023-03-03")]
    assert it.failed == []
    assert all(it.store.holds(one, FIRST + DAY) for one in DATASETS.values())
    assert it.store.holds(CAMPAIGN_DAILY, FIRST + DAY * 2)
    assert {exchange.params["start_date"][:10] for exchange in vendor.requests} == {
        "2023-03-01",
        "2023-03-06",
    }


def test_a_run_killed_between_a_days_pages_and_its_calls_is_finished_the_next_night(
    world: NewWorld,
) -> None:
    it, _ = world(some_days(Switchboard(), 4), lookback_days=0)
    nights(it, FIRST + DAY, FIRST + DAY * 2)
    before = {one: it.store.path(one, FIRST).read_bytes() for one in MADE}
    Clock.at = at(FIRST + DAY * 2, 2)
    it.load(FIRST)
    for dataset, file in before.items():  # which that run did not live to replace
        it.store.path(dataset, FIRST).write_bytes(file)
    Clock.at = at(FIRST + DAY * 3, 1.5)
    assert asked(it.nightly()) == [("2023-03-03", "2023-03-03"), ("2023-03-01", "2023-03-01")]
    Clock.at += DAY
    assert asked(it.nightly()) == [("2023-03-04", "2023-03-04")]


# ---- late calls


def a_day(it: World, day: date) -> list[dg.RunRequest]:
    """A date's ticks of the sensor."""
    requests = []
    for hour in range(24):
        Clock.at = at(day, hour)
        requests += it.sensor("late_calls")
    return requests


def test_each_older_day_is_asked_for_its_total_once_a_day(world: NewWorld) -> None:
    it, vendor = world(some_days(Switchboard(), 8), lookback_days=1, probe_days=5)
    nights(it, FIRST + DAY, FIRST + DAY * 8)
    vendor.requests.clear()
    assert a_day(it, FIRST + DAY * 8) == []
    # The 8th and the 7th are loaded again each night; the 3rd is as far as probes go.
    assert [one.params["start_date"] for one in vendor.requests] == [
        f"2023-03-{day:02} 23:59:59" for day in (2, 3, 4, 5)
    ]
    assert {one.params["limit"] for one in vendor.requests} == {"1"}


def test_a_day_whose_total_grew_is_loaded_and_no_other(world: NewWorld) -> None:
    board = some_days(Switchboard(), 8)
    it, _ = world(board, lookback_days=1)
    nights(it, FIRST + DAY, FIRST + DAY * 8)
    board.add(at(FIRST + DAY, 23), listed=at(FIRST + DAY * 9, 3))
    (request,) = a_day(it, FIRST + DAY * 9)
    assert asked([request]) == [("2023-03-02", "2023-03-02")]
    assert "5 calls were proved, the vendor counts 6 now" in request.tags[automation.ASKED_BY]
    assert it.loaded(FIRST + DAY) == board.truth(FIRST + DAY)
    assert len(it.loaded(FIRST + DAY)) == 6
    assert a_day(it, FIRST + DAY * 10) == []


def test_a_day_whose_total_fell_fails_once_and_is_kept_as_it_was(world: NewWorld) -> None:
    board = some_days(Switchboard(), 5)
    board.of(FIRST)[0].gone = at(FIRST + DAY * 5)
    it, _ = world(board, lookback_days=0)
    nights(it, FIRST + DAY, FIRST + DAY * 5)
    for ahead in (6, 7, 8):
        a_day(it, FIRST + DAY * ahead)
    assert it.failed == [FIRST + DAY * 6]
    assert len(it.loaded(FIRST)) == 5


def test_a_call_that_only_changed_moves_no_total_and_is_not_seen(world: NewWorld) -> None:
    """What probes cannot do, and the README says: the lookback is for edits."""
    board = some_days(Switchboard(), 5)
    board.of(FIRST)[0].edited = at(FIRST + DAY * 5)
    it, _ = world(board, lookback_days=0)
    nights(it, FIRST + DAY, FIRST + DAY * 5)
    assert a_day(it, FIRST + DAY * 6) == []
    assert it.loaded(FIRST) != board.truth(FIRST)


def test_a_day_at_a_ceiling_is_compared_in_the_parts_it_was_proved_in(world: NewWorld) -> None:
    board = some_days(Switchboard(), 4, calls=14)
    for number in range(30):
        board.add(at(FIRST, 1 + number / 60))
    it, vendor = world(board, lookback_days=0, chaos=Chaos.parse("ceiling=20"))
    nights(it, FIRST + DAY, FIRST + DAY * 3)
    assert len(it.loaded(FIRST)) == 44
    assert 1 < len(it.store.totals(FIRST)) < 10
    vendor.requests.clear()
    assert a_day(it, FIRST + DAY * 4) == []
    assert len(vendor.requests) == len(it.store.totals(FIRST)) + 2
    board.add(at(FIRST, 23), listed=at(FIRST + DAY * 5))
    assert asked(a_day(it, FIRST + DAY * 5)) == [("2023-03-01", "2023-03-01")]
    assert len(it.loaded(FIRST)) == 45


def test_a_day_in_too_many_parts_is_left_alone_and_said_so(
    world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(automation, "_MOST_PARTS", 0)
    it, vendor = world(some_days(Switchboard(), 3), lookback_days=0)
    nights(it, FIRST + DAY, FIRST + DAY * 3)
    vendor.requests.clear()
    Clock.at = at(FIRST + DAY * 3, 23)
    assert it.sensor("late_calls") == []
    assert "proved in 1 parts, too many to compare" in it.skipped
    assert not vendor.requests


def test_days_too_many_for_one_tick_are_compared_at_the_next(
    world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    it, vendor = world(some_days(Switchboard(), 5), lookback_days=0)
    nights(it, FIRST + DAY, FIRST + DAY * 5)
    ticking = itertools.count()
    monkeypatch.setattr("cdr_pipeline.automation.time.monotonic", lambda: next(ticking) * 3.0)
    monkeypatch.setattr(automation, "_PROBE_SECONDS", 10.0)
    vendor.requests.clear()
    Clock.at = at(FIRST + DAY * 5, 23)
    asked_for = []
    for _ in range(4):
        it.sensor("late_calls")
        asked_for += [one.params["start_date"][:10] for one in vendor.requests]
        vendor.requests.clear()
    assert asked_for == [f"{FIRST + DAY * ahead}" for ahead in (-1, 0, 1, 2)]


def test_a_day_whose_pages_are_gone_keeps_no_other_from_being_compared(world: NewWorld) -> None:
    board = some_days(Switchboard(), 4)
    it, _ = world(board, lookback_days=0)
    nights(it, FIRST + DAY, FIRST + DAY * 4)
    it.store.path(RAW_PAGES, FIRST).unlink()
    board.add(at(FIRST + DAY, 23), listed=at(FIRST + DAY * 5))
    assert asked(a_day(it, FIRST + DAY * 5)) == [("2023-03-02", "2023-03-02")]


def test_while_the_vendor_is_down_the_sensor_says_so_and_goes_on_later(world: NewWorld) -> None:
    board = some_days(Switchboard(), 8)
    it, vendor = world(board, lookback_days=0)
    nights(it, FIRST + DAY, FIRST + DAY * 8)
    board.down = at(FIRST + DAY * 9), at(FIRST + DAY * 9, 6)
    Clock.at = at(FIRST + DAY * 9, 1)
    assert it.sensor("late_calls") == []
    assert "answered 503" in it.skipped
    assert "tomorrow" in it.skipped
    board.down = None
    vendor.requests.clear()
    Clock.at = at(FIRST + DAY * 9, 23)
    it.sensor("late_calls")
    assert {exchange.status for exchange in vendor.requests} == {200}
    assert len(vendor.requests) == 7


def test_a_vendor_that_cannot_be_reached_costs_no_day_its_turn(world: NewWorld) -> None:
    it, _ = world(some_days(Switchboard(), 3), lookback_days=0)
    nights(it, FIRST + DAY, FIRST + DAY * 3)
    there = it.settings
    it.settings = there.model_copy(update={"api_base_url": "http://127.0.0.1:9"})
    Clock.at = at(FIRST + DAY * 3, 23)
    assert it.sensor("late_calls") == []
    assert "could not be reached" in it.skipped
    assert "Traceback" not in it.skipped
    it.settings = there
    it.board.add(at(FIRST, 23), listed=Clock.at)
    assert asked(it.sensor("late_calls")) == [("2023-03-01", "2023-03-01")]


# ---- how late


def test_how_late_a_fetch_found_something_plots_and_stays_in_the_receipt(world: NewWorld) -> None:
    board = some_days(Switchboard(), 1)
    board.add(at(FIRST, 23), listed=at(FIRST + DAY, 20))
    it, _ = world(board)
    nights(it, FIRST + DAY, FIRST + DAY * 4)
    told = [
        record.asset_materialization.metadata.get("late_hours")
        for record in it.instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey(RAW_PAGES.name), asset_partitions=[f"{FIRST}"]),
            limit=9,
        ).records
        if record.asset_materialization
    ]
    assert [late and late.value for late in told] == [None, None, 25.5, None]
    changed = it.store.read(RECEIPTS, FIRST)["last_change_at"].item()
    assert changed == at(FIRST + DAY * 2, 1.5)


# ---- freshness


def test_the_check_turns_red_when_the_day_that_ended_is_missing_and_green_when_it_is_there(
    world: NewWorld,
) -> None:
    it, _ = world(some_days(Switchboard(), 4))
    Clock.at = at(FIRST + DAY, 12)
    it.sensor("freshness")
    assert it.skipped == "No recent day was ever loaded."
    nights(it, FIRST + DAY, FIRST + DAY)
    for hour in (1, 2, 5, 6, 7, 23):
        Clock.at = at(FIRST + DAY * 2, hour)
        it.sensor("freshness")
    assert it.red == ["2023-03-02"]
    assert "cdr-pipeline run --from 2023-03-02 --to 2023-03-02" in it.skipped
    nights(it, FIRST + DAY * 2, FIRST + DAY * 2)
    Clock.at = at(FIRST + DAY * 2, 23.5)
    it.sensor("freshness")
    assert it.red == ["2023-03-02"]
    assert it.sensor("freshness") == []
    assert it.skipped == "2023-03-02 is there"


def test_no_run_hides_that_the_day_that_ended_is_missing(world: NewWorld) -> None:
    """Dagster shows what the last run says of a check, if it says nothing: skipped."""
    board = some_days(Switchboard(), 3)
    it, _ = world(board)
    nights(it, FIRST + DAY, FIRST + DAY)
    assert it.fresh() == {"2023-03-01": True}
    board.down = at(FIRST + DAY * 2), at(FIRST + DAY * 3)
    nights(it, FIRST + DAY * 2, FIRST + DAY * 2)
    assert it.fresh() == {"None": False}, "of the run's two days"
    Clock.at = at(FIRST + DAY * 3, 1)
    it.load(FIRST)
    assert it.fresh() == {"2023-03-01": False}
    nights(it, FIRST + DAY * 3, FIRST + DAY * 3)
    assert it.fresh() == {"None": True}


def test_an_old_day_that_fails_says_nothing_of_the_newest(world: NewWorld) -> None:
    board = some_days(Switchboard(), 3)
    it, _ = world(board)
    nights(it, FIRST + DAY, FIRST + DAY * 3)
    it.store.path(CDRS, FIRST).unlink()
    board.down = at(FIRST + DAY * 3), at(FIRST + DAY * 4)
    Clock.at = at(FIRST + DAY * 3, 12)
    it.load(FIRST)
    assert not it.store.holds(CDRS, FIRST)
    assert it.fresh() == {"2023-03-01": True}


# ---- alerts


def fail_and_tell(it: World) -> None:
    """The nightly run of the first three days, and the sensor on its failure."""
    Clock.at = at(FIRST + DAY, 1.5)
    it.nightly()
    run = it.last_run()
    assert not run.is_success
    ended = it.instance.get_records_for_run(
        run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE
    ).records
    assert ended[0].event_log_entry.dagster_event
    with dg.build_run_status_sensor_context(
        "alerts",
        ended[0].event_log_entry.dagster_event,
        it.instance,
        run,
        resources={"loading": it.loading},
    ) as context:
        automation.alerts(context.for_run_failure())


def test_a_failed_run_is_told_once_with_days_cause_and_what_to_do(
    world: NewWorld, hook: tuple[str, type[Hook]]
) -> None:
    url, heard = hook
    board = some_days(Switchboard(), 1)
    it, _ = world(board, alert_url=SecretStr(url))
    board.down = at(FIRST), at(FIRST + DAY * 9)
    fail_and_tell(it)
    (told,) = heard.told
    assert told["days"] == ["2023-03-01"]
    assert "answered 503" in told["cause"]
    assert "old content or its new" in told["safe"]
    assert "nightly" in told["to_do"]
    assert told["run_id"] == it.last_run().run_id
    assert told["run_path"] == f"/runs/{told['run_id']}"
    assert all(told[part] in told["text"] for part in ("cause", "safe", "to_do"))
    assert TOKEN not in str(told)
    assert "s3cret-path" not in str(told)


def test_a_webhook_that_fails_is_told_once_and_the_failure_is_logged_without_its_address(
    world: NewWorld, hook: tuple[str, type[Hook]], capfd: pytest.CaptureFixture[str]
) -> None:
    url, heard = hook
    heard.status = 500
    board = some_days(Switchboard(), 1)
    it, _ = world(board, alert_url=SecretStr(url))
    board.down = at(FIRST), at(FIRST + DAY * 9)
    fail_and_tell(it)
    assert len(heard.told) == 1
    logged = capfd.readouterr()
    assert "the webhook answered 500" in logged.out + logged.err
    assert "s3cret-path" not in logged.out + logged.err


def test_a_webhook_that_is_not_there_stops_nothing(
    world: NewWorld, capfd: pytest.CaptureFixture[str]
) -> None:
    board = some_days(Switchboard(), 1)
    it, _ = world(board, alert_url=SecretStr("http://127.0.0.1:9/s3cret-path"))
    board.down = at(FIRST), at(FIRST + DAY * 9)
    fail_and_tell(it)
    logged = capfd.readouterr()
    assert "could not be told: ConnectError" in logged.out + logged.err


def test_what_a_webhook_is_told_holds_no_secret_however_it_came_into_the_cause() -> None:
    settings = Settings(api_token=SecretStr("t0ken"), alert_url=SecretStr("http://h/s3cret"))
    run = dg.DagsterRun(job_name="load_days")
    cause = "t0ken was refused, http://h/s3cret too"
    told = automation.alert(run, {cause: ["2023-03-01"], "other": []}, settings)
    assert "t0ken" not in str(told)
    assert "s3cret" not in str(told)
    assert told["cause"] == "2023-03-01: *** was refused, *** too\nA run: other"


# ---- what an interval is


def test_a_tick_takes_no_longer_than_dagster_waits() -> None:
    """Its time, and one answer that came as late as it may; Dagster gives a sensor a minute."""
    seconds = automation._PROBE_SECONDS
    assert automation._brief(Settings(timeout_seconds=600)).timeout_seconds == seconds
    assert timedelta(seconds=2 * seconds) + HOUR / 3600 * automation._BRIEFLY.seconds < HOUR / 60
