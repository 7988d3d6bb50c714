"""A month by the test's clock: the schedule and the sensors are evaluated and their runs executed
as in Dagster.

In one night the vendor is down, and for three days the machine sleeps.
"""

from datetime import date, datetime
from math import ceil
from random import Random

from cdr_pipeline.settings import Settings
from cdr_pipeline.tables.datasets import CAMPAIGN_DAILY
from cdr_pipeline.window import every_day
from cdr_pipeline_tests.living import DAY, HOUR, Clock, NewWorld, Switchboard, at
from cdr_pipeline_tests.records import SAIGON

FIRST, LAST = date(2023, 3, 1), date(2023, 3, 31)
DOWN = date(2023, 3, 10)
ASLEEP = [date(2023, 3, day) for day in (17, 18, 19)]
WAKES = datetime(2023, 3, 20, 12, tzinfo=SAIGON)


def a_month(random: Random) -> Switchboard:
    """Calls of March: one in ten is late by hours, one in four is edited, ten are late by days.

    No call and no edit comes too late for these settings, or after the month.
    """
    board = Switchboard(down=(at(DOWN), at(DOWN, 6)))
    days = every_day(FIRST, LAST)
    for day in days:
        for _ in range(random.randint(4, 18)):
            began = at(day, random.uniform(8, 23.9))
            late = began + HOUR * random.uniform(0, 60) if random.random() < 0.1 else None
            edited = began + HOUR * random.uniform(0, 72) if random.random() < 0.25 else None
            last = at(LAST, 24)
            board.add(
                began,
                listed=min(late, last) if late else None,
                edited=min(edited, last) if edited else None,
            )
    for day in random.sample(days[:18], 10):
        # After the days that are loaded again each night, before probes of the day end.
        board.add(at(day, 9), listed=at(day, 24 * random.uniform(6, 12)))
    return board


def least_requests(board: Switchboard, settings: Settings) -> int:
    """The least number of requests for these settings: pages of each load, one for each probe."""
    nights = [day for day in every_day(FIRST + DAY, LAST + DAY) if day not in (DOWN, *ASLEEP)]
    requests = 0
    for day in every_day(FIRST, LAST):
        due = [day + DAY * (1 + look) for look in range(settings.lookback_days + 1)]
        looks = {night for one in due for night in [night for night in nights if night >= one][:1]}
        moved = {call.listed.date() for call in board.of(day) if call.listed.date() > due[-1]}
        for look in looks | moved:
            listed = sum(call.listed.date() <= look for call in board.of(day))
            requests += max(1, ceil(listed / settings.page_size))
        last_probe = min(day + DAY * (settings.probe_days + 1), LAST + DAY)
        probed = every_day(day + DAY * (settings.lookback_days + 2), last_probe)
        requests += sum(one not in ASLEEP for one in probed)
    return requests


def test_after_a_month_of_late_and_edited_calls_every_day_is_right_with_few_requests(
    world: NewWorld,
) -> None:
    board = a_month(Random(5))
    it, vendor = world(board, start_date=FIRST)
    hour, end = at(FIRST + DAY), at(LAST + DAY, 24)
    while hour < end:
        Clock.at = hour
        if hour.date() in ASLEEP or (hour.date() == WAKES.date() and hour < WAKES):
            hour += HOUR
            continue
        if hour == WAKES:  # Dagster evaluates the last of the missed ticks
            it.nightly(at(WAKES.date(), 1.5))
        it.sensor("late_calls")
        it.sensor("freshness")
        if hour.hour == 1:
            Clock.at = hour + HOUR / 2
            it.nightly()
        hour += HOUR
    for day in every_day(FIRST, LAST):
        assert it.loaded(day) == board.truth(day), day
        assert it.store.read(CAMPAIGN_DAILY, day)["calls"].sum() == len(board.truth(day))
    assert it.failed == [DOWN]
    assert it.red == [f"{DOWN - DAY}"]
    least = least_requests(board, it.settings)
    made = len(vendor.requests)
    assert made <= 1.2 * least, f"{made} requests, {made / least:.2f} of the {least} needed"
