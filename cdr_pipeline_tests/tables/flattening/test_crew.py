"""A day flattened by two processes equals the day flattened by one, however they share the work."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from cdr_pipeline.tables.contract import NO_CONTRACT
from cdr_pipeline.tables.datasets import RAW_PAGES
from cdr_pipeline.tables.flattening.crew import Crew, crew_of
from cdr_pipeline.tables.flattening.flatten import flatten
from cdr_pipeline.tables.flattening.typed import Rules
from cdr_pipeline.tables.store import Store
from cdr_pipeline.window import Window
from cdr_pipeline_tests.records import DAY, SAIGON, Sent, call, everything, page_of, pages_row

MOST_COLUMNS = 2


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Every response is a row group, and a second process starts from four row groups on."""
    monkeypatch.setattr("cdr_pipeline.tables.raw_pages._BODY_BYTES", 1)
    monkeypatch.setattr("cdr_pipeline.tables.flattening.crew._WORTH_A_PROCESS", 4)
    return Store(tmp_path / "data", SAIGON)


@pytest.fixture
def crew(store: Store) -> Iterator[Crew]:
    with crew_of(store, DAY, MOST_COLUMNS, NO_CONTRACT) as made:
        yield made


def keep(store: Store, crew: Crew, responses: Sequence[tuple[int, bytes]]) -> None:
    """Store these responses as a fetch does: (number of the reading of the whole day, body)."""
    with store.writing_pages(DAY, crew.take) as pages:
        for number, body in responses:
            pages.add(pages_row(number, body))


def flattened_by_one(store: Store) -> dict[str, object]:
    """The stored day, flattened by one process."""
    return everything(flatten(store.pages(DAY), Rules(Window.of(DAY), SAIGON, MOST_COLUMNS)))


def records(number: int) -> list[Sent]:
    began = datetime(2023, 3, 7, 12) - timedelta(minutes=number)
    return [
        call(f"{number}", f"{began}", additional={"k": number % 2 or "text"}, duration="x"),
        call(f"{number % 3}", note=f"{number}"),  # some calls come again and again
        b'{"id":1,"duration":}' if number % 2 else b'["no call"]',
    ]


def test_every_other_row_group_goes_to_the_second_process_at_once(store: Store, crew: Crew) -> None:
    keep(store, crew, [(1, page_of(*records(at), total=90)) for at in range(7)])
    assert crew._taken == {0, 2, 4, 6}
    assert everything(crew.flat()) == flattened_by_one(store)


def test_a_small_day_is_flattened_by_one_process(store: Store, crew: Crew) -> None:
    keep(store, crew, [(1, page_of(*records(at), total=0)) for at in range(3)])
    assert not crew._taken
    assert everything(crew.flat()) == flattened_by_one(store)


def test_a_day_larger_than_its_total_is_shared_when_it_is_complete(
    store: Store, crew: Crew
) -> None:
    keep(store, crew, [(1, page_of(*records(at), total=0)) for at in range(7)])
    assert not crew._taken
    assert everything(crew.flat()) == flattened_by_one(store)


def test_probes_are_not_given_to_the_second_process(store: Store, crew: Crew) -> None:
    passes = (1, 1, 0, 0, 1)
    keep(store, crew, [(n, page_of(*records(at), total=90)) for at, n in enumerate(passes)])
    assert crew._taken == {0, 4}
    assert everything(crew.flat()) == flattened_by_one(store)


@pytest.mark.parametrize("again", [1, 5], ids=["little", "much"])
def test_pages_taken_of_a_reading_that_does_not_count_are_dropped(
    store: Store, crew: Crew, again: int
) -> None:
    first = [(1, page_of(*records(at), total=90)) for at in range(5)]
    keep(store, crew, [*first, *((2, page_of(*records(at + 1))) for at in range(again))])
    assert crew._taken
    made = crew.flat()
    assert everything(made) == flattened_by_one(store)
    assert len(made.cdrs) <= 2 * again


def test_a_limit_of_columns_gives_the_same_columns_however_work_is_shared(
    store: Store, crew: Crew
) -> None:
    """`x` is the most used key of the day, but not in every other response."""
    many = {f"k{at}": "text" for at in range(9)}
    sent = [[many] * 4 + [{**many, "x": "text"}] * 4, [{"x": "text"}] * 8]
    bodies = [
        page_of(*(call(f"{at}-{n}", additional=keys) for n, keys in enumerate(sent[at % 2])))
        for at in range(8)
    ]
    keep(store, crew, [(1, body.replace(b'"total":8', b'"total":800')) for body in bodies])
    assert crew._taken
    made = crew.flat()
    assert everything(made) == flattened_by_one(store)
    assert "additional_x" in made.keys
    assert (
        made.cdrs["additional_x"].count() == made.additional_keys.filter(key="x")["records"].sum()
    )


def test_no_staged_file_is_left(store: Store) -> None:
    with crew_of(store, DAY, MOST_COLUMNS, NO_CONTRACT) as crew:
        keep(store, crew, [(1, page_of(*records(at), total=90)) for at in range(7)])
        crew.flat()
    assert store.holds(RAW_PAGES, DAY)
    assert not [path for path in (store.root / ".staging").rglob("*") if path.is_file()]


def test_the_other_process_imports_no_settings() -> None:
    asks = f"import sys, {Crew.__module__}; sys.exit('pydantic' in sys.modules)"
    subprocess.run([sys.executable, "-c", asks], check=True)
