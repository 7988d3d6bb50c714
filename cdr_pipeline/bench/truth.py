"""Compares what a contestant wrote with what the vendor sent, value by value.

The comparison is lenient about documented fields: empty text is null, a time is its wall clock, and
a value is right if its text is right. It is strict about the lead lists: a value must keep its JSON
type. Objects are compared without their keys, since some contestants spread them over columns.
"""

import importlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from operator import add
from pathlib import Path
from typing import Final

import polars as pl

from cdr_pipeline.bench.calls import KEY, Corpus
from cdr_pipeline.bench.contestants import Written

#: Prefix of a contestant's columns in a frame that also has the columns of the truth.
GOT: Final = "got "

_MARKS: Final = ((pl.String, "s"), (pl.Boolean, "b"))


@dataclass(frozen=True)
class Verdict:
    """Values that the vendor sent, and how many of them a contestant got wrong.

    calls: calls that are missing or written twice; their values are not counted again below.
    lost: missing values. changed: other values. mistyped: the same value with another type.
    invented: values that were never sent.
    """

    values: int = 0
    calls: int = 0
    lost: int = 0
    changed: int = 0
    mistyped: int = 0
    invented: int = 0

    @property
    def wrong(self) -> int:
        """The number of all faults."""
        return self.calls + self.lost + self.changed + self.mistyped + self.invented

    def __add__(self, other: "Verdict") -> "Verdict":
        return Verdict(*map(add, astuple(self), astuple(other)))


def judge(contestant: str, folder: Path, corpus: Corpus) -> Verdict:
    """Compare what a contestant wrote below `folder` with what the vendor sent."""
    truths = sorted(corpus.truth.glob("*.parquet"))
    columns = pl.read_parquet_schema(truths[0])
    keys = [name.removeprefix(KEY) for name in columns if name.startswith(KEY)]
    module = importlib.import_module(f"cdr_pipeline.bench.contestants.{contestant}")
    return verdict(module.written(folder, keys), map(pl.read_parquet, truths))


def verdict(written: Written, parts: Iterable[pl.DataFrame]) -> Verdict:
    """Compare `written` with the truth, which comes in parts (see `Corpus.truth`)."""
    frame = written.frame.rename(lambda column: GOT + column)
    once = frame.unique(f"{GOT}id", keep="any", maintain_order=False)
    found = Verdict(calls=frame.height - once.height)
    for truth in parts:
        both = truth.join(once, left_on="id", right_on=f"{GOT}id")
        found += Verdict(calls=truth.height - both.height)
        fields = [
            _field(both, name, columns) for name, columns in written.fields.items() if name != "id"
        ]
        together = defaultdict(list)
        for key, columns in written.keys.items():
            together[tuple(columns)].append(KEY + key)
        keys = [_keys(both, names, list(columns), written) for columns, names in together.items()]
        found = sum([*fields, *keys], found)
    return found


def _field(both: pl.DataFrame, name: str, columns: Sequence[str]) -> Verdict:
    texts = [_text(both, GOT + column) for column in columns]
    text = pl.coalesce(texts) if texts else pl.lit(None, pl.String)
    if name.startswith("time_"):
        text = pl.when(text >= "1980").then(text)
    pair = both.select(due=pl.col(name), got=pl.when(text != "").then(text))
    due, got = pl.col("due"), pl.col("got")
    return _count(pair, due.is_not_null(), due == got, pl.lit(False), got.is_not_null())


def _text(frame: pl.DataFrame, column: str) -> pl.Expr:
    value, dtype = pl.col(column), frame.schema[column]
    if isinstance(dtype, pl.Datetime):
        return value.dt.strftime("%Y-%m-%d %H:%M:%S")
    return value.cast(pl.String)


def _keys(
    both: pl.DataFrame, names: Sequence[str], columns: Sequence[str], written: Written
) -> Verdict:
    """Compare keys that share columns: the value may be that of any key; the others are lost."""
    there = [column for column in columns if column in written.frame.columns]
    got = [_marked(both, GOT + column, column in written.raw) for column in there]
    pair = both.select(
        *(_plain(pl.col(name)).alias(f"due{n}") for n, name in enumerate(names)),
        got=_plain(pl.coalesce(got)) if got else pl.lit(None, pl.String),
    )
    dues = [pl.col(f"due{n}") for n in range(len(names))]
    sent = pl.sum_horizontal(due.is_not_null() for due in dues)
    right = pl.any_horizontal((due == pl.col("got")).fill_null(False) for due in dues)
    same = pl.any_horizontal(
        (_unmarked(due) == _unmarked(pl.col("got"))).fill_null(False) for due in dues
    )
    return _count(pair, sent, right, same, pl.col("got").is_not_null())


def _count(
    pair: pl.DataFrame, sent: pl.Expr, right: pl.Expr, same: pl.Expr, there: pl.Expr
) -> Verdict:
    sent, right = sent.cast(pl.Int64), right.fill_null(False)
    wrong = (sent > 0) & there & ~right
    counts = pair.select(
        values=sent.sum(),
        lost=(sent - there.cast(pl.Int64)).clip(lower_bound=0).sum(),
        changed=(wrong & ~same).sum(),
        mistyped=(wrong & same).sum(),
        invented=((sent == 0) & there).sum(),
    )
    return Verdict(**counts.row(0, named=True))


def _marked(frame: pl.DataFrame, column: str, raw: bool) -> pl.Expr:
    """A value as the truth writes it: the mark of its JSON type, and its text; "" is null."""
    value, dtype = pl.col(column), frame.schema[column]
    if isinstance(dtype, pl.Struct):
        there = value.is_not_null()
        return pl.when(there).then(pl.concat_str(pl.lit("j:"), value.struct.json_encode()))
    if raw:
        mark = pl.when(value.str.contains(r"^[\[{]")).then(pl.lit("j:")).otherwise(pl.lit("i:"))
        return pl.concat_str(mark, value)
    of_numbers = "i" if dtype.is_integer() else "f" if dtype.is_numeric() else "t"
    known = next((mark for kind, mark in _MARKS if dtype == kind), of_numbers)
    text = value.cast(pl.String)
    return pl.concat_str(pl.lit(f"{known}:"), pl.when(text != "").then(text))


def _plain(marked: pl.Expr) -> pl.Expr:
    """An object without its keys; any other value unchanged."""
    values = marked.str.replace_all(r'"[^"]*":', "")
    return pl.when(marked.str.starts_with("j:")).then(values).otherwise(marked)


def _unmarked(marked: pl.Expr) -> pl.Expr:
    return marked.str.slice(2).str.replace(r"\.0+$", "")
