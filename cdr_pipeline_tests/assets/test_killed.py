"""If a load is killed at any moment, each partition has its old content or its new, and the next
load is exact.

The loading process counts the moments at which it accesses the vendor or the disk, and kills itself
at a given one. A first load without such a moment counts them all, so that accesses that are added
to the code later are tested too.
"""

import signal
from collections.abc import Iterator
from datetime import date
from multiprocessing import get_context
from pathlib import Path

import polars as pl
import pytest

from cdr_pipeline.settings import Settings
from cdr_pipeline.simulator import Running, Tenant, Vendor, serve
from cdr_pipeline.tables.datasets import CDRS, DATASETS
from cdr_pipeline_tests.assets import mortal
from cdr_pipeline_tests.desk import settings_for

DAY = date(2023, 3, 7)

FORKS = get_context("forkserver")
# Dagster is most of what a load imports. Polars and Arrow start threads, so they are left out.
FORKS.set_forkserver_preload(["cdr_pipeline.launcher", "httpx", "pydantic_settings", "stamina"])


@pytest.fixture(scope="module")
def vendor() -> Iterator[Running]:
    with serve(Vendor(tenant=Tenant(calls_per_day=120))) as running:
        yield running


def end_of_load(settings: Settings, fatal: int | None) -> tuple[int | None, int]:
    """Load the day in another process; return its exit code and its number of moments."""
    ours, theirs = FORKS.Pipe(duplex=False)
    with ours:
        with theirs:
            process = FORKS.Process(target=mortal.load, args=(settings, DAY, fatal, theirs))
            process.start()
        process.join()
        return process.exitcode, ours.recv() if process.exitcode == 0 else 0


def load(settings: Settings) -> int:
    """Load the day; return the number of moments."""
    code, moments = end_of_load(settings, None)
    assert code == 0
    return moments


def content(root: Path) -> dict[str, bytes]:
    return {path.parts[-3]: path.read_bytes() for path in root.glob("*/date=*/*.parquet")}


@pytest.mark.parametrize("again", [False, True], ids=["first load", "load again"])
def test_a_killed_load_leaves_old_or_new_and_the_next_is_exact(
    vendor: Running, tmp_path: Path, again: bool
) -> None:
    settings = settings_for(vendor.base_url, tmp_path)
    root = settings.data_dir
    if again:
        load(settings)
        moments = load(settings)
    else:
        moments = load(settings.model_copy(update={"data_dir": tmp_path / "counted"}))
    assert moments > 100, "what touches the vendor or the disk has other names now"
    old = content(root)
    # The step is odd, so moments before and moments after an access are both tried.
    for fatal in range(3, moments, 7):
        assert end_of_load(settings, fatal)[0] == -signal.SIGKILL, fatal
        for name in content(root):
            frame = pl.read_parquet(root / name / "*" / "*.parquet")
            assert frame.schema.keys() >= {column.name for column in DATASETS[name].columns}
        if again:
            assert content(root).keys() == old.keys()
    load(settings)
    truth = len(vendor.vendor.truth(DAY))
    assert pl.read_parquet(root / CDRS.name / "*" / "*.parquet").height == truth
    assert content(root).keys() == DATASETS.keys()
    stray = [path for path in root.rglob("*.parquet") if path.parts[-3] not in DATASETS]
    assert stray == []
