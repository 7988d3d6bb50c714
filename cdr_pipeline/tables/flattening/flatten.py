"""From responses as received to typed calls and rejects. Nothing is lost: every record of the
day is a row of `cdrs` or, whole, a row of `cdr_rejects`.

Records are typed some thousand at a time and laid aside (`runs`); of each only what tells which
ones count is kept in memory, a few dozen bytes. The calls come out again in the order of their
file, chunk by chunk, so that a day may be of any size.
"""

import gc
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import polars as pl

from cdr_pipeline.record import ADDITIONAL
from cdr_pipeline.tables.arrow import Rows, arrow_schema, in_columns
from cdr_pipeline.tables.contract import Contract
from cdr_pipeline.tables.datasets import CDRS, REJECTS
from cdr_pipeline.tables.flattening import additional
from cdr_pipeline.tables.flattening.counting import (
    SHAPE,
    WHOLE,
    Counted,
    by_arrival,
    count,
    ledger_rows,
    that_count,
    told_apart,
)
from cdr_pipeline.tables.flattening.records import Batch, batches
from cdr_pipeline.tables.flattening.runs import Runs
from cdr_pipeline.tables.flattening.shapes import Shape
from cdr_pipeline.tables.flattening.typed import ARRIVAL, Rules, rejects_of, typed, wall_clocks
from cdr_pipeline.tables.pages import StoredPage, began_in
from cdr_pipeline.tables.types import as_written, type_of

_ORDER: Final = ["campaign_uuid", "time_started", "id"]
_REJECTS: Final = pl.Schema({column.name: column.dtype for column in REJECTS.columns})


@dataclass(frozen=True)
class Flat:
    """A day's calls and rejects, and what their lead lists sent.

    schema: of the calls, with their additional_* columns.
    keys: the keys behind each additional_* column.
    left_out: the additional_* columns that were too many; their values are in `additional` alone.
    misfits: values that do not fit their declared type; they are in `additional` alone.
    whole_rejects: records that are in `cdr_rejects` instead of `cdrs`.
    """

    schema: pl.Schema
    additional_keys: pl.DataFrame
    keys: dict[str, list[str]]
    left_out: list[str]
    misfits: list[additional.Misfits]
    whole_rejects: int
    _calls: Runs
    _rejects: Runs
    _counted: "Counted"

    def calls(self) -> Iterator[Rows]:
        """The calls by campaign, then time, then id: some at a time."""
        return self._that_count(self._calls.slices(self._counted.chunks), self.schema)

    def reject_rows(self) -> Iterator[Rows]:
        """The rejects in the order they came: some at a time."""
        return self._that_count(self._rejects.slices(by_arrival(self._rejects)), _REJECTS)

    @property
    def cdrs(self) -> pl.DataFrame:
        """All calls at once."""
        return pl.concat([pl.DataFrame(schema=self.schema), *map(pl.DataFrame, self.calls())])

    @property
    def rejects(self) -> pl.DataFrame:
        """All rejects at once."""
        return pl.concat([pl.DataFrame(schema=_REJECTS), *map(pl.DataFrame, self.reject_rows())])

    def _that_count(self, chunks: Iterable[Rows], schema: pl.Schema) -> Iterator[Rows]:
        dropped = self._counted.dropped
        fields = arrow_schema(schema)
        for chunk in chunks:
            rows = chunk
            if len(dropped):
                rows = that_count(pl.DataFrame(chunk).lazy(), dropped).collect().to_arrow()
            yield in_columns(rows, fields)


@dataclass(frozen=True)
class Part:
    """Some of a day's pages, typed and laid aside, and what is remembered of them.

    ledger: as `ledger_rows`, batch by batch: pickled as one, it would take its memory thrice.
    whole: the records that cannot be calls, as `rejects_of`'s.
    objects: one object of each campaign's shapes, whose numbers are places in `shapes`.
    keys: the keys behind each additional_* column. filled: how many calls have a value in it.
    cut: whether some batch had so many columns that it did not keep them all; of these `filled`
        says how many records of the day have a value, whichever of them count.
    """

    calls: Runs
    rejects: Runs
    ledger: list[pl.DataFrame]
    whole: pl.DataFrame
    objects: pl.DataFrame
    shapes: list[Shape]
    keys: dict[str, set[str]]
    filled: Counter[str]
    cut: bool


def flatten(pages: Iterable[StoredPage], rules: Rules, folder: Path | None = None) -> Flat:
    """Calls and rejects of a window from the pages in force, in the order they came.

    Of two versions of a call the later stands. Rows are laid aside in `folder`, which is needed as
    long as the result is; without one they are kept in memory.
    """
    placed = [replace(stored, place=place) for place, stored in enumerate(pages)]
    part = part_of(placed, rules, folder)
    kept = columns_to_keep([part], rules)
    return united([part if kept is None else part_of(placed, rules, folder, kept=kept)], rules)


def columns_to_keep(parts: Sequence[Part], rules: Rules) -> list[str] | None:
    """The additional_* columns that a day is to be made anew with, from all its pages at once; None
    where no batch had too many, and so each has all of the day's.
    """
    if not any(part.cut for part in parts):
        return None
    return additional.most_used(*_columns_of(parts), rules.most_columns, rules.contract)


def _columns_of(parts: Sequence[Part]) -> tuple[Counter[str], dict[str, set[str]]]:
    """`filled` and `keys` of all parts."""
    filled: Counter[str] = Counter()
    keys: dict[str, set[str]] = defaultdict(set)
    for part in parts:
        filled.update(part.filled)
        for name, some in part.keys.items():
            keys[name] |= some
    return filled, keys


def part_of(
    pages: Iterable[StoredPage],
    rules: Rules,
    folder: Path | None,
    number: int = 0,
    kept: Collection[str] | None = None,
) -> Part:
    """A part of a day, its `number`th: the half of `flatten` that needs no other part.

    `pages`: any of the day's, with their places, which tell in what order they came. `kept`: the
    additional_* columns to make; those most used where that is not yet known.
    """
    making = _Making(rules, folder, number, kept)
    with _uncollected():
        for batch in batches(pages):
            making.add(batch)
    return making.part()


class _Making:
    """A part that is being made: batch after batch is typed and laid aside."""

    def __init__(
        self, rules: Rules, folder: Path | None, number: int, kept: Collection[str] | None
    ) -> None:
        self._rules = rules
        self._kept = kept
        self._spreader = additional.Spreader(rules.contract)
        self._calls = Runs(folder, f"calls-{number}", _ORDER)
        self._rejects = Runs(folder, f"rejects-{number}", ARRIVAL)
        self._ledger: list[pl.DataFrame] = []
        self._whole = [pl.DataFrame(schema=WHOLE)]
        self._objects: list[pl.DataFrame] = []
        self._keys: dict[str, set[str]] = defaultdict(set)
        self._filled: Counter[str] = Counter()
        self._cut = False

    def add(self, batch: Batch) -> None:
        """One more batch."""
        frame = batch.frame()
        clocks = wall_clocks(frame)
        objects = self._of_the_day(batch.objects, clocks["time_started"])
        columns = self._spreader.spread(objects, batch.campaigns)
        calls = typed(batch, frame, clocks, self._rules, columns, self._kept)
        run = self._calls.add(calls.drop("_shape", "_listed", "_began"))
        self._ledger.append(ledger_rows(calls, run))
        self._objects.append(_one_a_shape(calls.lazy()))
        self._count_columns(columns, calls)
        if batch.faults:
            faults = rejects_of(batch, self._rules.window)
            self._rejects.add(faults.filter("_inside"))
            self._whole.append(faults.filter(pl.col("field").is_null()).select(*WHOLE))

    def _of_the_day(self, objects: list[bytes | None], began: pl.Series) -> Sequence[bytes | None]:
        """The objects of the day's own calls: those of the days beside it, which a vendor who
        filters by the date lists as well, have no columns here.
        """
        inside = began_in(began, self._rules.window).fill_null(True)
        if inside.all():
            return objects
        return [text if own else None for text, own in zip(objects, inside, strict=True)]

    def part(self) -> Part:
        """What was made."""
        return Part(
            self._calls,
            self._rejects,
            ledger=self._ledger,
            whole=pl.concat(self._whole),
            objects=pl.concat(self._objects),
            shapes=self._spreader.known_shapes,
            keys=self._keys,
            filled=self._filled,
            cut=self._cut,
        )

    def _count_columns(self, columns: additional.Columns, calls: pl.DataFrame) -> None:
        there = columns.keys.keys() & calls.columns
        counts = {name: calls[name].count() for name in there}
        if self._kept is None:
            self._cut = self._cut or len(there) < len(columns.keys)
            self._filled.update(columns.used | counts)
        else:
            self._filled.update(counts)
        for name, some in columns.keys.items():
            self._keys[name].update(some)


def united(parts: Sequence[Part], rules: Rules) -> Flat:
    """A day from all its parts."""
    contract, zone = rules.contract, rules.zone
    calls, rejects = Runs(order=_ORDER), Runs(order=ARRIVAL)
    met = dict.fromkeys(shape for part in parts for shape in part.shapes)
    shapes = {shape: number for number, shape in enumerate(met)}
    ledger, objects = _as_one(parts, shapes)
    whole = told_apart(pl.concat(part.whole for part in parts).sort("_at"))
    filled, keys = _columns_of(parts)
    for part in parts:
        calls.append(part.calls)
        rejects.append(part.rejects)
    counted = count(ledger, whole, rules.window, len(calls))
    used = dict.fromkeys(keys, 0) | _less_dropped(filled, calls, counted.dropped)
    most_used = additional.most_used(used, keys, rules.most_columns, contract)
    dynamic = [name for name in most_used if used[name]]
    *columns_before, extra = CDRS.schema(zone).items()
    free = [(name, as_written(type_of(name), zone)) for name in dynamic]
    if len(counted.dropped) and len(calls):
        objects = _objects_that_count(calls, ledger, counted.dropped)
    groups = counted.shapes.join(objects, on=SHAPE, nulls_equal=True)
    groups = groups.group_by(SHAPE).agg(pl.col("len").first(), pl.col(ADDITIONAL).max())
    return Flat(
        schema=pl.Schema([*columns_before, *free, extra]),
        additional_keys=additional.key_table(
            groups.sort(SHAPE).iter_rows(), list(shapes), contract
        ),
        keys={name: sorted(keys[name]) for name in dynamic},
        left_out=sorted(set(used) - set(most_used)),
        misfits=_misfits(calls, counted.dropped, contract),
        whole_rejects=counted.whole_rejects,
        _calls=calls,
        _rejects=rejects,
        _counted=counted,
    )


def _as_one(
    parts: Sequence[Part], shapes: Mapping[Shape, int]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`ledger` and `objects` of all parts: runs numbered through, and shapes as in `shapes`."""
    ledgers, objects, runs = [], [], 0
    for part in parts:
        places = pl.Series([shapes[one] for one in part.shapes], dtype=pl.UInt32)
        shape = pl.lit(places).gather("_shape").alias("_shape")
        ledgers += [rows.with_columns(shape, pl.col("_run") + runs) for rows in part.ledger]
        objects.append(part.objects.with_columns(shape))
        runs += len(part.calls)
    return pl.concat(ledgers), pl.concat(objects)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector, which would look at every record's tuple again and again:
    a sixth of the time. Nothing here refers to itself.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _misfits(calls: Runs, dropped: pl.DataFrame, contract: Contract) -> list[additional.Misfits]:
    """What does not fit its declared type among the calls that count."""
    runs = calls if contract.keys else ()
    return additional.united(additional.misfits(that_count(run, dropped), contract) for run in runs)


def _less_dropped(filled: Counter[str], calls: Runs, dropped: pl.DataFrame) -> dict[str, int]:
    """How many of the calls that count have a value in each of some columns.

    `filled`: how many of all calls have.
    """
    used = Counter(filled)
    for run in calls if len(dropped) else ():
        names = sorted(run.collect_schema().keys() & filled.keys())
        gone = run.join(dropped.lazy(), on="_at", how="semi").select(pl.col(names).count())
        used.subtract({name: count.item() for name, count in gone.collect().to_dict().items()})
    return used


def _one_a_shape(calls: pl.LazyFrame) -> pl.DataFrame:
    """One object of each shape that a campaign sent: the last by its text, for the first is likely
    to be one of empty values.
    """
    sent = calls.filter(pl.col("_shape").is_not_null())
    return sent.group_by(SHAPE).agg(pl.col(ADDITIONAL).max()).collect()


def _objects_that_count(calls: Runs, ledger: pl.DataFrame, dropped: pl.DataFrame) -> pl.DataFrame:
    """As `_one_a_shape`, of the calls that count alone."""
    shapes = ledger.lazy().select("_at", "_shape")
    return pl.concat(
        _one_a_shape(that_count(run, dropped).join(shapes, on="_at", how="inner")) for run in calls
    )
