"""A clock that a test sets, a vendor whose calls come late and change, and Dagster's daemon."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, ClassVar

import dagster as dg

from cdr_pipeline import automation
from cdr_pipeline.assets.daily import daily_calls
from cdr_pipeline.assets.layer import Loading
from cdr_pipeline.automation.jobs import QUIET, days_tags
from cdr_pipeline.settings import Settings
from cdr_pipeline.simulator import Vendor
from cdr_pipeline.simulator.exchange import Refusal
from cdr_pipeline.simulator.source import Call, cut, render
from cdr_pipeline.tables.datasets import CDRS
from cdr_pipeline.tables.store import Store
from cdr_pipeline_tests.desk import call
from cdr_pipeline_tests.records import SAIGON

DAY, HOUR = timedelta(days=1), timedelta(hours=1)


class Clock(datetime):
    """Replaces `datetime` in modules under test: now is the time `at` that the test sets."""

    at: ClassVar[datetime]

    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        return cls.at.astimezone(tz)


@dataclass
class Written:
    """One call of the vendor's, and when it is listed, edited and deleted."""

    record: dict[str, Any]
    listed: datetime
    edited: datetime | None = None
    gone: datetime | None = None

    def text(self) -> bytes | None:
        """The record as it is now; None while it is not listed."""
        if Clock.at < self.listed or (self.gone and Clock.at >= self.gone):
            return None
        noted = bool(self.edited and Clock.at >= self.edited)
        return render({**self.record, "note": "gọi lại"} if noted else self.record)


@dataclass
class Switchboard:
    """The calls of a vendor, which are listed late and change, by the test's clock.

    down: from when until when each request is answered by a 503.
    """

    calls: list[Written] = field(default_factory=list)
    down: tuple[datetime, datetime] | None = None

    def between(self, start: datetime | None, end: datetime | None) -> Sequence[Call]:
        if self.down and self.down[0] <= Clock.at < self.down[1]:
            raise Refusal(503, "maintenance")
        texts = [(call.record, call.text()) for call in self.calls]
        listed = [Call.of(record, text) for record, text in texts if text]
        return cut(sorted(listed, key=lambda call: call.started), start, end)

    def add(self, began: datetime, *, listed: datetime | None = None, **later: Any) -> None:
        """Add a call of no length, listed from its start on or from `listed`."""
        record = call(len(self.calls), f"{began:%Y-%m-%d %H:%M:%S}", note="")
        self.calls.append(Written(record, listed or began, **later))

    def of(self, day: date) -> list[Written]:
        return [call for call in self.calls if call.record["time_started"].startswith(f"{day}")]

    def truth(self, day: date) -> dict[str, str | None]:
        """id -> note of the day's calls that are listed now."""
        texts = [json.loads(text) for call in self.of(day) if (text := call.text())]
        return {record["id"]: record["note"] or None for record in texts}


class World:
    """A vendor, settings that point at it, and Dagster's daemon, one tick at a time.

    `loading`: if given, ticks and runs take their settings from it.
    """

    def __init__(
        self,
        board: Switchboard,
        instance: dg.DagsterInstance,
        settings: Settings,
        loading: Loading | None = None,
    ) -> None:
        self.board = board
        self.settings = settings
        self.store = Store(settings.data_dir, settings.zone)
        self.instance = instance
        self.red: list[str] = []
        self.failed: list[date] = []
        self.skipped = ""
        self.cursors: dict[str, str | None] = {}
        self._run_keys: set[str | None] = set()
        self.loading = loading or Loading(settings=lambda **_: self.settings)
        definitions = dg.Definitions(
            assets=[daily_calls(settings)],
            jobs=automation.JOBS,
            schedules=[automation.nightly.nightly(settings)],
            sensors=automation.SENSORS,
            resources={"loading": self.loading},
            executor=dg.in_process_executor,
        )
        self._code = definitions.get_repository_def()
        self._job = definitions.resolve_job_def("load_days")

    def nightly(self, at: datetime | None = None) -> list[dg.RunRequest]:
        """Evaluate the schedule `nightly` once and execute the runs that it requests."""
        with dg.build_schedule_context(
            self.instance,
            scheduled_execution_time=at or Clock.at,
            repository_def=self._code,
            resources={"loading": self.loading},
        ) as context:
            tick = self._code.get_schedule_def("nightly").evaluate_tick(context)
        self.skipped = tick.skip_message or ""
        return self._launch(tick.run_requests or [])

    def sensor(self, name: str) -> list[dg.RunRequest]:
        """Evaluate a sensor once, record its events and execute the runs that it requests."""
        with dg.build_sensor_context(
            self.instance,
            cursor=self.cursors.get(name),
            repository_def=self._code,
            resources={"loading": self.loading},
        ) as context:
            tick = self._code.get_sensor_def(name).evaluate_tick(context)
        self.cursors[name] = tick.cursor
        self.skipped = tick.skip_message or ""
        for event in tick.asset_events:
            assert isinstance(event, dg.AssetCheckEvaluation)
            self.instance.report_runless_asset_event(event)
            if not event.passed:
                self.red.append(str(event.description)[:10])
        return self._launch(tick.run_requests or [])

    def load(self, day: date) -> None:
        """Load the day in a run that a person started."""
        run_key = f"by hand at {Clock.at}"
        self._launch([dg.RunRequest(run_key=run_key, tags=days_tags(day, day))])

    def fresh(self) -> dict[str, bool]:
        """day -> whether the check `fresh` passed, from the last run."""
        logged = self.instance.get_records_for_run(
            self.last_run().run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
        ).records
        said = [one.event_log_entry.dagster_event for one in logged]
        found = [one.asset_check_evaluation_data for one in said if one]
        return {f"{one.partition}": one.passed for one in found if one.check_name == "fresh"}

    def last_run(self) -> dg.DagsterRun:
        """The run that was launched last."""
        return self.instance.get_runs(limit=1)[0]

    def loaded(self, day: date) -> dict[str, str | None]:
        return dict(self.store.read(CDRS, day).select("id", "note").iter_rows())

    def _launch(self, requests: Sequence[dg.RunRequest]) -> list[dg.RunRequest]:
        """Execute the requested runs whose run keys are new, and return their requests."""
        new = [one for one in requests if one.run_key not in self._run_keys]
        for request in new:
            self._run_keys.add(request.run_key)
            result = self._job.execute_in_process(
                instance=self.instance,
                tags=dict(request.tags),
                asset_selection=request.asset_selection and list(request.asset_selection),
                run_config=QUIET,
                raise_on_error=False,
            )
            if not result.success:
                self.failed.append(Clock.at.date())
        return new


#: Makes a world for a switchboard; keyword arguments replace the test's settings.
NewWorld = Callable[..., tuple[World, Vendor]]


def at(day: date, hour: float = 0) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=SAIGON) + HOUR * hour
