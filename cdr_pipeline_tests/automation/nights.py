"""Nights with ticks of the schedule, and the days that run requests ask for."""

from datetime import date
from typing import Any

import dagster as dg

from cdr_pipeline.simulator import Vendor
from cdr_pipeline.window import every_day
from cdr_pipeline_tests.living import DAY, Clock, NewWorld, Switchboard, World, at

FIRST = date(2023, 3, 1)


def some_days(board: Switchboard, count: int, calls: int = 5) -> Switchboard:
    """Add `calls` calls to each of `count` days from `FIRST` on."""
    for ahead in range(count):
        for number in range(calls):
            board.add(at(FIRST + DAY * ahead, 9 + number))
    return board


def nights(it: World, first: date, last: date) -> None:
    """The schedule's ticks at 01:30 on the dates from `first` to `last`, both included."""
    for night in every_day(first, last):
        Clock.at = at(night, 1.5)
        it.nightly()


def after_nights(
    world: NewWorld, count: int, *, days: int = 0, **settings: Any
) -> tuple[World, Vendor]:
    """A world after `count` nights, with calls on `days` days from `FIRST` on (0: on `count`)."""
    it, vendor = world(some_days(Switchboard(), days or count), **settings)
    nights(it, FIRST + DAY, FIRST + DAY * count)
    return it, vendor


def days_of(requests: list[dg.RunRequest]) -> list[tuple[str, ...]]:
    """(first day, last day) of each run request."""
    return [tuple(value for key, value in one.tags.items() if "range" in key) for one in requests]
