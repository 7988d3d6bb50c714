"""From responses as received to typed calls and rejects. Nothing is lost: every record of the
day is a row of `cdrs` or, whole, a row of `cdr_rejects`.

Records are typed some thousand at a time and laid aside (`runs`); of each only what tells which
ones count is kept in memory, a few dozen bytes. The calls come out again in the order of their
file, chunk by chunk, so that a day may be of any size.
"""

import gc
import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

import polars as pl

from cdr_pipeline import page, record
from cdr_pipeline.record import ADDITIONAL, FIELDS, NO_KEY_PRESSED, Kind, Reason, Window
from cdr_pipeline.settings import Settings
from cdr_pipeline.tables.arrow import Rows, arrow_schema, in_columns
from cdr_pipeline.tables.contract import CDRS, REJECTS, WALL_CLOCK
from cdr_pipeline.tables.declared import NO_CONTRACT, Contract
from cdr_pipeline.tables.flattening import additional
from cdr_pipeline.tables.flattening.records import Batch, batches
from cdr_pipeline.tables.flattening.runs import Runs
from cdr_pipeline.tables.flattening.shapes import Shape
from cdr_pipeline.tables.kpi import disposition
from cdr_pipeline.tables.pages import (
    ALWAYS,
    StoredPage,
    began_in,
    number_by_place,
    without_neighbours_copies,
)

T = TypeVar("T")

#: The additional_* columns of a day, unless the settings say otherwise.
MOST_COLUMNS: Final[int] = Settings.model_fields["max_additional_columns"].default
_BATCH_COLUMNS: Final = 4

#: Calls of a chunk, more or less: those of one campaign and second are never torn.
CHUNK_ROWS: Final = 8_000

_ORDER: Final = ["campaign_uuid", "time_started", "id"]
_ARRIVAL: Final = ["_at", "field"]
_SHAPE: Final = ["campaign_uuid", "_shape"]

#: More seconds since 1970 than any time that is read.
_MOST_SECONDS: Final = 2**39
_TIMES: Final = [field for field in FIELDS if field.kind is Kind.TIME]
_REJECTS: Final = pl.Schema({column.name: column.dtype for column in REJECTS.columns})
_REJECT_SCHEMA: Final = {
    **_REJECTS,
    "_at": pl.Int64(),
    "_inside": pl.Boolean(),
    "_key": pl.String(),
    "_pass": pl.Int64(),  # null where `_key` stands for an id, as the next
    "_offset": pl.Int64(),
}
_WHOLE: Final = {
    "_at": pl.Int64(),
    "_inside": pl.Boolean(),
    "_key": pl.UInt64(),
    "_pass": pl.Int64(),
    "_offset": pl.Int64(),
}


@dataclass(frozen=True)
class Rules:
    """By what a day's pages become calls: the window that is the day, the zone of its times, how
    many additional_* columns may stand (the most used stay), and the keys that are declared.
    """

    window: Window
    zone: ZoneInfo
    most_columns: int = MOST_COLUMNS
    contract: Contract = NO_CONTRACT


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
    _counted: "_Counted"

    def calls(self) -> Iterator[Rows]:
        """The calls by campaign, then time, then id: some at a time."""
        return self._that_count(self._calls.slices(self._counted.chunks), self.schema)

    def reject_rows(self) -> Iterator[Rows]:
        """The rejects in the order they came: some at a time."""
        return self._that_count(self._rejects.slices(_by_arrival(self._rejects)), _REJECTS)

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
                rows = _counting(pl.DataFrame(chunk).lazy(), dropped).collect().to_arrow()
            yield in_columns(rows, fields)


@dataclass(frozen=True)
class Part:
    """Some of a day's pages, typed and laid aside, and what is remembered of them.

    ledger: as `_ledger_rows`, batch by batch: pickled as one, it would take its memory thrice.
    whole: the records that cannot be calls, as `_reject_frame`'s.
    objects: one object of each campaign's shapes, whose numbers are places in `shapes`.
    keys: the keys behind each additional_* column. filled: how many calls have a value in it.
    cut: whether some batch had so many columns that it did not keep them all; of these `filled`
        says how many records have a value, whether they are calls of the day or not.
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
    spreader = additional.Spreader(rules.contract)
    calls = Runs(folder, f"calls-{number}", _ORDER)
    rejects = Runs(folder, f"rejects-{number}", _ARRIVAL)
    ledger: list[pl.DataFrame] = []
    whole = [pl.DataFrame(schema=_WHOLE)]
    objects: list[pl.DataFrame] = []
    keys: dict[str, set[str]] = {}
    filled: Counter[str] = Counter()
    cut = False
    with _uncollected():
        for batch in batches(pages):
            columns = spreader.spread(batch.objects, batch.campaigns)
            frame = _typed(batch, rules, columns, kept)
            run = calls.add(frame.drop("_shape", "_listed", "_began"))
            ledger.append(_ledger_rows(frame, run))
            objects.append(_one_a_shape(frame.lazy()))
            there = columns.keys.keys() & frame.columns
            cut = cut or (kept is None and len(there) < len(columns.keys))
            counts = {name: frame[name].count() for name in there}
            filled.update(counts if kept is not None else columns.used | counts)
            if batch.faults:
                faults = _reject_frame(batch, rules.window)
                rejects.add(faults.filter("_inside"))
                whole.append(faults.filter(pl.col("field").is_null()).select(*_WHOLE))
            for name, some in columns.keys.items():
                keys.setdefault(name, set()).update(some)
    return Part(
        calls,
        rejects,
        ledger=ledger,
        whole=pl.concat(whole),
        objects=pl.concat(objects),
        shapes=spreader.known_shapes,
        keys=keys,
        filled=filled,
        cut=cut,
    )


def united(parts: Sequence[Part], rules: Rules) -> Flat:
    """A day from all its parts."""
    contract, zone = rules.contract, rules.zone
    calls, rejects = Runs(order=_ORDER), Runs(order=_ARRIVAL)
    met = dict.fromkeys(shape for part in parts for shape in part.shapes)
    shapes = {shape: number for number, shape in enumerate(met)}
    ledger, objects = _as_one(parts, shapes)
    whole = _told_apart(pl.concat(part.whole for part in parts).sort("_at"))
    filled, keys = _columns_of(parts)
    for part in parts:
        calls.append(part.calls)
        rejects.append(part.rejects)
    counted = _count(ledger, whole, rules.window, len(calls))
    used = dict.fromkeys(keys, 0) | _less_dropped(filled, calls, counted.dropped)
    most_used = additional.most_used(used, keys, rules.most_columns, contract)
    dynamic = [name for name in most_used if used[name]]
    *columns_before, extra = CDRS.schema(zone).items()
    typed = [(name, additional.column_type(name, zone)) for name in dynamic]
    if len(counted.dropped) and len(calls):
        objects = _objects_that_count(calls, ledger, counted.dropped)
    groups = counted.shapes.join(objects, on=_SHAPE, nulls_equal=True)
    groups = groups.group_by(_SHAPE).agg(pl.col("len").first(), pl.col(ADDITIONAL).max())
    return Flat(
        schema=pl.Schema([*columns_before, *typed, extra]),
        additional_keys=additional.key_table(
            groups.sort(_SHAPE).iter_rows(), list(shapes), contract
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


def _told_apart(whole: pl.DataFrame) -> pl.DataFrame:
    """`_at` and `_key` of records that cannot be calls. One without an id is told apart by its
    bytes, which its `_key` stands for, and by its number among equals of its reading (`_pass`), by
    their offsets.
    """
    number = number_by_place("_pass", "_key", "_offset")
    numbered = pl.struct("_key", number).hash()
    return whole.select(
        "_at",
        "_inside",
        pl.when(pl.col("_pass").is_null()).then("_key").otherwise(numbered).alias("_key"),
    )


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


def _counting(rows: pl.LazyFrame, dropped: pl.DataFrame) -> pl.LazyFrame:
    """Those rows that count, in their order."""
    if dropped.is_empty():
        return rows
    return rows.join(dropped.lazy(), on="_at", how="anti", maintain_order="left")


def _misfits(calls: Runs, dropped: pl.DataFrame, contract: Contract) -> list[additional.Misfits]:
    """What does not fit its declared type among the calls that count."""
    runs = calls if contract.keys else ()
    return additional.united(additional.misfits(_counting(run, dropped), contract) for run in runs)


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


# Columns


def _typed(
    batch: Batch, rules: Rules, columns: additional.Columns, kept: Collection[str] | None
) -> pl.DataFrame:
    """The batch's calls as typed columns, with `_at`, `_shape`, `_listed` and `_began`.

    Adds to the batch's faults.
    """
    if kept is None:
        # Some columns more than the day will keep, since another batch may use them more.
        most = _BATCH_COLUMNS * rules.most_columns
        kept = additional.most_used(columns.used, columns.keys, most, rules.contract)
    spread = columns.frame(kept)
    frame = batch.frame()
    clocks = frame.select(page.wall_clock(pl.col(time.label)) for time in _TIMES)
    instants = _instants(clocks, rules.zone)
    _tell_unreadable(batch, frame, instants)
    status = _of_each_text(frame, "status", record.status_of, pl.String())
    frame = frame.with_columns(status, *instants, *spread, _began=clocks["time_started"])
    frame = _without_whole_rejects(batch, frame.with_columns(_listed(batch, frame)))
    return frame.with_columns(_derived(frame))


def _listed(batch: Batch, frame: pl.DataFrame) -> pl.Series:
    """Whether each record began in the window that its own page was asked for."""
    windows = [ALWAYS, *(stored.window for _, stored in batch.pages)]
    common = Window(max(one.start for one in windows), min(one.end for one in windows))
    inside = began_in(frame.get_column("_began"), common).fill_null(True)
    if inside.all():  # all began in every page's window, as they do on a day read as a whole
        return inside.alias("_listed")
    pages = pl.DataFrame(
        [(first, stored.window.start, stored.window.end) for first, stored in batch.pages],
        schema={"_at": pl.Int64, "_start": WALL_CLOCK, "_end": WALL_CLOCK},
        orient="row",
    )
    own = pl.col("_began").is_between("_start", "_end", closed="left").fill_null(True)
    dated = frame.select("_at", "_began")
    return dated.join_asof(pages, on="_at").select(_listed=own).to_series()


def _of_each_text(
    frame: pl.DataFrame, column: str, rule: Callable[[str], T | None], dtype: pl.DataType
) -> pl.Expr:
    """What a rule makes of a column of few different texts: each is looked at once."""
    texts = frame.get_column(column).drop_nulls().unique().to_list()
    return pl.col(column).replace_strict(
        texts, list(map(rule, texts)), default=None, return_dtype=dtype
    )


def _instants(clocks: pl.DataFrame, zone: ZoneInfo) -> pl.DataFrame:
    """The vendor's wall clock as instants; null for a time that the zone skips. Of two instants
    that the zone gives the same name, the earlier.

    By subtraction where the zone's clocks are not moved meanwhile: a tenth of the time.
    """
    ends: list[Any] = [end for clock in clocks for end in (clock.min(), clock.max()) if end]
    offset = record.steady_offset(min(ends), max(ends), zone) if ends else timedelta()
    if offset is not None:
        utc = (pl.all() - offset).dt.replace_time_zone("UTC")
        return clocks.select(utc.dt.convert_time_zone(zone.key))
    return clocks.select(
        pl.all().dt.replace_time_zone(zone.key, ambiguous="earliest", non_existent="null")
    )


def _tell_unreadable(batch: Batch, frame: pl.DataFrame, instants: pl.DataFrame) -> None:
    """A time that is there and has become no instant is a fault, but for the sentinels."""
    for time in _TIMES:
        text, read = frame.get_column(time.label), instants.get_column(time.label)
        if text.null_count() == read.null_count():
            continue
        rows = (text.is_not_null() & read.is_null()).arg_true()
        unread = text.gather(rows)
        odd = [one for one in unread.unique() if not record.SENTINEL_TIME.fullmatch(one)]
        for row in rows.filter(unread.is_in(odd)) if odd else ():
            batch.fault(frame["_at"][row], time.label, text[row], Reason.NO_TIME)


def _without_whole_rejects(batch: Batch, frame: pl.DataFrame) -> pl.DataFrame:
    """A call has an id and a beginning; what has not is a whole reject instead."""
    cannot = pl.col("id").is_null() | pl.col("time_started").is_null()
    bad = frame.lazy().filter(cannot).select("_at", "id").collect().rows()
    if not bad:
        return frame
    unreadable = {f.at: f.value for f in batch.faults if f.field == "time_started"}
    places = {at for at, _ in bad}
    batch.faults = [fault for fault in batch.faults if fault.at not in places]
    for at, id_ in bad:
        if id_ is None:
            reason = Reason.NO_ID
        elif at in unreadable:
            reason = Reason.UNREADABLE_BEGINNING
        else:
            reason = Reason.NO_BEGINNING
        batch.fault(at, None, unreadable.get(at), reason)
    return frame.filter(~cannot)


def _derived(frame: pl.DataFrame) -> list[pl.Expr]:
    """Our own columns of a call, from its documented ones."""
    answered, ended = pl.col("time_answered"), pl.col("time_ended")
    ringing, started = pl.col("time_ringing"), pl.col("time_started")
    key_pressed = _of_each_text(frame, "press_key", first_key, pl.Int8())
    return [
        disposition().alias("disposition"),
        (pl.col("parent_id").is_null() | (pl.col("parent_id") == pl.col("id"))).alias("is_root"),
        pl.col("_began").dt.hour().alias("hour"),
        (pl.coalesce(answered, ended) - ringing).dt.total_seconds().alias("ring_seconds"),
        (ringing - started).dt.total_seconds().alias("pdd_seconds"),
        key_pressed.alias("key_pressed"),
    ]


def first_key(press_key: str) -> int | None:
    """The first key of 0 to 9 in the vendor's JSON text; None for none, and for 127.

    The filled form is not documented: an object, a list, a bare digit. Values are looked at in
    their order; an object's own keys only where no value is a key.
    """
    try:
        value = json.loads(press_key)
    except (ValueError, RecursionError):
        value = press_key.strip()
    found = list(_leaves(value)) or list(_leaves(list(value) if isinstance(value, dict) else []))
    return next((key for key in found if key != NO_KEY_PRESSED), None)


def _leaves(value: Any) -> Iterator[int]:
    """Numbers of one digit, and 127, in depth-first order."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif type(value) in (int, str) and re.fullmatch(r"[0-9]|127", str(value)):
        yield int(value)


# Rows


def _reject_frame(batch: Batch, window: Window) -> pl.DataFrame:
    """Rows of `cdr_rejects`, with `_at`, `_inside`, `_key`, `_pass` and `_offset`.

    `_inside`: whether the record is of the day and of its page's window, as far as it says when it
    began. One that is not is no reject, and yet may be the last version of one sent before.
    `_key` stands for the record's id; or, with reading and offset in the others, for its bytes.
    """
    rows = []
    for fault in batch.faults:
        stored, name = batch.page_of(fault.at), fault.id
        began = page.began(page.identity(fault.payload)[1]) if fault.field is None else None
        inside = not began or (began in window and began in stored.window)
        key = name or f"\0{hashlib.sha256(fault.payload).hexdigest()}"
        place = {} if name else {"_pass": stored.pass_, "_offset": batch.offset(fault.at)}
        rows.append({**asdict(fault), "_at": fault.at, "_inside": inside, "_key": key, **place})
    frame = pl.DataFrame(rows, schema=_REJECT_SCHEMA)
    return frame.with_columns(pl.col("_key").hash()).sort(_ARRIVAL)


def _ledger_rows(calls: pl.DataFrame, run: int) -> pl.DataFrame:
    """What is remembered of every call until it is known which ones count.

    `_key`: equal keys, same call; a hash, which could lose a call only in sight of the blocking
    check `balance`.
    """
    return calls.select(
        "_at",
        pl.col("id").hash().alias("_key"),
        pl.lit(run, pl.UInt32).alias("_run"),
        "_listed",
        "_shape",
        pl.col("campaign_uuid").cast(pl.Categorical),
        "_began",
    )


def _one_a_shape(calls: pl.LazyFrame) -> pl.DataFrame:
    """One object of each shape that a campaign sent: the last by its text, for the first is likely
    to be one of empty values.
    """
    sent = calls.filter(pl.col("_shape").is_not_null())
    return sent.group_by(_SHAPE).agg(pl.col(ADDITIONAL).max()).collect()


def _objects_that_count(calls: Runs, ledger: pl.DataFrame, dropped: pl.DataFrame) -> pl.DataFrame:
    """As `_one_a_shape`, of the calls that count alone."""
    shapes = ledger.lazy().select("_at", "_shape")
    return pl.concat(
        _one_a_shape(_counting(run, dropped).join(shapes, on="_at", how="inner")) for run in calls
    )


@dataclass(frozen=True)
class _Counted:
    """Which records of a window count, and where they stand.

    dropped: `_at` of the records that do not.
    chunks: how many rows of each run every chunk takes.
    shapes: campaign_uuid, _shape, and how many calls have it (`len`).
    """

    dropped: pl.DataFrame
    chunks: list[list[int]]
    shapes: pl.DataFrame
    whole_rejects: int


def _count(calls: pl.DataFrame, whole: pl.DataFrame, window: Window, runs: int) -> _Counted:
    """Of records that came more than once the one that came last; and none of another window.

    `calls` as `_ledger_rows`; `whole`: `_at`, `_inside` and `_key` of the records that cannot be
    calls.
    """
    counting = without_neighbours_copies(calls, ["_key", "_began"])
    rejected = whole
    arrived = pl.concat([counting.select("_at", "_key"), whole.select("_at", "_key")])
    if arrived["_key"].n_unique() < len(arrived):
        last = arrived.group_by("_key").agg(pl.col("_at").max())
        counting = counting.join(last, on="_at", how="semi")
        rejected = whole.join(last, on="_at", how="semi")
    rejected = rejected.filter("_inside")
    inside = began_in(pl.col("_began"), window) & pl.col("_listed")
    counting = counting.lazy().filter(inside).select("_at", *_SHAPE).collect()
    kept = pl.concat([counting["_at"], rejected["_at"]])
    came = pl.concat([calls["_at"], whole["_at"]])
    shapes = counting.filter(pl.col("_shape").is_not_null()).group_by(_SHAPE).len()
    return _Counted(
        dropped=_without(came, kept).to_frame(),
        chunks=_chunks(calls, runs),
        shapes=shapes.with_columns(pl.col("campaign_uuid").cast(pl.String)),
        whole_rejects=len(rejected),
    )


def _without(came: pl.Series, kept: pl.Series) -> pl.Series:
    """Those that came and are not kept: of an ordinary day none, which their number tells."""
    return came.filter(~came.is_in(kept.implode())) if len(kept) < len(came) else came.clear()


def _chunks(calls: pl.DataFrame, runs: int) -> list[list[int]]:
    """How many rows of each run every chunk takes, where calls stand by campaign, then time.

    Campaign and second as one number, which takes half the time and memory of two columns to sort.
    """
    campaigns = calls.select(pl.col("campaign_uuid").unique()).with_columns(
        _rank=pl.col("campaign_uuid").cast(pl.String).rank("dense").fill_null(0)
    )
    rank = calls.select("campaign_uuid").join(
        campaigns, on="campaign_uuid", how="left", nulls_equal=True, maintain_order="left"
    )["_rank"]
    second = pl.lit(rank).cast(pl.Int64) * _MOST_SECONDS + pl.col("_began").dt.epoch("s")
    return _in_turn(calls.select("_run", _turn=second), runs)


def _by_arrival(rejects: Runs) -> list[list[int]]:
    """How many rows of each run every chunk takes, where rejects stand as they came."""
    turns = [
        run.select(pl.lit(number, pl.UInt32).alias("_run"), pl.col("_at").alias("_turn")).collect()
        for number, run in enumerate(rejects)
    ]
    return _in_turn(pl.concat(turns), len(turns)) if turns else []


def _in_turn(rows: pl.DataFrame, runs: int) -> list[list[int]]:
    """How many rows of each run every chunk takes; `rows`: `_run`, `_turn`.

    Those of one turn are never torn.
    """
    turns = rows["_turn"]
    starts = turns.sort().gather_every(CHUNK_ROWS)
    chunk = starts.search_sorted(turns, side="right").alias("_chunk")
    counts = rows.select("_run", chunk).group_by("_chunk", "_run").len()
    chunks: dict[int, list[int]] = defaultdict(lambda: [0] * runs)
    for number, run, length in counts.sort("_chunk").iter_rows():
        chunks[number][run] = length
    return list(chunks.values())
