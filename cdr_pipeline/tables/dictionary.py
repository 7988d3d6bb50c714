"""The data dictionary: descriptions of every dataset and column, from `datasets` and `types`."""

import json
from collections.abc import Iterator
from typing import Final

from cdr_pipeline.tables.contract import NO_CONTRACT, Contract
from cdr_pipeline.tables.datasets import CDRS, DATASETS, Dataset
from cdr_pipeline.tables.names import column_names
from cdr_pipeline.tables.types import ENDINGS, in_words, type_of

_HEAD: Final = """\
# Data dictionary

Made by `cdr-pipeline dictionary` from `cdr_pipeline/tables/datasets.py` and `types.py`; a test
compares it with the code. Readers (`cdr_pipeline.scan` and the views of `cdrs.duckdb`) add `date`,
the local day, which is only in the path. Times with a zone are in CDR_TIMEZONE. Columns marked `*`
hold personal data, phone numbers or links to recordings; they are never in logs or metadata.
"""

_ADDITIONAL: Final = """\
Then come the lead list's columns that have a value on the day. The name of a key's column is
`additional_`, the key in lower case without diacritics, and an ending for the type of the values.

- If keys of one object give the same name (`Ten`, `Tên`), the key that equals the name has it, else
  the first key by code point. The columns of the other keys end in `_` and six digits;
  `additional_keys` says which key has which column.
- If an object has a key twice, the last value counts; `additional` has both.
- Readers show one column `additional_<name>` for all endings: with their type if all are the same,
  as Float64 if integers and decimals are mixed, else as text.
- A key that CDR_CONTRACT declares has the declared name and type, in every file made under it.
"""

_MARKED: Final = """\
A value that does not fit its type is null in its column; `additional` has it.
"""


def dictionary(contract: Contract = NO_CONTRACT) -> str:
    """The dictionary as Markdown; `data/DICTIONARY.md` is the one without a contract."""
    sections = [_HEAD, *map(_section, DATASETS.values())]
    return "\n".join([*sections, *_declared(contract)])


def _declared(contract: Contract) -> Iterator[str]:
    """The columns that a user declared, as readers see them."""
    if not contract.keys:
        return
    yield from ("## Declared columns of cdrs (CDR_CONTRACT)", "", _MARKED)
    yield from ("| column | key | type | meaning |", "|---|---|---|---|")
    for declared in contract.keys.values():
        column = declared.in_column(column_names((declared.key,))[0])
        name = f"`{column}`{' *' if declared.pii else ''}" if column else "(none)"
        type_ = in_words(type_of(declared.ending)) if column else "dropped"
        about = _cell(" ".join(declared.description.split()))
        key = _cell(json.dumps(declared.key, ensure_ascii=False))
        yield f"| {name} | {key} | {type_} | {about} |"
    yield ""


def _section(dataset: Dataset) -> str:
    return "\n".join(
        [f"## {dataset.name}", "", f"{dataset.description} A row is {dataset.row}.", ""]
        + list(_columns(dataset))
        + (["", _ADDITIONAL, *_endings()] if dataset is CDRS else [])
        + [""]
    )


def _columns(dataset: Dataset) -> Iterator[str]:
    yield "| column | type | meaning |"
    yield "|---|---|---|"
    for column in dataset.columns:
        dtype = in_words(column.dtype)
        mark = " *" if column.secret else ""
        yield f"| `{column.name}`{mark} | {dtype} | {_cell(column.description)} |"


def _endings() -> Iterator[str]:
    yield "| ending | type | values |"
    yield "|---|---|---|"
    for ending, one in ENDINGS.items():
        name = f"`{ending}`" if ending else "(none)"
        yield f"| {name} | {in_words(one.dtype)} | {one.values} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
