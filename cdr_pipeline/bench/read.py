"""What it costs to read a year: three questions to our readers, and to the plain files.

The year is one day, loaded for real, and moved from day to day with other ids and numbers. Each
reader is asked in a process of its own: once, as whoever opens a notebook, and then again.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final
from zoneinfo import ZoneInfo

import polars as pl
from rich.table import Table

from cdr_pipeline.bench import calls
from cdr_pipeline.bench.load import frame_of
from cdr_pipeline.tables.contract import CAMPAIGN_DAILY, CDRS
from cdr_pipeline.tables.kpi import campaign_daily
from cdr_pipeline.tables.store import FILE, Store

ZONE: Final = ZoneInfo("Asia/Ho_Chi_Minh")

#: Who is asked; the plain ones are what the ones before them are held against.
READERS: Final = ("polars scan", "polars plain", "duckdb view", "duckdb plain")

#: Times that each question is put after the first.
_AGAIN: Final = 5


@dataclass(frozen=True)
class Question:
    """Of whom is asked, and what: SQL over `{calls}` and `{days}`, and the same in Polars."""

    name: str
    sql: str
    polars: Callable[[pl.LazyFrame], pl.LazyFrame]
    dataset: str = "cdrs"
    days: tuple[date, date] | None = None


@dataclass(frozen=True)
class Answer:
    """Seconds that a question took a reader: at first, opening included, and again (median)."""

    question: str
    reader: str
    first: float
    again: float
    rows: int


def make(folder: Path, days: int, records: int, seed: int) -> Store:
    """`cdrs` and `campaign_daily` of so many days, from one day that was really loaded."""
    corpus = calls.make(folder / "corpus", records, seed=seed)
    template = next(Path(frame_of(corpus, folder)).glob("*/*.parquet"))
    day, keys = pl.read_parquet(template), _keys(template)
    store = Store(folder / "data", ZONE)
    for n in range(days):
        moved = day.with_columns(
            pl.col(pl.Datetime) + pl.duration(days=n),
            *((pl.format(f"{n:08x}{{}}", pl.col(name).str.slice(8))).alias(name) for name in _IDS),
            _other_number(n).alias("to_number"),
        )
        today = calls.DAY + timedelta(days=n)
        store.write(CDRS, today, moved, keys)
        store.write(CAMPAIGN_DAILY, today, campaign_daily(moved.lazy()).collect())
    return store


_IDS: Final = ("id", "parent_id", "lead_uuid")


def _other_number(day: int) -> pl.Expr:
    """Another number for each, the same on every seventh day."""
    moved = (pl.col("to_number").cast(pl.Int64) + 7_919 * (day % 7)) % 10**9
    return pl.concat_str(pl.lit("0"), moved.cast(pl.String).str.zfill(9))


def _keys(path: Path) -> dict[str, list[str]]:
    import pyarrow.parquet as pq  # noqa: PLC0415  nothing else here needs it

    fields = pq.read_schema(path)
    return {one.name: json.loads(one.metadata[b"keys"]) for one in fields if b"keys" in one.metadata}


def questions(days: int) -> list[Question]:
    """What a manager asks of so many days."""
    first, last = calls.DAY, calls.DAY + timedelta(days=days - 1)
    quarter = (max(first, last - timedelta(days=89)), last)
    campaign = "fdccdbf2-bc4b-4a0f-a7ea-cb0239d00000"
    number = "0903667212"
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


def ask(root: Path, days: int, readers: Sequence[str] = READERS) -> list[Answer]:
    """Every question to every reader, each in a process of its own."""
    answers = []
    for question in questions(days):
        for reader in readers:
            command = [sys.executable, "-m", __name__, reader, question.name, str(root), str(days)]
            said = subprocess.run(command, check=True, capture_output=True, text=True)
            told = json.loads(said.stdout.splitlines()[-1])
            answers.append(Answer(question.name, reader, **told))
    return answers


def table(answers: Sequence[Answer], days: int, records: int) -> Table:
    """A line a question and reader; ratios of ours to the plain files by the same engine."""
    shown = Table(
        *("", "", "first ms", "x plain", "again ms", "x plain", "rows"),
        title=f"{days:,} days of {records:,} calls",
    )
    for column in shown.columns[2:]:
        column.justify = "right"
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
            f"{1000 * answer.first:.1f}",
            f"{answer.first / held.first:.2f}" if held else "",
            f"{1000 * answer.again:.1f}",
            f"{answer.again / held.again:.2f}" if held else "",
            f"{answer.rows:,}",
        )
        last = answer.question
    return shown


# In the reader's process


def _polars_scan(root: Path, question: Question) -> Callable[[], int]:
    from cdr_pipeline import scan  # noqa: PLC0415  of one reader alone

    def run() -> int:
        first, last = question.days or (None, None)
        frame = scan(question.dataset, first, last, data_dir=root)
        return question.polars(frame).collect().height

    return run


def _polars_plain(root: Path, question: Question) -> Callable[[], int]:
    """The files of those days, by their paths; else by a pattern."""
    folder = root / question.dataset

    def run() -> int:
        source: Any = folder / "*" / FILE
        if question.days:
            first, last = question.days
            span = range((last - first).days + 1)
            source = [folder / f"date={first + timedelta(days=n)}" / FILE for n in span]
        frame = pl.scan_parquet(source, hive_partitioning=True)
        return question.polars(frame).collect().height

    return run


def _duckdb_view(root: Path, question: Question) -> Callable[[], int]:
    import duckdb  # noqa: PLC0415  of one reader alone

    connection: Any = None

    def run() -> int:
        nonlocal connection
        connection = connection or duckdb.connect(str(root / "cdrs.duckdb"), read_only=True)
        return len(connection.execute(question.sql.format(source=question.dataset)).fetchall())

    return run


def _duckdb_plain(root: Path, question: Question) -> Callable[[], int]:
    import duckdb  # noqa: PLC0415  of one reader alone

    connection: Any = None
    folder = root / question.dataset

    def run() -> int:
        nonlocal connection
        connection = connection or duckdb.connect()
        files = f"'{folder}/*/{FILE}'"
        if question.days and question.days[0] == question.days[1]:
            files = f"'{folder}/date={question.days[0]}/{FILE}'"
        source = f"read_parquet({files}, hive_partitioning = true)"
        return len(connection.execute(question.sql.format(source=source)).fetchall())

    return run


_ASKED: Final = {
    "polars scan": _polars_scan,
    "polars plain": _polars_plain,
    "duckdb view": _duckdb_view,
    "duckdb plain": _duckdb_plain,
}


def main(reader: str, name: str, root: str, days: str) -> None:
    """Ask one question of one reader, again and again; print seconds as JSON."""
    question = next(one for one in questions(int(days)) if one.name == name)
    run = _ASKED[reader](Path(root), question)
    took, rows = [], 0
    for _ in range(1 + _AGAIN):
        begun = time.perf_counter()
        rows = run()
        took.append(time.perf_counter() - begun)
    told = {"first": took[0], "again": median(took[1:]), "rows": rows}
    print(json.dumps(told))  # noqa: T201  to whoever started this


if __name__ == "__main__":
    main(*sys.argv[1:])
