"""The data dictionary says what the contract says."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from cdr_pipeline.cli import main
from cdr_pipeline.tables.datasets import DATASETS, Dataset
from cdr_pipeline.tables.dictionary import dictionary
from cdr_pipeline.tables.types import ENDINGS, INSTANT

STORED = Path(__file__).parents[2] / "data" / "DICTIONARY.md"


def test_the_stored_dictionary_is_what_the_code_says() -> None:
    told = STORED.read_text(encoding="utf-8")
    assert told == dictionary(), "cdr-pipeline dictionary > data/DICTIONARY.md"


def test_the_command_prints_it() -> None:
    done = CliRunner().invoke(main, ["dictionary"])
    assert done.exit_code == 0
    assert done.stdout == dictionary()


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS)
def test_every_column_is_explained_in_its_order(dataset: Dataset) -> None:
    _, _, section = dictionary().partition(f"\n## {dataset.name}\n")
    section, _, _ = section.partition("\n## ")
    rows = [line for line in section.splitlines() if line.startswith("| `") and "__" not in line]
    assert [row.split("`")[1] for row in rows] == [column.name for column in dataset.columns]
    for row, column in zip(rows, dataset.columns, strict=True):
        assert row.endswith(f"| {column.description} |")
        assert (" * |" in row) == column.secret


def test_every_type_of_the_lead_lists_columns_is_explained() -> None:
    told = dictionary()
    for ending, one in ENDINGS.items():
        name = "Datetime(us, zone of CDR_TIMEZONE)" if one.dtype == INSTANT else one.dtype
        shown = f"`{ending}`" if ending else "(none)"
        assert f"| {shown} | {name} | {one.values} |" in told
