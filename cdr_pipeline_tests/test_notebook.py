"""The notebook runs from the first cell to the last, and its figures equal those of the records."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl
import pytest
from click.testing import CliRunner

from cdr_pipeline import cli
from cdr_pipeline.record import SHORT_CALL_SECONDS
from cdr_pipeline.simulator import Tenant
from cdr_pipeline.tables.aggregates import daily
from cdr_pipeline.tables.datasets import (
    CAMPAIGN_DAILY,
    CAMPAIGN_HOURLY,
    CDRS,
    DISPOSITION_DAILY,
    HOTLINE_DAILY,
    LEAD_ATTEMPTS,
)
from cdr_pipeline.tables.store import Store
from cdr_pipeline_tests.records import DAY, call, flat

CALLS_PER_DAY = 400


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """The names that the notebook's cells define, from the demo's week."""
    from cdr_pipeline.notebook import app

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("notebook"))
        patch.setattr("cdr_pipeline.cli.demo.CALLS_PER_DAY", CALLS_PER_DAY)
        patch.setenv("DAGSTER_HOME", "")
        assert CliRunner().invoke(cli.main, ["demo"]).exit_code == 0
        patch.setenv("CDR_DATA_DIR", str(Path(".demo/data").resolve()))
        _, definitions = app.run()
        return definitions


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    """The week's root legs as the vendor has them, in plain Python, ordered by time."""
    first, last = cli.demo.DAYS
    tenant = Tenant(calls_per_day=CALLS_PER_DAY)
    days = pl.date_range(first, last, eager=True).to_list()
    roots = [one for day in days for one in tenant.day(day) if one["parent_id"] in ("", one["id"])]
    return sorted(roots, key=lambda one: (one["time_started"], one["id"]))


def answered(record: dict[str, Any]) -> Any:
    """Whether a call was answered: for other calls the vendor may write a time of the year 1."""
    return record["time_answered"] > "1980" or record["billsec"] > 0


def test_campaigns_are_compared_by_sums_over_the_week(
    figures: Mapping[str, Any], records: list[dict[str, Any]]
) -> None:
    made = Counter(one["campaign_uuid"] or "outside campaigns" for one in records)
    talked: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    for one in filter(answered, records):
        talked[one["campaign_uuid"] or "outside campaigns"] += 1
        seconds[one["campaign_uuid"] or "outside campaigns"] += one["billsec"]
    rows = figures["campaigns"].rows(named=True)
    assert {row["campaign_uuid"]: row["calls"] for row in rows} == made
    for row in rows:
        name = row["campaign_uuid"]
        assert row["answered"] == talked[name]
        assert row["acd_seconds"] == pytest.approx(seconds[name] / talked[name])
        assert row["asr"] == pytest.approx(talked[name] / row["seizures"])
        assert 0 <= row["asr"] <= row["ner"] <= 1


def test_hours_are_those_of_the_wall_clock(
    figures: Mapping[str, Any], records: list[dict[str, Any]]
) -> None:
    made: defaultdict[tuple[int, int], list[bool]] = defaultdict(list)
    for one in records:
        began = datetime.fromisoformat(one["time_started"])
        made[began.isoweekday(), began.hour].append(answered(one))
    assert {
        (row["weekday"], row["hour"]): (row["calls"], row["answered"])
        for row in figures["hours"].rows(named=True)
    } == {moment: (len(calls), sum(calls)) for moment, calls in made.items()}


def test_reasons_and_answers_add_up_to_all_calls(
    figures: Mapping[str, Any], records: list[dict[str, Any]]
) -> None:
    unanswered = figures["unanswered"]
    assert unanswered["calls"].sum() == sum(not answered(one) for one in records)
    assert "answered" not in unanswered["disposition"].to_list()


def test_calls_to_a_lead_are_counted_by_attempt(
    figures: Mapping[str, Any], records: list[dict[str, Any]]
) -> None:
    tried: Counter[str] = Counter()
    made: defaultdict[int, list[bool]] = defaultdict(list)
    for one in records:
        if lead := one["lead_uuid"]:
            tried[lead] += 1
            made[tried[lead]].append(answered(one))
    assert figures["attempts"].select("attempt", "calls", "answered").rows() == [
        (attempt, len(calls), sum(calls)) for attempt, calls in sorted(made.items())
    ]


def test_hotlines_are_the_numbers_of_outbound_calls(
    figures: Mapping[str, Any], records: list[dict[str, Any]]
) -> None:
    outbound = [one for one in records if one["direction"] == "outbound"]
    short = Counter(
        one["from_number"]
        for one in filter(answered, outbound)
        if one["billsec"] < SHORT_CALL_SECONDS
    )
    made = Counter(one["from_number"] for one in outbound)
    assert {
        row["hotline"]: (row["calls"], row["short_calls"])
        for row in figures["hotlines"].rows(named=True)
    } == {hotline: (count, short[hotline]) for hotline, count in made.items()}


def test_calls_from_no_number_are_drawn_with_the_others(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cdr_pipeline.notebook import app

    hotlines = {"a": "", "b": "02873003586"}
    calls = [call(id_, direction="outbound", from_number=one) for id_, one in hotlines.items()]
    store.write(CDRS, DAY, flat(*calls).cdrs)
    day = daily.Day.read(store.lazy(CDRS, DAY))
    for dataset, measure in (
        (CAMPAIGN_DAILY, daily.campaign_daily),
        (DISPOSITION_DAILY, daily.disposition_daily),
        (HOTLINE_DAILY, daily.hotline_daily),
    ):
        store.write(dataset, DAY, measure(day).collect())
    for dataset in (CAMPAIGN_HOURLY, LEAD_ATTEMPTS):
        store.write(dataset, DAY, pl.DataFrame(schema=dataset.types))
    monkeypatch.setenv("CDR_DATA_DIR", str(store.root))
    outputs, _ = app.run()
    drawn = [one.to_json() for one in outputs if isinstance(one, alt.TopLevelMixin)]
    assert sum('"unknown"' in one and "02873003586" in one for one in drawn) == 1
