"""The readers: all give the same answers, so that their times can be compared."""

import pytest

from cdr_pipeline.bench import read
from cdr_pipeline.bench.contest import apart
from cdr_pipeline.bench.read import ASKED, Answer, Rows
from cdr_pipeline.tables import catalog
from cdr_pipeline.tables.datasets import CDRS
from cdr_pipeline.tables.store import Store

DAYS = 3


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = read.make(tmp_path_factory.mktemp("year"), DAYS, 200, seed=1)
    catalog.build(made)
    return made


def test_every_day_holds_the_calls_of_the_template_under_other_ids(store: Store) -> None:
    days = store.days(CDRS)
    frames = [store.read(CDRS, day) for day in days]
    assert [len(frame) for frame in frames] == [200] * DAYS
    assert len({id_ for frame in frames for id_ in frame["id"]}) == 200 * DAYS
    assert [frame["time_started"].dt.date().unique().to_list() for frame in frames] == [
        [day] for day in days
    ]


def test_every_reader_gives_the_same_answer_to_every_question(store: Store) -> None:
    number = store.read(CDRS, store.days(CDRS)[0])["to_number"][0]
    for question in read.questions(DAYS, number):
        rows = {reader: _sorted(ask(store.root, question)()) for reader, ask in ASKED.items()}
        assert rows["polars scan"], question.name
        for reader in ASKED:
            assert rows[reader] == rows["polars scan"], (question.name, reader)


def _sorted(rows: Rows) -> Rows:
    return sorted(rows, key=repr)


def test_a_reader_can_answer_a_question_in_another_process(store: Store) -> None:
    name = read.questions(DAYS, "")[0].name
    figures = apart(read.figures, "polars plain", name, store.root, DAYS)
    assert Answer(name, "polars plain", **figures).rows > 0


def test_the_table_compares_ours_with_the_plain_files() -> None:
    answers = [
        Answer("a day", "duckdb view", first=0.3, again=0.02, cpu=0.02, rows=1),
        Answer("a day", "duckdb plain", first=0.2, again=0.01, cpu=0.01, rows=1),
    ]
    columns = [list(column.cells) for column in read.table(answers, 1, 1).columns]
    assert columns[3] == ["1.50", ""]
    assert columns[5] == ["2.00", ""]
    assert columns[0] == ["a day", ""]
