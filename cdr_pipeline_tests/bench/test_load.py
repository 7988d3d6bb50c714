"""The contestants: each does the work that it is measured for."""

from pathlib import Path

import polars as pl
import pytest

from cdr_pipeline.bench.calls import Corpus
from cdr_pipeline.bench.contest import Cost, measure
from cdr_pipeline.bench.contestants import Job
from cdr_pipeline.bench.load import (
    CONTESTANTS,
    Run,
    compare,
    first_days,
    module_of,
    spread,
    table,
    tried,
)
from cdr_pipeline.bench.server import Serving
from cdr_pipeline.bench.truth import Verdict, judge
from cdr_pipeline_tests.bench.conftest import CALLS, DAYS


def load(name: str, server: Serving, folder: Path, frame: Path | None = None) -> Cost:
    module, _, variant = name.partition(":")
    text = str(frame or "")
    job = Job(server.url, folder, first_days(DAYS), variant, text, page_size=100, days_per_run=1)
    return measure(module, job)


@pytest.fixture(scope="module")
def ours(server: Serving, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contestants") / "ours"
    cost = load("ours", server, folder)
    assert cost.cpu > cost.start_cpu > 0
    assert min(cost.wall, cost.peak, cost.written) > 0
    return folder


def test_ours_is_right_in_every_value_and_counts_every_call(ours: Path, corpus: Corpus) -> None:
    found = judge("ours", ours, corpus)
    assert found == Verdict(values=found.values)
    assert found.values > 20 * CALLS * DAYS
    counted = pl.read_parquet(ours / "data" / "campaign_daily" / "*" / "*.parquet")["calls"].sum()
    assert counted == CALLS * DAYS


def test_each_dagster_run_takes_as_many_days_as_the_job_says(ours: Path) -> None:
    runs = (ours / "dagster" / "history" / "runs").glob("*.db")
    assert len([run for run in runs if run.stem != "index"]) == DAYS


def test_the_floor_receives_all_pages_and_writes_the_given_frame(
    ours: Path, server: Serving, tmp_path: Path
) -> None:
    pytest.importorskip("simdjson", reason="uv run --group bench")
    before = server.cost()
    load("floor", server, tmp_path / "floor", ours / "data" / "cdrs")
    after = server.cost()
    written = pl.read_parquet(tmp_path / "floor" / "calls.parquet")
    assert len(written) == CALLS * DAYS
    assert after["requests"] - before["requests"] == 1 + DAYS * CALLS // 100


@pytest.mark.parametrize("name", ["naive", "naive:struct", "dlt", "dlt:defaults"])
def test_the_others_load_every_call_and_get_values_wrong(
    name: str, server: Serving, tmp_path: Path, corpus: Corpus
) -> None:
    module = module_of(name)
    if module == "dlt":
        pytest.importorskip("dlt", reason="uv run --group bench")
    load(name, server, tmp_path / "run")
    found = judge(module, tmp_path / "run", corpus)
    assert (found.calls, found.invented) == (0, 0)
    assert 0 < found.wrong < found.values / 10


def test_the_output_of_a_contestant_is_judged_once_for_each_latency(
    corpus: Corpus, tmp_path: Path
) -> None:
    first, second = compare(corpus, tmp_path, ["naive"], [0], repeat=2)
    assert first.verdict
    assert first.verdict.values > 1000
    assert second.verdict is None
    assert first.cost.written > 0


def test_a_contestant_that_fails_says_why(tmp_path: Path) -> None:
    nobody = Serving("http://127.0.0.1:9")
    with pytest.raises(RuntimeError, match=r"naive failed[\s\S]*ConnectError"):
        load("naive", nobody, tmp_path / "naive")


def test_the_table_says_which_variants_of_each_contestant_were_tried() -> None:
    assert all("\n" in tried(name) for name in CONTESTANTS)
    assert "workers" in tried("dlt")


def test_a_table_shows_medians_and_ratios_within_a_turn() -> None:
    def run(name: str, cpu: float, verdict: Verdict | None = None) -> Run:
        cost = Cost(cpu=cpu, start_cpu=1, wall=cpu, peak=10**6, written=10**6)
        return Run(name, 0, cost, 0.1, verdict)

    runs = [
        *(run("ours", 2, Verdict(values=9)), run("dlt", 20, Verdict(values=9, lost=3))),
        *(run("ours", 4), run("dlt", 30)),
    ]
    shown = table(runs, 0, 1000)
    cells = {column.header: list(column.cells) for column in shown.columns}
    assert cells["CPU s"] == ["3.0 (2.0-4.0)", "25.0 (20.0-30.0)"]
    assert list(shown.columns[3].cells) == ["1.00", "8.75 (7.50-10.00)"]
    assert cells["wrong values"] == ["0 of 9", "3 of 9\n3 lost"]


def test_a_spread_of_equal_values_is_one_figure() -> None:
    assert spread([2.0, 2.04], ".1f") == "2.0"
