"""The data dictionary: every dataset and column in words, from the contract alone."""

from collections.abc import Iterator
from typing import Final

import polars as pl

from cdr_pipeline.tables.contract import DATASETS, ENDINGS, INSTANT, WALL_CLOCK, Dataset

_HEAD: Final = """\
# Data dictionary

Made by `cdr-pipeline dictionary` from the contract in `cdr_pipeline/tables/contract.py`; a test
holds it to the code. Readers (`cdr_pipeline.scan` and the views of `cdrs.duckdb`) add `date`, the
local day, which stands in the path alone. A time with a zone is in CDR_TIMEZONE. Columns marked
`*` hold people, phone numbers or links to recordings; they never stand in logs or metadata.
"""

_ADDITIONAL: Final = """\
Then the lead list's columns, those that hold a value on the day. A key's column is named
`additional_`, the key in lower case without diacritics, and an ending that tells the type of its
values. Readers show one `additional_<name>` for all of them: of their one type, as Float64 where
integers and decimals are mixed, else as text.
"""

_TIMES: Final[dict[pl.DataType, str]] = {INSTANT: "Datetime(us, zone)", WALL_CLOCK: "Datetime(us)"}

_MEANING: Final = {
    "": "text",
    "__int": "an integer within 64 bits",
    "__float": "any other finite number",
    "__bool": "true or false",
    "__json": "an object, a list or a larger number, as compact JSON",
}


def dictionary() -> str:
    """The dictionary as Markdown; it stands in `data/DICTIONARY.md`."""
    sections = [_HEAD, *map(_section, DATASETS.values())]
    return "\n".join(sections)


def _section(dataset: Dataset) -> str:
    return "\n".join(
        [f"## {dataset.name}", "", f"{dataset.description} A row is {dataset.row}.", ""]
        + list(_columns(dataset))
        + (["", _ADDITIONAL, *_endings()] if dataset.name == "cdrs" else [])
        + [""]
    )


def _columns(dataset: Dataset) -> Iterator[str]:
    yield "| column | type | meaning |"
    yield "|---|---|---|"
    for column in dataset.columns:
        dtype = _TIMES.get(column.dtype, str(column.dtype))
        mark = " *" if column.secret else ""
        yield f"| `{column.name}`{mark} | {dtype} | {_cell(column.description)} |"


def _endings() -> Iterator[str]:
    yield "| ending | type | values |"
    yield "|---|---|---|"
    for ending, dtype in ENDINGS.items():
        yield f"| {f'`{ending}`' if ending else '(none)'} | {dtype} | {_MEANING[ending]} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
