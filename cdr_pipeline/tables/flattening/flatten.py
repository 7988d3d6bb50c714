"""Turns responses as received into typed calls and rejects. Nothing is lost: every record of the
day becomes a row of `cdrs` or, if it cannot be a call, a row of `cdr_rejects`.

Records are typed some thousand at a time and stored as sorted runs (`runs`). Only a few dozen bytes
per record stay in memory, to decide which records count (`counting`). Then the calls are read again
chunk by chunk, in the order of their file. So a day may be of any size.
"""

import gc
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Final

import polars as pl

from cdr_pipeline.record import ADDITIONAL
from cdr_pipeline.tables.arrow import Rows, arrow_schema, in_columns, text_bytes
from cdr_pipeline.tables.contract import Contract
from cdr_pipeline.tables.datasets import CDRS, REJECTS
from cdr_pipeline.tables.flattening.additional import (
    Columns,
    Misfits,
    Spreader,
    misfits,
    most_used,
    objects_of,
    united_misfits,
)
from cdr_pipeline.tables.flattening.counting import (
    WHOLE,
    Counted,
    among,
    by_arrival,
    can_count,
    count,
    ledger_rows,
    that_count,
    told_apart,
)
from cdr_pipeline.tables.flattening.records import Batch, batches
from cdr_pipeline.tables.flattening.runs import Runs
from cdr_pipeline.tables.flattening.sent import Sent
from cdr_pipeline.tables.flattening.typed import Rules, rejects_of, typed
from cdr_pipeline.tables.raw_pages import StoredPage
from cdr_pipeline.tables.types import as_written, type_of
from cdr_pipeline.window import Window

_ORDER: Final = ["campaign_uuid", "time_started", "id"]
_ARRIVAL: Final = ["_at", "field"]
_SENT: Final = [ADDITIONAL, "campaign_uuid"]
_REJECTS: Final = pl.Schema(REJECTS.types)


@dataclass(frozen=True)
class Flat:
    """A day's calls and rejects, and what their lead lists sent.

    schema: of the calls, with their additional_* columns.
    additional_keys: the dataset of that name, whole.
    keys: the keys behind each additional_* column.
    left_out: the additional_* columns that were too many; their values are in `additional` alone.
    misfits: values that do not fit their declared type; they are in `additional` alone.
    whole_rejects: records that are in `cdr_rejects` instead of `cdrs`.
    """

    schema: pl.Schema
    additional_keys: pl.DataFrame
    keys: dict[str, list[str]]
    left_out: list[str]
    misfits: list[Misfits]
    whole_rejects: int
    _calls: Runs
    _rejects: Runs
    _counted: Counted

    def calls(self) -> Iterator[Rows]:
        """The calls in chunks, ordered by campaign, then time, then id."""
        return self._that_count(self._calls.slices(self._counted.chunks), self.schema)

    def reject_rows(self) -> Iterator[Rows]:
        """The rejects in chunks, in the order they came."""
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


@dataclass
class Part:
    """The typed rows of some of a day's pages, and the facts needed to unite them with other parts.

    sent: the values that came under each key, of the calls that can count.
    ledger: frames of `ledger_rows`, one per batch: pickled as one frame, they would take three
        times their memory.
    whole: the records that cannot be calls, as from `rejects_of`.
    keys: the keys behind each additional_* column. filled: how many calls have a value in it.
    cut: whether there were too many columns (including columns that only superseded calls have), so
        that some columns of the calls are missing.
    """

    calls: Runs
    rejects: Runs
    sent: Sent
    ledger: list[pl.DataFrame] = field(default_factory=list)
    whole: list[pl.DataFrame] = field(default_factory=list)
    keys: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    filled: Counter[str] = field(default_factory=Counter)
    cut: bool = False


def flatten(pages: Iterable[StoredPage], rules: Rules, folder: Path | None = None) -> Flat:
    """Calls and rejects of a window from the pages in force, in the order they came.

    Of two versions of a call, the later one counts. Rows are stored in `folder`, which must exist
    as long as the result is needed; without a folder, they are kept in memory.
    """
    placed = [replace(stored, place=place) for place, stored in enumerate(pages)]
    part = part_of(placed, rules, folder)
    kept = columns_to_keep([part], rules)
    return united([part if kept is None else part_of(placed, rules, folder, kept=kept)], rules)


def columns_to_keep(parts: Sequence[Part], rules: Rules) -> list[str] | None:
    """The additional_* columns to keep, if a part had too many: then the day is made again with
    these columns, from all its pages at once. None if no part had too many.
    """
    if not any(part.cut for part in parts):
        return None
    calls, counted = _counted(parts, rules)
    used, keys = _columns_of(parts, calls, counted, rules.contract)
    return most_used(used, keys, rules.most_columns, rules.contract)


def part_of(
    pages: Iterable[StoredPage],
    rules: Rules,
    folder: Path | None,
    number: int = 0,
    kept: Collection[str] | None = None,
) -> Part:
    """One part of a day (`number`): the half of `flatten` that needs no other part.

    `pages`: any pages of the day; their places are the order in which they came. `kept`: the
    additional_* columns to make; None for all.
    """
    spreader = Spreader(rules.contract)
    calls = Runs(folder, f"calls-{number}", _ORDER)
    part = Part(calls, Runs(folder, f"rejects-{number}", _ARRIVAL), spreader.sent)
    with _uncollected():
        for batch in batches(pages):
            _add(batch, part, spreader, rules, kept)
            del batch  # or it would be in memory together with the next one
    return part


def _add(
    batch: Batch, part: Part, spreader: Spreader, rules: Rules, kept: Collection[str] | None
) -> None:
    """Type one more batch and store its rows. Once there are too many columns, they are only
    counted: the part will be made again with the most used columns.
    """
    calls = typed(batch, rules)
    campaigns = calls["campaign_uuid"].to_list()
    columns = spreader.spread(_objects(batch, calls, rules.window), campaigns)
    _count_columns(part, columns, rules)
    some = () if part.cut else columns.used
    calls = calls.hstack(columns.frame(some if kept is None else kept))
    sizes = calls.select(text_bytes()).to_series()
    run = part.calls.add(calls.drop("_row", "_listed", "_began"), int(sizes.sum()))
    part.ledger.append(ledger_rows(calls, run, sizes))
    if batch.faults:
        faults = rejects_of(batch, rules.window)
        part.rejects.add(faults.filter("_inside"))
        part.whole.append(faults.filter(pl.col("field").is_null()).select(*WHOLE))


def _objects(batch: Batch, calls: pl.DataFrame, window: Window) -> Sequence[bytes | None]:
    """The objects of the calls that can count. Other calls get no columns: they are of the days
    before or after, which a vendor that filters by the date lists as well.
    """
    own = calls.select(can_count(window)).to_series()
    if len(own) == len(batch) and own.all():
        return batch.objects
    return [
        batch.objects[row] if counts else None
        for row, counts in zip(calls["_row"], own, strict=True)
    ]


def _count_columns(part: Part, columns: Columns, rules: Rules) -> None:
    for name, some in columns.keys.items():
        part.keys[name].update(some)
    part.filled.update(columns.used)
    if not part.cut and len(part.filled) > rules.most_columns:
        kept = most_used(part.filled, part.keys, rules.most_columns, rules.contract)
        part.cut = len(kept) < len(part.filled)


def united(parts: Sequence[Part], rules: Rules) -> Flat:
    """The day made of all its parts."""
    contract, zone = rules.contract, rules.zone
    calls, counted = _counted(parts, rules)
    rejects = Runs(order=_ARRIVAL)
    for part in parts:
        rejects.append(part.rejects)
    used, keys = _columns_of(parts, calls, counted, contract)
    kept = most_used(used, keys, rules.most_columns, contract)
    *columns_before, extra = CDRS.schema(zone).items()
    free = [(name, as_written(type_of(name), zone)) for name in kept]
    return Flat(
        schema=pl.Schema([*columns_before, *free, extra]),
        additional_keys=_sent(parts, calls, counted, contract).table(),
        keys={name: sorted(keys[name]) for name in kept},
        left_out=sorted(set(used) - set(kept)),
        misfits=_misfits(calls, counted.dropped, contract),
        whole_rejects=counted.whole_rejects,
        _calls=calls,
        _rejects=rejects,
        _counted=counted,
    )


def _counted(parts: Sequence[Part], rules: Rules) -> tuple[Runs, Counted]:
    """The calls of all parts, and which of the records count."""
    calls, ledger = Runs(order=_ORDER), []
    for part in parts:
        ledger += [rows.with_columns(pl.col("_run") + len(calls)) for rows in part.ledger]
        calls.append(part.calls)
    whole = [pl.DataFrame(schema=WHOLE), *chain.from_iterable(part.whole for part in parts)]
    records = told_apart(pl.concat(whole).sort("_at"))
    return calls, count(pl.concat(ledger), records, rules.window, len(calls))


def _columns_of(
    parts: Sequence[Part], calls: Runs, counted: Counted, contract: Contract
) -> tuple[Counter[str], dict[str, set[str]]]:
    """How many of the calls that count have a value in each column, and the keys behind it."""
    used: Counter[str] = Counter()
    keys: dict[str, set[str]] = defaultdict(set)
    for part in parts:
        used.update(part.filled)
        for name, some in part.keys.items():
            keys[name] |= some
    for run in calls if len(counted.repeated) else ():
        gone = run.filter(among(counted.repeated))
        again = Spreader(contract).spread(*objects_of(gone.select(*_SENT).collect()))
        used.subtract(again.used)
    return +used, keys  # `+` drops columns that only superseded versions of calls have


def _sent(parts: Sequence[Part], calls: Runs, counted: Counted, contract: Contract) -> Sent:
    """The values under each key of the calls that count; counted again if some calls came twice."""
    if counted.repeated.is_empty():
        sent = Sent()
        for part in parts:
            sent.update(part.sent)
        return sent
    spreader = Spreader(contract)
    for run in calls:
        spreader.spread(*objects_of(that_count(run, counted.dropped).select(*_SENT).collect()))
    return spreader.sent


@contextmanager
def _uncollected() -> Iterator[None]:
    """Switch the garbage collector off: it would look at every record's tuple again and again,
    which takes a sixth of the time. No object here is part of a reference cycle.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _misfits(calls: Runs, dropped: pl.Series, contract: Contract) -> list[Misfits]:
    """The values that do not fit their declared type, of the calls that count."""
    runs = calls if contract.keys else ()
    return united_misfits(misfits(that_count(run, dropped), contract) for run in runs)
