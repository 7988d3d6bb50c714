"""A changed contract fails the check `made_under_contract` of each day until it is made again."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from cdr_pipeline.assets.daily import daily_calls
from cdr_pipeline.assets.layer import Loading
from cdr_pipeline.automation.contract import Known, contract_sensor, look, made_under_contract
from cdr_pipeline.automation.jobs import REBUILD, days_tags
from cdr_pipeline.simulator import Vendor
from cdr_pipeline.tables.contract import load
from cdr_pipeline.tables.datasets import CDRS, DATASETS, RAW_PAGES, RECEIPTS
from cdr_pipeline.tables.provenance import stale_days
from cdr_pipeline.tables.store import Store
from cdr_pipeline_tests.damage import cut_short, stale
from cdr_pipeline_tests.desk import TOKEN, Desk, NewDesk, call
from cdr_pipeline_tests.runs import failure_message, last_evaluation

DAY = date(2023, 3, 7)
NEXT = DAY + timedelta(days=1)
KEY = dg.AssetCheckKey(dg.AssetKey(CDRS.name), "made_under_contract")
OWN = '[keys.tien]\ntype = "decimal"\ncolumn = "amount"\n[keys.sdt]\ntype = "int"\npii = true\n'


@pytest.fixture
def at(desk: NewDesk, tmp_path: Path) -> Desk:
    """Two days, loaded without a contract."""
    records = [
        call(1, "2023-03-07 10:00:00", additional={"tien": "27.50", "sdt": "0775702541"}),
        call(2, "2023-03-07 10:00:00", additional={"tien": "miễn phí", "sdt": "An, gọi sau 17h"}),
        call(3, "2023-03-08 10:00:00", additional={"tien": 3}),
    ]
    made = desk(Vendor(records=records, token=TOKEN))
    assert made.run("2023-03-07", "2023-03-08").success
    return made


def under(at: Desk, text: str) -> Desk:
    """The same desk with this contract in force, in `contract.toml`."""
    path = at.settings.data_dir.parent / "contract.toml"
    path.write_text(text, encoding="utf-8")
    return replace(at, settings=at.settings.model_copy(update={"contract": path}))


class Daemon:
    """Dagster's daemon, which keeps the sensor's cursor."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.cursor: str | None = None
        self.runs: list[str | None] = []

    def look(self, at: Desk) -> str | None:
        """Evaluate the sensor and execute the check's run; return the reason if it was skipped."""
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor)
        loading = Loading(settings=lambda **_: at.settings)
        result = contract_sensor(context, loading=loading)
        if isinstance(result, dg.SkipReason):
            return result.skip_message
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        requests = result.run_requests or []
        self.runs = [request.job_name for request in requests]
        for request in requests:
            if request.job_name == made_under_contract.name:
                made_under_contract.execute_in_process(
                    run_config=request.run_config,
                    instance=self.instance,
                    resources={"loading": loading},
                )
        return result.skip_reason.skip_message if result.skip_reason else None


@pytest.fixture
def daemon(at: Desk) -> Daemon:
    return Daemon(at.instance)


def evaluations(at: Desk) -> dict[str, str]:
    """day -> status of its latest evaluation."""
    history = at.instance.event_log_storage.get_asset_check_execution_history(KEY, limit=100)
    return {one.partition: one.status.value for one in reversed(history) if one.partition}


def written(at: Desk) -> dict[str, int]:
    """dataset -> when its file of `DAY` was written."""
    return {one.name: at.store.path(one, DAY).stat().st_mtime_ns for one in DATASETS.values()}


def test_a_changed_contract_fails_the_check_of_each_day_made_before(
    at: Desk, daemon: Daemon
) -> None:
    in_order = "Every stored day was made under the contract and zone in force, by these rules."
    assert daemon.look(at) == in_order
    assert daemon.runs == []
    changed = under(at, OWN)
    assert daemon.look(changed) is None
    assert evaluations(at) == {"2023-03-07": "FAILED", "2023-03-08": "FAILED"}
    assert daemon.runs == ["made_under_contract", "catalog_of_contract"]
    assert "Still made under another contract" in (daemon.look(changed) or "")


def test_the_check_says_what_to_do(at: Desk, daemon: Daemon) -> None:
    daemon.look(under(at, OWN))
    assert last_evaluation(at.instance, KEY).severity is dg.AssetCheckSeverity.WARN
    assert "`cdr-pipeline rebuild`" in shown(at)
    assert "the job `rebuild` in Dagster" in shown(at)


def test_a_day_made_again_by_the_job_asks_no_vendor_and_passes(at: Desk, daemon: Daemon) -> None:
    changed = under(at, OWN)
    daemon.look(changed)
    asked, before = len(at.vendor.requests), written(at)
    offline = changed.settings.model_copy(update={"api_base_url": None, "api_token": None})
    made = dg.Definitions(
        assets=[daily_calls(offline)],
        jobs=[REBUILD],
        resources={"loading": Loading(settings=lambda **_: offline)},
        executor=dg.in_process_executor,
    ).resolve_job_def("rebuild")
    assert made.execute_in_process(instance=at.instance, tags=days_tags(DAY, DAY)).success
    assert len(at.vendor.requests) == asked
    again = {name for name, when in written(at).items() if when > before[name]}
    assert again == DATASETS.keys() - {RAW_PAGES.name, RECEIPTS.name}
    assert evaluations(at) == {"2023-03-07": "SUCCEEDED", "2023-03-08": "FAILED"}
    assert "2023-03-08" in (daemon.look(changed) or "")
    assert at.store.read(CDRS, DAY)["amount__decimal"].count() == 1


def test_a_run_of_some_days_leaves_the_check_failed_for_the_others(
    at: Desk, daemon: Daemon
) -> None:
    """The run's own days passed, and the page turned green while other days were still stale."""
    now = under(at, OWN)
    daemon.look(now)
    assert now.run("2023-03-08").success
    assert shown(at).startswith("1 day (2023-03-07) was made under another contract")
    assert evaluations(at) == {"2023-03-07": "FAILED", "2023-03-08": "SUCCEEDED"}
    assert now.run("2023-03-07", assets=["cdrs"]).success
    assert shown(at).startswith("made under ")


def shown(at: Desk) -> str:
    """The description of the check on Dagster's page."""
    return f"{last_evaluation(at.instance, KEY).description}"


def test_days_pass_again_after_the_contract_is_taken_back(at: Desk, daemon: Daemon) -> None:
    daemon.look(under(at, OWN))
    assert daemon.look(at) is None
    assert set(evaluations(at).values()) == {"SUCCEEDED"}


def test_a_wrong_contract_is_reported_and_leaves_the_cursor(at: Desk, daemon: Daemon) -> None:
    daemon.look(under(at, OWN))
    before = daemon.cursor
    assert "line 2" in (daemon.look(under(at, '[keys.a]\ntype = "x"')) or "")
    assert daemon.cursor == before


def test_a_day_that_cannot_be_read_stops_no_other_evaluation(at: Desk, daemon: Daemon) -> None:
    whole = (path := at.store.path(CDRS, DAY)).read_bytes()
    cut_short(path)
    assert daemon.look(under(at, OWN)) is None
    assert evaluations(at)["2023-03-08"] == "FAILED"
    path.write_bytes(whole)
    assert daemon.look(under(at, OWN)) is None
    assert evaluations(at) == {"2023-03-07": "FAILED", "2023-03-08": "FAILED"}


def test_if_the_folder_cannot_be_read_the_tick_says_so_and_leaves_the_cursor(
    at: Desk, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a network share hung, each tick failed with a bare Python error."""
    daemon.look(under(at, OWN))
    before = daemon.cursor
    monkeypatch.setattr(Store, "days", stale)
    assert "could not be read or written: Stale file handle" in (daemon.look(at) or "")
    assert daemon.cursor == before


def test_days_pass_again_after_the_zone_is_taken_back(at: Desk, daemon: Daemon) -> None:
    daemon.look(at)
    moved = replace(at, settings=at.settings.model_copy(update={"timezone": "Asia/Tokyo"}))
    assert daemon.look(moved) is None
    assert daemon.runs == ["made_under_contract", "catalog_of_contract"]
    assert set(evaluations(at).values()) == {"FAILED"}
    assert daemon.look(at) is None
    assert set(evaluations(at).values()) == {"SUCCEEDED"}


def test_contracts_may_change_again_and_again(at: Desk, daemon: Daemon) -> None:
    for text in (OWN, "", OWN, OWN.replace("decimal", "int"), OWN):
        assert daemon.look(under(at, text)) is None
    assert set(evaluations(at).values()) == {"FAILED"}


def test_a_day_is_reported_once_for_each_contract() -> None:
    first, known, _ = look(Known(), "new", [DAY])
    assert first == [DAY]
    later, known, changed = look(known, "new", [DAY, NEXT])
    assert (later, changed) == ([NEXT], False)
    again, known, changed = look(known, "newer", [DAY, NEXT])
    assert (again, changed) == ([DAY, NEXT], True)
    assert look(known, "newer", [NEXT])[0] == []
    assert look(known, "none", [NEXT])[0] == [NEXT, DAY]


def test_the_metadata_of_a_partition_name_its_contract_and_misfits(at: Desk) -> None:
    changed = under(at, OWN)
    result = changed.run("2023-03-07", assets=[CDRS.name])
    assert result.success
    mark = load(changed.settings.contract, changed.settings.zone).mark
    assert at.metadata(CDRS, DAY)["contract"].value == mark
    (found,) = (
        one for one in result.get_asset_check_evaluations() if one.check_name == "declared_types"
    )
    assert not found.passed
    assert found.description is not None
    assert 'tien: 1 value is no decimal, such as "miễn phí"' in found.description
    assert "sdt: 1 value is no int" in found.description
    events = "".join(str(event) for event in result.all_events)
    assert "gọi sau" not in events
    assert "775702541" not in events


def test_a_wrong_contract_stops_a_run_before_it_asks_the_vendor(at: Desk) -> None:
    asked = len(at.vendor.requests)
    wrong = under(at, '[keys.a]\ntype = "money"\n')
    result = wrong.run("2023-03-07")
    assert not result.success
    assert "contract.toml, line 2" in failure_message(result)
    assert len(at.vendor.requests) == asked
    assert stale_days(at.store, "none") == []


def test_the_sensor_and_its_jobs_are_in_the_definitions() -> None:
    from cdr_pipeline.definitions import defs

    assert defs.resolve_sensor_def("contract_sensor")
    assert {"made_under_contract", "catalog_of_contract", "rebuild"} <= {
        job.name for job in defs.resolve_all_job_defs()
    }
