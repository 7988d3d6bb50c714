"""Killed at any instant, a partition holds its old content or its new, and the next run is exact.

The loading process counts the moments at which it touches the vendor or the disk, and kills itself
(SIGKILL: nothing is cleaned up) at the one it was told to.
"""

import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from cdr_pipeline.simulator import Tenant, Vendor, serve
from cdr_pipeline.tables.contract import CDRS, DATASETS

DAY = date(2023, 3, 7)

LOAD = """
import os, signal, sys
from pathlib import Path
import pyarrow.parquet as pq
from cdr_pipeline.api.client import Client
from cdr_pipeline.api.listing import Lister
from cdr_pipeline.assets import aggregates
from cdr_pipeline.assets.begun import layers
from cdr_pipeline.assets.layer import Work
from cdr_pipeline.settings import Settings
from cdr_pipeline.tables.contract import DATASETS
from cdr_pipeline.tables.store import Store
from datetime import date

left = int(sys.argv[1])

def moment():
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1

def mortal(owner, name):
    real = getattr(owner, name)
    def counted(*args, **kwargs):
        moment()
        result = real(*args, **kwargs)
        moment()
        return result
    setattr(owner, name, counted)

for owner, name in [(Client, "get"), (os, "fsync"), (Path, "replace"), (Path, "unlink"),
                    (pq.ParquetWriter, "write_table"), (pq.ParquetWriter, "close")]:
    mortal(owner, name)

settings = Settings.load()
day = date(2023, 3, 7)
store = Store(settings.data_dir, settings.zone)
with Client.from_settings(settings) as client, Lister.from_settings(client, settings) as lister:
    work = Work(day, settings, store)
    with store.locked(day):
        list(layers(work, set(DATASETS), lister))
list(aggregates.of_days_together(settings, store, [day], DATASETS))
print("moments left:", left)
"""


def load(moments: int, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LOAD, str(moments)],
        env=dict(os.environ) | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def content(root: Path) -> dict[str, bytes]:
    return {path.parts[-3]: path.read_bytes() for path in root.glob("*/date=*/*.parquet")}


@pytest.mark.parametrize("again", [False, True], ids=["first load", "load again"])
def test_a_killed_load_leaves_old_or_new_and_the_next_is_exact(tmp_path: Path, again: bool) -> None:
    vendor = Vendor(tenant=Tenant(calls_per_day=120))
    with serve(vendor) as running:
        environment = {
            "CDR_API_BASE_URL": running.base_url,
            "CDR_API_TOKEN": "any",
            "CDR_DATA_DIR": str(tmp_path),
            "CDR_REQUESTS_PER_SECOND": "0",
            "CDR_PAGE_SIZE": "50",
        }
        old: dict[str, bytes] = {}
        if again:
            assert load(10_000, environment).returncode == 0
            old = content(tmp_path)
        for moments in (3, 11, 14, 17, 22, 31, 45, 59, 66):
            killed = load(moments, environment)
            assert killed.returncode < 0, killed.stderr
            for name in content(tmp_path):
                frame = pl.read_parquet(tmp_path / name / "*" / "*.parquet")
                assert frame.schema.keys() >= {column.name for column in DATASETS[name].columns}
            if again:
                assert content(tmp_path).keys() == old.keys()
        done = load(10_000, environment)
        assert done.returncode == 0, done.stderr
    truth = len(vendor.truth(DAY))
    assert pl.read_parquet(tmp_path / CDRS.name / "*" / "*.parquet").height == truth
    assert content(tmp_path).keys() == DATASETS.keys()
    stray = [path for path in tmp_path.rglob("*.parquet") if path.parts[-3] not in DATASETS]
    assert stray == []
