"""When the vendor documents a new field, one new line in `record.py` is enough."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "cdr_pipeline"

#: Flattens a call with the field, stores it beside a day without it, and reads both.
CODE = """
import json, sys
from datetime import timedelta
from pathlib import Path
import polars as pl
from cdr_pipeline.tables import catalog, readers
from cdr_pipeline.tables.datasets import CDRS
from cdr_pipeline.tables.store import Store
from cdr_pipeline_tests.records import DAY, SAIGON, call, flat

store = Store(Path(sys.argv[1]), SAIGON)
made = flat(call(a_new_one="33"))
store.write(CDRS, DAY, made.cdrs)
path = store.path(CDRS, DAY - timedelta(days=1))
path.parent.mkdir()
made.cdrs.drop("a_new_one", strict=False).write_parquet(path)
read = readers.lazy(store, CDRS, store.days(CDRS)).collect()
print(json.dumps({
    "extra": made.cdrs["extra"].to_list(),
    "column": read["a_new_one"].to_list() if "a_new_one" in read.columns else None,
    "view": "a_new_one" in catalog.build(store).views["cdrs"],
}))
"""


def printed(folder: Path, package: Path) -> object:
    """What `CODE` prints when it runs with this package."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(folder)],
        cwd=package.parent,  # Python looks for modules here first
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of our package in which the field is documented."""
    made = tmp_path / "code" / PACKAGE.name
    shutil.copytree(PACKAGE, made, ignore=shutil.ignore_patterns("__pycache__"))
    record = made / "record.py"
    last = '    Field("autocall_recording_url"'
    line = '    Field("a_new_one", COUNT, "A new one."),\n'
    text = record.read_text(encoding="utf-8")
    record.write_text(text.replace(last, line + last), encoding="utf-8")
    return made


def test_an_undocumented_field_is_kept_in_extra(tmp_path: Path) -> None:
    expected = {"extra": ['{"a_new_one":"33"}'], "column": None, "view": False}
    assert printed(tmp_path / "data", PACKAGE) == expected


def test_one_line_makes_the_field_a_column_of_old_and_new_files(
    tmp_path: Path, package: Path
) -> None:
    expected = {"extra": [None], "column": [None, 33], "view": True}
    assert printed(tmp_path / "data", package) == expected
