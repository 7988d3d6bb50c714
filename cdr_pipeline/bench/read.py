"""What it costs to read a year: three questions to our readers and to the plain files.

The year is one day that was really loaded, copied to each day with other ids and numbers. Each
reader is asked in a process of its own: once, as in a newly opened notebook, and then several
times. Readers take turns, since the machine may be faster in one minute than in the next.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any, Final
from zoneinfo import ZoneInfo

import polars as pl
from rich.table import Table

from cdr_pipeline.bench import calls
from cdr_pipeline.bench.contest import apart
from cdr_pipeline.bench.load import empty_table, frame_of
from cdr_pipeline.tables.aggregates.daily import Day, campaign_daily
from cdr_pipeline.tables.datasets import CAMPAIGN_DAILY, CDRS
from cdr_pipeline.tables.footer import keys_behind
from cdr_pipeline.tables.readers import lazy
from cdr_pipeline.tables.store import FILE, Store
from cdr_pipeline.window import every_day

ZONE: Final = ZoneInfo("Asia/Ho_Chi_Minh")

Rows = list[tuple[Any, ...]]

#: How often each question is repeated after the first time.
_AGAIN: Final = 7

#: How many processes ask each reader; the readers take turns.
_TURNS: Final = 5


@dataclass(frozen=True)
class Question:
    """SQL over `{source}`, and the same in Polars; `days`: the days it asks about, None for all."""

    name: str
    sql: str
    polars: Callable[[pl.LazyFrame], pl.LazyFrame]
    dataset: str = "cdrs"
    days: tuple[date, date] | None = None


@dataclass(frozen=True)
class Answer:
    """Seconds that a reader took for a question: `first`, with opening, and `again` (medians).

    cpu: CPU seconds of all threads, again. They vary less than the wall time on a shared machine.
    """

    question: str
    reader: str
    first: float
    again: float
    cpu: float
    rows: int


def make(folder: Path, days: int, records: int, seed: int) -> Store:
    """Write `cdrs` and `campaign_daily` of so many days, copied from one loaded day."""
    corpus = calls.make(folder / "corpus", records, seed=seed)
    template = next(Path(frame_of(corpus, folder)).glob("*/*.parquet"))
    day = pl.read_parquet(template)
    keys = {name: sorted(behind) for name, behind in keys_behind([template]).items()}
    store = Store(folder / "data", ZONE)
    for n in range(days):
        moved = day.with_columns(
            pl.col(pl.Datetime) + pl.duration(days=n),
            *(_other_id(name, n) for name in _IDS),
            _other_number(n).alias("to_number"),
        )
        today = calls.DAY + timedelta(days=n)
        store.write(CDRS, today, moved, keys)
        store.write(
            CAMPAIGN_DAILY,
            today,
            campaign_daily(Day.read(moved.lazy())).collect(engine="in-memory"),
        )
    return store


_IDS: Final = ("id", "parent_id", "lead_uuid")


def _other_id(name: str, day: int) -> pl.Expr:
    """Another id for each day. Ids differ in the middle: with a common prefix for a day, the order
    of the file would help to find them.
    """
    id_ = pl.col(name)
    return pl.concat_str(id_.str.head(9), pl.lit(f"{day:04x}"), id_.str.slice(13)).alias(name)


def _other_number(day: int) -> pl.Expr:
    """Another phone number for each call, the same on every seventh day."""
    moved = (pl.col("to_number").cast(pl.Int64) + 7_919 * (day % 7)) % 10**9
    return pl.concat_str(pl.lit("0"), moved.cast(pl.String).str.zfill(9))


def opening(store: Store) -> dict[str, float]:
    """Seconds until all of `cdrs` can be queried: `scan` first and again, and the catalog."""
    from cdr_pipeline.tables import catalog  # noqa: PLC0415  needs DuckDB

    took = {}
    for name in ("scan, at first", "scan, again"):
        begun = time.perf_counter()
        lazy(store, CDRS, store.days(CDRS))
        took[name] = time.perf_counter() - begun
    begun = time.perf_counter()
    catalog.build(store)
    return took | {"catalog": time.perf_counter() - begun}


def questions(days: int, number: str) -> list[Question]:
    """The questions of a manager about so many days, and about a phone number."""
    first, last = calls.DAY, calls.DAY + timedelta(days=days - 1)
    quarter = (max(first, last - timedelta(days=89)), last)
    campaign = "fdccdbf2-bc4b-4a0f-a7ea-cb0239d00000"
    one = (last, last)

    def between(bounds: tuple[date, date]) -> str:
        return f"date BETWEEN '{bounds[0]}' AND '{bounds[1]}'"

    def by_day(frame: pl.LazyFrame) -> pl.LazyFrame:
        return frame.group_by("campaign_uuid", "disposition", "date").len()

    def of_campaign(frame: pl.LazyFrame) -> pl.LazyFrame:
        mine = frame.filter(
            pl.col("date").is_between(*quarter), pl.col("campaign_uuid") == campaign
        )
        talk = pl.col("billsec").sum(), (pl.col("disposition") == "answered").sum()
        return mine.group_by("date").agg(pl.len(), *talk)

    def of_number(frame: pl.LazyFrame) -> pl.LazyFrame:
        mine = frame.filter(pl.col("to_number") == number)
        return mine.select("date", "time_started", "status", "billsec")

    def small(frame: pl.LazyFrame) -> pl.LazyFrame:
        return frame.filter(pl.col("date").is_between(*one)).select("campaign_uuid", "calls")

    def a_day(frame: pl.LazyFrame) -> pl.LazyFrame:
        mine = frame.filter(pl.col("date").is_between(*one))
        return mine.group_by("disposition").agg(pl.col("billsec").sum())

    return [
        Question(
            "campaign x disposition x day, all days",
            "SELECT campaign_uuid, disposition, date, count(*) FROM {source} GROUP BY ALL",
            by_day,
        ),
        Question(
            "a campaign over 90 days",
            "SELECT date, count(*), sum(billsec), count_if(disposition = 'answered') FROM {source}"
            f" WHERE {between(quarter)} AND campaign_uuid = '{campaign}' GROUP BY ALL",
            of_campaign,
            days=quarter,
        ),
        Question(
            "a phone number over all days",
            "SELECT date, time_started, status, billsec FROM {source}"
            f" WHERE to_number = '{number}'",
            of_number,
        ),
        Question(
            "a day of cdrs",
            "SELECT disposition, sum(billsec) FROM {source}"
            f" WHERE {between(one)} GROUP BY disposition",
            a_day,
            days=one,
        ),
        Question(
            "a day of campaign_daily",
            f"SELECT campaign_uuid, calls FROM {{source}} WHERE {between(one)}",
            small,
            dataset="campaign_daily",
            days=one,
        ),
    ]


def ask(root: Path, days: int) -> list[Answer]:
    """Put every question to every reader, in turn, each time in a process of its own."""
    answers = []
    for question in questions(days, ""):
        turns = [
            {reader: apart(figures, reader, question.name, root, days) for reader in ASKED}
            for _ in range(_TURNS)
        ]
        for reader in ASKED:
            told = [turn[reader] for turn in turns]
            medians = {name: median(one[name] for one in told) for name in told[0]}
            answers.append(Answer(question.name, reader, **medians))
    return answers


def table(answers: Sequence[Answer], days: int, records: int) -> Table:
    """One line a question and reader; ratios: our reader to plain files in the same engine."""
    shown = empty_table(
        *("", "", "first ms", "x plain", "again ms", "x plain", "CPU ms", "x plain", "rows"),
        title=f"{days:,} days of {records:,} calls",
        words=2,
    )
    known = {(answer.question, answer.reader): answer for answer in answers}
    last = ""
    for answer in answers:
        if answer.question != last:
            shown.add_section()
        plain = known.get((answer.question, f"{answer.reader.split()[0]} plain"))
        held = plain if plain is not answer else None
        shown.add_row(
            "" if answer.question == last else answer.question,
            answer.reader,
            *_beside(answer.first, held.first if held else None),
            *_beside(answer.again, held.again if held else None),
            *_beside(answer.cpu, held.cpu if held else None),
            f"{answer.rows:,}",
        )
        last = answer.question
    return shown


def _beside(seconds: float, plain: float | None) -> tuple[str, str]:
    return f"{1000 * seconds:.1f}", f"{seconds / plain:.2f}" if plain else ""


# In the reader's process


def _polars_scan(root: Path, question: Question) -> Callable[[], Rows]:
    from cdr_pipeline import scan  # noqa: PLC0415  of one reader alone

    days = question.days or (None, None)
    return lambda: question.polars(scan(question.dataset, *days, data_dir=root)).collect().rows()


def _polars_plain(root: Path, question: Question) -> Callable[[], Rows]:
    """Reads the files of the question's days by their paths, or all files by a pattern."""
    folder = root / question.dataset

    def run() -> Rows:
        source: Any = folder / "*" / FILE
        if question.days:
            source = [folder / f"date={day}" / FILE for day in every_day(*question.days)]
        frame = pl.scan_parquet(source, hive_partitioning=True)
        return question.polars(frame).collect().rows()

    return run


def _duckdb_view(root: Path, question: Question) -> Callable[[], Rows]:
    return _duckdb(question.sql.format(source=question.dataset), root / "cdrs.duckdb")


def _duckdb_days(root: Path, question: Question) -> Callable[[], Rows]:
    """The macro with the name of the view, which takes the days."""
    days = "'{}', '{}'".format(*question.days) if question.days else "NULL, NULL"
    source = f"{question.dataset}({days})"
    return _duckdb(question.sql.format(source=source), root / "cdrs.duckdb")


def _duckdb_plain(root: Path, question: Question) -> Callable[[], Rows]:
    day = "*"
    if question.days and question.days[0] == question.days[1]:
        day = f"date={question.days[0]}"
    files = root / question.dataset / day / FILE
    source = f"read_parquet('{files}', hive_partitioning = true)"
    return _duckdb(question.sql.format(source=source))


def _duckdb(sql: str, database: Path | None = None) -> Callable[[], Rows]:
    """A query in DuckDB; the first one also opens the database."""
    import duckdb  # noqa: PLC0415  of one reader alone

    opened = cache(lambda: duckdb.connect(database or ":memory:", read_only=bool(database)))
    return lambda: opened().execute(sql).fetchall()


#: Reader -> how to ask it. Each plain reader is the measure for the readers before it.
ASKED: Final[dict[str, Callable[[Path, Question], Callable[[], Rows]]]] = {
    "polars scan": _polars_scan,
    "polars plain": _polars_plain,
    "duckdb view": _duckdb_view,
    "duckdb days": _duckdb_days,
    "duckdb plain": _duckdb_plain,
}


def figures(reader: str, name: str, root: Path, days: int) -> dict[str, Any]:
    """The fields of `Answer` for one question, which one reader answers several times."""
    first = root / CDRS.name / f"date={calls.DAY}" / FILE
    number = pl.scan_parquet(first).select("to_number").head(1).collect().item()
    question = next(one for one in questions(days, number) if one.name == name)
    run = ASKED[reader](root, question)
    took, spent, rows = [], [], []
    for _ in range(1 + _AGAIN):
        begun, used = time.perf_counter(), time.process_time()
        rows = run()
        took.append(time.perf_counter() - begun)
        spent.append(time.process_time() - used)
    again = {"again": median(took[1:]), "cpu": median(spent[1:])}
    return {"first": took[0], **again, "rows": len(rows)}
