"""The report as an asset: drawn after its datasets, recorded for each day, with a picture."""

import base64
from collections import Counter
from datetime import date
from typing import Any

import dagster as dg
import pytest

from cdr_pipeline.assets.daily import daily_calls
from cdr_pipeline.assets.layer import Loading
from cdr_pipeline.assets.report import daily_report
from cdr_pipeline.report import page
from cdr_pipeline.tables.datasets import CAMPAIGN_DAILY, DATASETS
from cdr_pipeline.tables.store import Store
from cdr_pipeline_tests.assets.watched import Watched
from cdr_pipeline_tests.desk import Desk, NewDesk
from cdr_pipeline_tests.runs import failure_message, run


def draw(
    desk: Desk, first: str, last: str | None = None, *others: dg.AssetsDefinition
) -> dg.ExecuteInProcessResult:
    loading = Loading(settings=lambda **_: desk.settings)
    return run([*others, daily_report(desk.settings)], desk.instance, loading, first, last)


def test_the_metadata_of_a_report_hold_its_path_figures_and_a_small_picture(desk: NewDesk) -> None:
    at = desk()
    at.run("2023-03-06", "2023-03-07")
    events = draw(at, "2023-03-06", "2023-03-07").get_asset_materialization_events()
    assert [event.partition for event in events] == ["2023-03-06", "2023-03-07"]
    metadata = events[1].materialization.metadata
    assert list(metadata)[:2] == ["path", "picture"], "seen without scrolling"
    path = at.settings.data_dir / "reports" / "2023-03-07.html"
    assert metadata["path"].value == str(path.resolve())
    assert metadata["bytes"].value == path.stat().st_size < 2_000_000
    assert metadata["calls"].value == at.store.read(CAMPAIGN_DAILY, date(2023, 3, 7))["calls"].sum()
    picture = str(metadata["picture"].value)
    jpeg = base64.b64decode(picture.partition("base64,")[2].rstrip(")"))
    assert jpeg.startswith(b"\xff\xd8")
    assert len(jpeg) < 10_000


def test_days_loaded_and_drawn_in_one_run_are_recorded_once(desk: NewDesk) -> None:
    """*Materialize all* on the graph does this: the page was skipped, and the backfill failed."""
    at = desk()
    result = draw(at, "2023-03-06", "2023-03-07", daily_calls(at.settings))
    assert result.success
    recorded = Counter(
        (event.asset_key.to_user_string(), event.partition)
        for event in result.get_asset_materialization_events()
        if event.asset_key
    )
    names = {*DATASETS, "report"}
    assert recorded == {(name, day): 1 for name in names for day in ("2023-03-06", "2023-03-07")}


def test_the_report_of_a_day_that_is_not_loaded_fails_alone(desk: NewDesk) -> None:
    at = desk()
    at.run("2023-03-07")
    result = draw(at, "2023-03-06", "2023-03-07")
    assert not result.success
    assert at.materialized("report") == {"2023-03-07"}
    assert "nothing to report of 2023-03-06" in failure_message(result)


def test_the_report_of_a_day_that_cannot_be_drawn_fails_alone(
    desk: NewDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, write = desk(), page.write

    def written(store: Store, first: date, *given: Any) -> Any:
        if first.day == 6:
            raise ValueError("what a library that draws may say of a picture")
        return write(store, first, *given)

    monkeypatch.setattr(page, "write", written)
    at.run("2023-03-06", "2023-03-07")
    result = draw(at, "2023-03-06", "2023-03-07")
    assert not result.success
    assert at.materialized("report") == {"2023-03-07"}
    assert "2023-03-06: ValueError, a fault of this pipeline" in failure_message(result)


def test_reports_of_the_last_week_are_drawn_after_their_days_were_loaded(desk: NewDesk) -> None:
    at = desk()
    daemon = Watched(at, daily_report(at.settings))
    assert daemon.requested() == set()
    at.run("2023-02-01")
    at.run("2023-03-07", "2023-03-08")
    assert daemon.requested() == {"2023-03-07", "2023-03-08"}
    draw(at, "2023-03-07", "2023-03-08")
    assert daemon.requested() == set()
    at.run("2023-03-08")
    assert daemon.requested() == {"2023-03-08"}
