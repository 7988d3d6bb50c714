"""Which days are loaded or probed again, and when, from dates alone."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdr_pipeline.settings import Settings
from cdr_pipeline.tables.datasets import RECEIPTS
from cdr_pipeline.tables.store import Store
from cdr_pipeline.upkeep import DAY, Kept, Moved, Round, newest_due, wanted, watched

NEWEST = date(2023, 3, 31)
SETTINGS = Settings(lookback_days=3, probe_days=35)


def days(*numbers: int) -> list[date]:
    """The days of March 2023 with these numbers."""
    return [date(2023, 3, number) for number in numbers]


def stored_days(proved: dict[int, int], *, not_made: int = 0) -> dict[date, Kept]:
    """The stored days. `proved`: number of the day in March -> days from it to its last proof."""
    return {
        day: Kept(day + DAY * after, whole=day.day != not_made)
        for number, after in proved.items()
        for day in days(number)
    }


SETTLED = dict.fromkeys(range(1, 28), 4) | {28: 3, 29: 2, 30: 1}


def test_each_night_the_day_that_ended_and_the_lookback_before_it_are_fetched() -> None:
    assert wanted(NEWEST, stored_days(SETTLED), SETTINGS).fetch == days(28, 29, 30, 31)


def test_days_before_the_first_stored_day_are_not_fetched() -> None:
    assert wanted(NEWEST, {}, SETTINGS).fetch == days(31)
    assert wanted(NEWEST, stored_days({30: 1}), SETTINGS).fetch == days(30, 31)


def test_a_gap_is_filled_from_the_first_loaded_day_on() -> None:
    holes = {day: after for day, after in SETTLED.items() if day not in (1, 2, 10, 11, 20)}
    assert wanted(NEWEST, stored_days(holes), SETTINGS).fetch == days(10, 11, 20, 28, 29, 30, 31)


def test_days_of_missed_nights_are_fetched() -> None:
    slept = dict.fromkeys(range(1, 21), 4) | {21: 3, 22: 2, 23: 1}
    assert wanted(NEWEST, stored_days(slept), SETTINGS).fetch == days(*range(21, 32))


def test_a_day_loaded_by_hand_since_is_not_loaded_again() -> None:
    by_hand = SETTLED | {29: 3, 30: 2, 31: 1}
    assert wanted(NEWEST, stored_days(by_hand), SETTINGS).fetch == days(28)
    assert wanted(NEWEST, stored_days(SETTLED | {5: 400}), SETTINGS).fetch == days(28, 29, 30, 31)


def test_a_longer_lookback_fetches_days_that_it_would_have_fetched() -> None:
    longer = Settings(lookback_days=5)
    assert wanted(NEWEST, stored_days(SETTLED | {7: 6}), longer).fetch == [
        day for day in days(*range(1, 32)) if day.day != 7
    ]


def test_a_day_with_missing_aggregates_is_made_again_without_the_vendor() -> None:
    asked = wanted(NEWEST, stored_days(SETTLED, not_made=10), SETTINGS)
    assert (asked.make, asked.fetch) == (days(10), days(28, 29, 30, 31))
    assert wanted(NEWEST, stored_days(SETTLED, not_made=29), SETTINGS).make == []


@pytest.mark.parametrize(
    ("settings", "first"),
    [
        (Settings(probe_days=35), date(2023, 2, 24)),
        (Settings(probe_days=0, lookback_days=2), date(2023, 3, 29)),
        (Settings(probe_days=35, start_date=date(2023, 3, 20)), date(2023, 3, 20)),
    ],
)
def test_days_are_watched_for_the_probe_days_or_the_lookback(
    settings: Settings, first: date
) -> None:
    assert watched(NEWEST, settings) == (first, NEWEST)


# ---- probes


@given(
    count=st.integers(0, 60),
    minute=st.integers(0, 59),
    today=st.sampled_from(
        [
            (date(2023, 3, 7), "Asia/Ho_Chi_Minh"),
            (date(2023, 3, 12), "America/New_York"),
            (date(2023, 11, 5), "America/New_York"),
        ]
    ),
)
def test_with_hourly_ticks_each_day_is_probed_once_a_day_and_few_at_once(
    count: int, minute: int, today: tuple[date, str]
) -> None:
    on, zone = today[0], ZoneInfo(today[1])
    older = [on - DAY * back for back in range(count, 0, -1)]
    now = datetime(on.year, on.month, on.day, 0, minute, tzinfo=zone).astimezone(UTC)
    cursor, asked = "", []
    while now.astimezone(zone).date() == on:
        turn = Round.read(cursor, on)
        due = turn.due(older, now.astimezone(zone))
        assert len(due) <= count / 22 + 1
        for day in due:
            turn = turn.after(day, answered=True)
        cursor = f"{turn}"
        asked += due
        now += timedelta(hours=1)
    assert asked == older
    assert len(cursor) < 30


def test_a_late_tick_probes_all_that_are_due_and_a_new_date_begins_anew() -> None:
    older = days(1, 2, 3, 4)
    evening = datetime(2023, 3, 7, 23, tzinfo=ZoneInfo("Asia/Ho_Chi_Minh"))
    assert Round.read("2023-03-07 2023-03-01", evening.date()).due(older, evening) == older[1:]
    assert Round.read("2023-03-06 2023-03-04", evening.date()).due(older, evening) == older


def test_a_day_without_an_answer_is_due_again_after_the_others_until_it_has_one() -> None:
    older = days(1, 2, 3, 4)
    evening = datetime(2023, 3, 7, 23, tzinfo=ZoneInfo("Asia/Ho_Chi_Minh"))
    turn = Round(evening.date()).after(older[0], answered=False)
    assert Round.read(f"{turn}", evening.date()) == turn
    assert turn.due(older, evening) == [*older[1:], older[0]]
    assert turn.due(older[1:], evening) == older[1:]  # if its pages were deleted meanwhile
    assert turn.after(older[1], answered=True).due(older, evening) == [*older[2:], older[0]]
    assert turn.after(older[0], answered=False) == turn
    assert turn.after(older[0], answered=True).due(older, evening) == older[1:]


def test_a_total_that_grew_is_tried_daily_and_one_that_fell_once() -> None:
    proved_at = datetime(2023, 3, 8, 1, 30, tzinfo=UTC)
    grew, fell = Moved(NEWEST, 10, 11, proved_at), Moved(NEWEST, 10, 9, proved_at)
    today, tomorrow = date(2023, 4, 9), date(2023, 4, 10)
    assert grew.run_key(today) == grew.run_key(today) != grew.run_key(tomorrow)
    assert fell.run_key(today) == fell.run_key(tomorrow)
    assert fell.run_key(today) != Moved(NEWEST, 10, 8, proved_at).run_key(today)
    accepted = Moved(NEWEST, 10, 9, proved_at + DAY)
    assert fell.run_key(today) != accepted.run_key(today)


# ---- freshness


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store in which 2023-03-08 was loaded."""
    it = Store(tmp_path, ZoneInfo("Asia/Ho_Chi_Minh"))
    row = pl.DataFrame(schema=RECEIPTS.schema(it.zone))
    it.write(RECEIPTS, date(2023, 3, 8), row)
    return it


@pytest.mark.parametrize(
    ("now", "zone", "at", "due"),
    [
        ("2023-03-10T05:29:00+07:00", "Asia/Ho_Chi_Minh", "01:30", 8),
        ("2023-03-10T05:30:00+07:00", "Asia/Ho_Chi_Minh", "01:30", 9),
        ("2023-03-09T22:30:00+00:00", "Asia/Ho_Chi_Minh", "01:30", 9),
        ("2023-03-10T23:59:00+07:00", "Asia/Ho_Chi_Minh", "01:30", 9),
        ("2023-03-11T02:59:00+07:00", "Asia/Ho_Chi_Minh", "23:00", 8),
        ("2023-03-11T03:00:00+07:00", "Asia/Ho_Chi_Minh", "23:00", 9),
        # On the 12th, New York's clocks jump from 02:00 to 03:00.
        ("2023-03-12T06:29:00-04:00", "America/New_York", "01:30", 10),
        ("2023-03-12T06:30:00-04:00", "America/New_York", "01:30", 11),
    ],
)
def test_the_day_that_ended_is_due_four_hours_after_the_schedules_time(
    store: Store, now: str, zone: str, at: str, due: int
) -> None:
    settings = Settings(timezone=zone, schedule_time=at)
    assert newest_due(store, datetime.fromisoformat(now), settings) == date(2023, 3, due)


def test_nothing_is_due_where_no_recent_day_was_ever_loaded(store: Store) -> None:
    now = datetime(2023, 4, 12, 23, tzinfo=UTC)
    assert newest_due(store, now, Settings()) == date(2023, 4, 12)
    assert newest_due(store, now + DAY, Settings()) is None
