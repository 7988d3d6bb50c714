"""A month with time moving: schedule and sensors ticked, and their runs executed, as Dagster would.

The vendor is a server on loopback whose calls are listed late and edited later. One night it is
down, and for three days the machine sleeps.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from math import ceil
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import dagster as dg
import pytest
from pydantic import SecretStr

from cdr_pipeline import automation
from cdr_pipeline.api import listing
from cdr_pipeline.api.client import Patience
from cdr_pipeline.assets.daily import daily_calls
from cdr_pipeline.assets.layer import Loading
from cdr_pipeline.settings import Settings
from cdr_pipeline.simulator import Vendor, serve
from cdr_pipeline.simulator.exchange import Refusal
from cdr_pipeline.simulator.source import Call, cut, render
from cdr_pipeline.tables.contract import CAMPAIGN_DAILY, CDRS, RECEIPTS
from cdr_pipeline.tables.store import Store

from .records import SAIGON

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
TOKEN = "a-token-nobody-may-see"
HASTY = Patience(attempts=2, first_attempts=2, first_pause=0.001, longest_pause=0.002)


class Clock(datetime):
    """The time of day, as the test says."""

    at: ClassVar[datetime]

    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        return cls.at.astimezone(tz)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    for module in (automation, listing):
        monkeypatch.setattr(module, "datetime", Clock)
    return Clock


@dataclass
class Written:
    """One call of the vendor's: what is known of it from when on."""

    record: dict[str, Any]
    listed: datetime
    edited: datetime | None = None
    gone: datetime | None = None

    def text(self) -> bytes | None:
        """Its record now; None while it is not listed."""
        if Clock.at < self.listed or (self.gone and Clock.at >= self.gone):
            return None
        noted = bool(self.edited and Clock.at >= self.edited)
        return render({**self.record, "note": "gọi lại"} if noted else self.record)


@dataclass
class Exchange:
    """A vendor whose calls are listed late and change, by the test's clock."""

    calls: list[Written] = field(default_factory=list)
    down: tuple[datetime, datetime] | None = None

    def between(self, start: datetime | None, end: datetime | None) -> Sequence[Call]:
        if self.down and self.down[0] <= Clock.at < self.down[1]:
            raise Refusal(503, "maintenance")
        texts = [(call.record, call.text()) for call in self.calls]
        listed = [Call.of(record, text) for record, text in texts if text]
        return cut(sorted(listed, key=lambda call: call.started), start, end)

    def add(self, began: datetime, *, listed: datetime | None = None, **later: Any) -> None:
        """A call of some seconds, listed when it ended unless it comes `listed` late."""
        id_ = f"call-{len(self.calls):04}"
        record = {
            "id": id_,
            "parent_id": id_,
            "time_started": f"{began:%Y-%m-%d %H:%M:%S}",
            "time_ended": f"{began:%Y-%m-%d %H:%M:%S}",
            "status": "busy",
            "cause": "USER_BUSY",
            "direction": "outbound",
            "duration": 0,
            "billsec": 0,
            "note": "",
        }
        self.calls.append(Written(record, listed or began, **later))

    def of(self, day: date) -> list[Written]:
        return [call for call in self.calls if call.record["time_started"].startswith(f"{day}")]

    def truth(self, day: date) -> dict[str, str | None]:
        """id -> note of the calls that are listed now."""
        texts = [json.loads(text) for call in self.of(day) if (text := call.text())]
        return {record["id"]: record["note"] or None for record in texts}


class World:
    """A vendor, settings that point at it, and Dagster's daemon, one tick at a time."""

    def __init__(
        self, exchange: Exchange, instance: dg.DagsterInstance, settings: Settings
    ) -> None:
        self.exchange = exchange
        self.settings = settings
        self.store = Store(settings.data_dir, settings.zone)
        self.instance = instance
        self.red: list[str] = []
        self.failed: list[date] = []
        self.skipped = ""
        self._cursors: dict[str, str | None] = {}
        self._run_keys: set[str | None] = set()
        self._loading = Loading(settings=lambda _: settings, patience=HASTY)
        self._definitions = dg.Definitions(
            assets=[daily_calls(settings)],
            jobs=[automation.LOAD_DAYS],
            schedules=[automation.nightly(settings)],
            sensors=automation.SENSORS,
            resources={"loading": self._loading},
            executor=dg.in_process_executor,
        )
        self._code = self._definitions.get_repository_def()

    def nightly(self, at: datetime | None = None) -> list[dg.RunRequest]:
        """A tick of the schedule, its runs executed."""
        context = dg.build_schedule_context(
            self.instance,
            scheduled_execution_time=at or Clock.at,
            repository_def=self._code,
            resources={"loading": self._loading},
        )
        tick = self._code.get_schedule_def("nightly").evaluate_tick(context)
        self.skipped = tick.skip_message or ""
        return self._launch(tick.run_requests or [])

    def sensor(self, name: str) -> list[dg.RunRequest]:
        """A tick of a sensor, its runs executed and its events recorded."""
        context = dg.build_sensor_context(
            self.instance,
            cursor=self._cursors.get(name),
            repository_def=self._code,
            resources={"loading": self._loading},
        )
        tick = self._code.get_sensor_def(name).evaluate_tick(context)
        self._cursors[name] = tick.cursor
        self.skipped = tick.skip_message or ""
        for event in tick.asset_events:
            assert isinstance(event, dg.AssetCheckEvaluation)
            if not event.passed:
                self.red.append(str(event.partition))
        return self._launch(tick.run_requests or [])

    def cursor(self, name: str) -> str:
        return self._cursors.get(name) or ""

    def loaded(self, day: date) -> dict[str, str | None]:
        return dict(self.store.read(CDRS, day).select("id", "note").iter_rows())

    def _launch(self, requests: Sequence[dg.RunRequest]) -> list[dg.RunRequest]:
        """Execute the runs of new keys."""
        new = [one for one in requests if one.run_key not in self._run_keys]
        for request in new:
            self._run_keys.add(request.run_key)
            result = self._definitions.resolve_job_def("load_days").execute_in_process(
                instance=self.instance,
                tags=dict(request.tags),
                asset_selection=request.asset_selection and list(request.asset_selection),
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                raise_on_error=False,
            )
            if not result.success:
                self.failed.append(Clock.at.date())
        return new


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Any]:
    with ExitStack() as stack:

        def made(exchange: Exchange, **settings: Any) -> tuple[World, Vendor]:
            vendor = Vendor(tenant=exchange, token=TOKEN)
            given: dict[str, Any] = {
                "api_base_url": stack.enter_context(serve(vendor)).base_url,
                "api_token": SecretStr(TOKEN),
                "data_dir": tmp_path / "data",
                "requests_per_second": 0,
                "page_size": 10,
                "lookback_days": 3,
                "probe_days": 14,
            }
            instance = stack.enter_context(dg.DagsterInstance.ephemeral())
            return World(exchange, instance, Settings(**given | settings)), vendor

        yield made


# ---- a month

FIRST, LAST = date(2023, 3, 1), date(2023, 3, 31)
DOWN = date(2023, 3, 10)
ASLEEP = [date(2023, 3, day) for day in (17, 18, 19)]
WAKES = datetime(2023, 3, 20, 12, tzinfo=SAIGON)


def at(day: date, hour: float = 0) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=SAIGON) + HOUR * hour


def a_month(random: Random) -> Exchange:
    """Calls of March: one in ten is late by hours, one in four edited; ten are days late.

    Nothing comes so late that these settings could not see it, or after the month.
    """
    exchange = Exchange(down=(at(DOWN), at(DOWN, 6)))
    days = [FIRST + DAY * ahead for ahead in range((LAST - FIRST).days + 1)]
    for day in days:
        for _ in range(random.randint(4, 18)):
            began = at(day, random.uniform(8, 23.9))
            late = began + HOUR * random.uniform(0, 60) if random.random() < 0.1 else None
            edited = began + HOUR * random.uniform(0, 72) if random.random() < 0.25 else None
            last = at(LAST, 24)
            exchange.add(
                began,
                listed=min(late, last) if late else None,
                edited=min(edited, last) if edited else None,
            )
    for day in random.sample(days[:18], 10):
        # Between what is loaded again each night and what is no longer looked at.
        exchange.add(at(day, 9), listed=at(day, 24 * random.uniform(6, 12)))
    return exchange


def least_requests(exchange: Exchange, settings: Settings) -> int:
    """What these settings cannot do without: pages of each look at a day, and a request a probe."""
    nights = [FIRST + DAY * ahead for ahead in range(1, (LAST - FIRST).days + 2)]
    nights = [night for night in nights if night != DOWN and night not in ASLEEP]
    requests = 0
    for day in (FIRST + DAY * ahead for ahead in range((LAST - FIRST).days + 1)):
        due = [day + DAY * (1 + look) for look in range(settings.lookback_days + 1)]
        looks = {next((night for night in nights if night >= one), None) for one in due}
        moved = {call.listed.date() for call in exchange.of(day) if call.listed.date() > due[-1]}
        for look in (looks | moved) - {None}:
            listed = sum(call.listed.date() <= look for call in exchange.of(day))
            requests += max(1, ceil(listed / settings.page_size))
        probed = [
            day + DAY * ahead
            for ahead in range(settings.lookback_days + 2, settings.probe_days + 2)
        ]
        requests += sum(one <= LAST + DAY and one not in ASLEEP for one in probed)
    return requests


def test_after_a_month_of_late_and_changing_calls_every_day_is_right_at_little_cost(
    world: Any,
) -> None:
    exchange = a_month(Random(5))
    it, vendor = world(exchange, start_date=FIRST)
    hour, end = at(FIRST + DAY), at(LAST + DAY, 24)
    while hour < end:
        Clock.at = hour
        if hour.date() in ASLEEP or (hour.date() == WAKES.date() and hour < WAKES):
            hour += HOUR
            continue
        if hour == WAKES:  # Dagster evaluates the last of the ticks that were missed
            it.nightly(at(WAKES.date(), 1.5))
        it.sensor("late_calls")
        it.sensor("freshness")
        if hour.hour == 1:
            Clock.at = hour + HOUR / 2
            it.nightly()
        hour += HOUR
    for day in (FIRST + DAY * ahead for ahead in range((LAST - FIRST).days + 1)):
        assert it.loaded(day) == exchange.truth(day), day
        assert it.store.read(CAMPAIGN_DAILY, day)["calls"].sum() == len(exchange.truth(day))
    assert it.failed == [DOWN]
    assert it.red == [f"{DOWN - DAY}"]
    least = least_requests(exchange, it.settings)
    made = len(vendor.requests)
    assert made <= 1.2 * least, f"{made} requests, {made / least:.2f} of the {least} needed"
    print(made, least, made / least)
