"""The data dictionary: every dataset and column in words, from the contract alone."""

import json
from collections.abc import Iterator
from typing import Final

import polars as pl

from cdr_pipeline.tables.contract import DATASETS, ENDINGS, Dataset, type_in_words
from cdr_pipeline.tables.declared import NO_CONTRACT, Contract
from cdr_pipeline.tables.names import column_names

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
integers and decimals are mixed, else as text. A key that CDR_CONTRACT declares has the name and the
type declared there, in every file made under it.
"""

_MARKED: Final = """\
A value that does not fit its type is null there and stands in `additional`.
"""

_MEANING: Final = {
    "": "text",
    "__int": "an integer within 64 bits",
    "__float": "any other finite number",
    "__bool": "true or false",
    "__json": "an object, a list or a larger number, as compact JSON",
    "__decimal": "declared: a number, exactly",
    "__date": "declared: a day",
    "__datetime": "declared: an instant",
}


def dictionary(contract: Contract = NO_CONTRACT) -> str:
    """The dictionary as Markdown; without a contract it stands in `data/DICTIONARY.md`."""
    sections = [_HEAD, *map(_section, DATASETS.values())]
    return "\n".join([*sections, *_declared(contract)])


def _declared(contract: Contract) -> Iterator[str]:
    """The columns a user declared, as readers see them."""
    if not contract.keys:
        return
    yield from ("## Declared columns of cdrs (CDR_CONTRACT)", "", _MARKED)
    yield from ("| column | key | type | meaning |", "|---|---|---|---|")
    for declared in contract.keys.values():
        column = declared.in_column(column_names((declared.key,))[0])
        name = f"`{column}`{' *' if declared.pii else ''}" if column else "(none)"
        dtype = ENDINGS[declared.ending] if column else "dropped"
        type_ = type_in_words(dtype) if isinstance(dtype, pl.DataType) else dtype
        about = _cell(" ".join(declared.description.split()))
        yield f"| {name} | {_cell(_code(declared.key))} | {type_} | {about} |"
    yield ""


def _code(text: str) -> str:
    """A key as it stands in TOML and JSON."""
    return json.dumps(text, ensure_ascii=False)


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
        dtype = type_in_words(column.dtype)
        mark = " *" if column.secret else ""
        yield f"| `{column.name}`{mark} | {dtype} | {_cell(column.description)} |"


def _endings() -> Iterator[str]:
    yield "| ending | type | values |"
    yield "|---|---|---|"
    for ending, dtype in ENDINGS.items():
        type_ = type_in_words(dtype)
        yield f"| {f'`{ending}`' if ending else '(none)'} | {type_} | {_MEANING[ending]} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
