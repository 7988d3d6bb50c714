"""Days on which one key came in another type each day, and what readers must show of them."""

from datetime import date, timedelta
from typing import Any, Final

from cdr_pipeline.tables.contract import NO_CONTRACT, Contract
from cdr_pipeline.tables.datasets import CDRS
from cdr_pipeline.tables.flattening.flatten import flatten
from cdr_pipeline.tables.flattening.typed import Rules
from cdr_pipeline.tables.raw_pages import StoredPage
from cdr_pipeline.tables.store import Store
from cdr_pipeline.window import Window
from cdr_pipeline_tests.records import DAY, call, page_of

#: Day -> id -> the lead list's object as JSON.
OBJECTS: Final[dict[int, dict[str, str]]] = {
    0: {
        "int": '{"x": 7, "n": 9007199254740993, "Số": 1}',
        "large": '{"x": 9007199254740993}',
        "zeros": '{"only": "0981218709"}',
    },
    1: {
        "float": '{"x": 2.5, "n": 0.5}',
        "tiny": '{"x": 1.5e-5}',
        "tinier": '{"x": 1e-7}',
        "huge": '{"x": 1e20}',
        "whole": '{"x": 3.0}',
    },
    2: {"text": '{"x": "0123", "only": "0123"}', "quotes": '{"x": "\'; DROP VIEW cdrs; --"}'},
    3: {
        "bool": '{"x": true, "b": true}',
        "json": '{"x": {"a": [1]}, "b": false}',
        "none": '{"x": null}',
        "digits": '{"x": 18446744073709551616}',
    },
}
DAYS: Final = [DAY + timedelta(days=after) for after in OBJECTS]

#: id -> additional_x over all the days: texts, the only type in which all these values fit.
X: Final = {
    "int": "7",
    "large": "9007199254740993",
    "zeros": None,
    "float": "2.5",
    "tiny": "1.5e-05",
    "tinier": "1e-07",
    "huge": "1e+20",
    "whole": "3.0",
    "text": "0123",
    "quotes": "'; DROP VIEW cdrs; --",
    "bool": "true",
    "json": '{"a":[1]}',
    "none": None,
    "digits": "18446744073709551616",
}


def write_day(
    store: Store, day: date, objects: dict[str, str], contract: Contract = NO_CONTRACT
) -> None:
    """Write a day of `cdrs`: for each id a call with this `additional` object."""
    calls: list[Any] = [
        call(id_, f"{day} 10:00:00", additional=text, campaign_uuid="c1")
        for id_, text in objects.items()
    ]
    pages = [StoredPage(1, page_of(*calls))]
    made = flatten(pages, Rules(Window.of(day), store.zone, contract=contract))
    store.write(CDRS, day, made.cdrs, made.keys, contract)


def write_days(store: Store) -> None:
    """Write all days of `OBJECTS`."""
    for day, objects in zip(DAYS, OBJECTS.values(), strict=True):
        write_day(store, day, objects)
