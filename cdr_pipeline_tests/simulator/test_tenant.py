"""A tenant's calls: always the same for a seed, and like those of a real tenant."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from cdr_pipeline.simulator import Tenant
from cdr_pipeline.simulator.tenant import BLANK, _Shift

TUESDAY = date(2023, 3, 7)
Record = dict[str, Any]


@pytest.fixture(scope="module")
def tenant() -> Tenant:
    return Tenant(seed=7, calls_per_day=8000)


@pytest.fixture(scope="module")
def calls(tenant: Tenant) -> list[Record]:
    return tenant.day(TUESDAY)


@pytest.fixture(scope="module")
def autocalls(calls: list[Record]) -> list[Record]:
    return [call for call in calls if call["campaign_uuid"]]


def moment(text: str) -> datetime | None:
    """The time, or None for empty text and sentinels: the time was not reached."""
    if text in ("", "0001-01-01T00:00:00Z", "0000-00-00 00:00:00"):
        return None
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S")


def test_a_day_is_the_same_for_every_tenant_of_one_seed_and_volume() -> None:
    assert Tenant(3, 500).day(TUESDAY) == Tenant(3, 500).day(TUESDAY)
    assert Tenant(3, 500).day(TUESDAY) != Tenant(4, 500).day(TUESDAY)


def test_a_day_does_not_depend_on_the_days_asked_before() -> None:
    tenant = Tenant(3, 500)
    for days in range(5):
        tenant.day(TUESDAY - timedelta(days))
    assert tenant.day(TUESDAY) == Tenant(3, 500).day(TUESDAY)


def test_the_edge_of_a_day_is_the_same_whether_or_not_the_whole_day_is_asked_for() -> None:
    late = datetime(2023, 3, 7, 23, 59, 59)
    alone = Tenant().between(late, late)
    within = Tenant().between(datetime(2023, 3, 7), late)
    assert list(alone) == [call for call in within if call.started == str(late)]


def test_repeated_requests_with_seconds_beside_a_large_day_generate_only_that_day(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three days were generated for each page, and two are cached: at 60,000 calls a day each page
    took 3.5 s, and to load the day some minutes.
    """
    made: list[int] = []
    people = _Shift.people

    def watched(shift: _Shift, calls: int) -> Iterator[Record]:
        made.append(shift.day)
        return people(shift, calls)

    monkeypatch.setattr(_Shift, "people", watched)
    tenant = Tenant(calls_per_day=60_000)
    midnight = datetime(2023, 3, 7)
    for _ in range(2):
        tenant.between(midnight - timedelta(seconds=1), midnight + timedelta(days=1))
    assert made == [TUESDAY.toordinal()]


@pytest.mark.parametrize("day", [date(1970, 1, 1), date(2024, 2, 29), date(2199, 12, 31)])
def test_any_date_has_calls(day: date) -> None:
    assert {call["time_started"][:10] for call in Tenant(calls_per_day=50).day(day)} == {str(day)}


def test_a_days_calls_are_about_as_many_as_asked_for() -> None:
    assert 18_000 < len(Tenant(calls_per_day=22_000).day(TUESDAY)) < 26_000


def test_records_have_the_documented_fields_in_the_documented_order(calls: list[Record]) -> None:
    for call in calls:
        assert list(call) == [name for name in BLANK if name in call]
        assert BLANK.keys() - call.keys() <= {"additional"}


def test_calls_are_ordered_by_start_and_have_distinct_ids(calls: list[Record]) -> None:
    starts = [call["time_started"] for call in calls]
    assert starts == sorted(starts)
    assert len({call["id"] for call in calls}) == len(calls)


def test_weekdays_differ_and_sundays_have_few(tenant: Tenant) -> None:
    week = [len(tenant.day(date(2023, 3, 6) + timedelta(days))) for days in range(7)]
    assert len(set(week)) == 7
    assert week[6] < 0.1 * min(week[:5])


def test_outcomes_have_the_documented_mix(autocalls: list[Record]) -> None:
    share = Counter(call["status"] for call in autocalls)
    percent = {status: 100 * count / len(autocalls) for status, count in share.items()}
    assert percent["answered"] == pytest.approx(14.6, abs=1.5)
    assert percent["busy"] == pytest.approx(25, abs=2)
    assert percent["no-answered"] == pytest.approx(2.7, abs=1)
    assert percent["not-available"] == pytest.approx(57.7, abs=3)


def test_answered_autocalls_last_about_half_a_minute(autocalls: list[Record]) -> None:
    talks = [call["billsec"] for call in autocalls if call["status"] == "answered"]
    assert sum(talks) / len(talks) == pytest.approx(31, abs=3)


def test_calls_follow_the_hours_of_a_real_day(autocalls: list[Record]) -> None:
    hours = Counter(int(call["time_started"][11:13]) for call in autocalls)
    assert min(hours) >= 8
    assert max(hours) <= 18
    assert hours[12] < 0.2 * min(hours[hour] for hour in (9, 10, 11, 13, 14, 15, 16))


def test_times_durations_and_status_agree(calls: list[Record]) -> None:
    for call in calls:
        started, ended = moment(call["time_started"]), moment(call["time_ended"])
        rang, answered = moment(call["time_ringging"]), moment(call["time_answered"])
        assert started
        assert ended
        assert call["duration"] == (ended - started).total_seconds()
        assert call["billsec"] == (ended - answered).total_seconds() if answered else True
        assert (answered is not None) == (call["status"] == "answered") == (call["billsec"] > 0)
        assert started <= (rang or started) <= (answered or ended) <= ended


def test_times_that_were_not_reached_are_empty_or_a_sentinel(calls: list[Record]) -> None:
    unanswered = Counter(call["time_answered"] for call in calls if not call["billsec"])
    assert set(unanswered) == {"", "0001-01-01T00:00:00Z", "0000-00-00 00:00:00"}
    assert unanswered[""] > 0.8 * unanswered.total()


def test_every_day_has_calls_at_its_edges_and_one_over_midnight() -> None:
    for days in range(7):
        day = date(2023, 3, 6) + timedelta(days)
        calls = Tenant(calls_per_day=100).day(day)
        times = [call["time_started"][11:] for call in calls]
        assert times.count("00:00:00") >= 2
        assert times.count("23:59:59") >= 2
        assert any(
            call["time_started"] < f"{day} 23:59:59" and call["time_ended"][:10] > str(day)
            for call in calls
        )


def test_campaigns_have_lead_lists_of_their_own(autocalls: list[Record]) -> None:
    types = defaultdict(set)
    keys = defaultdict(set)
    for call in autocalls:
        types[type(call["additional"]["data1"]) if "data1" in call["additional"] else None].add(
            call["campaign_uuid"]
        )
        keys[frozenset(call["additional"])].add(call["campaign_uuid"])
    assert len(keys) == 5
    assert {int, str, float} <= set(types)


def test_numbers_keep_their_zeros(calls: list[Record]) -> None:
    for call in calls:
        if call["direction"] == "outbound":
            assert call["from_number"].startswith("0")
            assert call["to_number"].startswith("0")


def test_leads_that_were_not_reached_are_tried_again_on_following_days(tenant: Tenant) -> None:
    days = [tenant.day(TUESDAY + timedelta(n)) for n in range(3)]
    leads = [{call["lead_uuid"]: call for call in day if call["lead_uuid"]} for day in days]
    again = leads[0].keys() & leads[1].keys()
    assert len(again) > 0.1 * len(leads[0])
    assert again & leads[2].keys()
    for lead in again:
        assert leads[0][lead]["status"] != "answered"
        for field in ("to_number", "additional", "campaign_uuid"):
            assert leads[0][lead][field] == leads[1][lead][field]


def test_a_lead_may_be_dialled_twice_on_one_day(autocalls: list[Record]) -> None:
    assert len({call["lead_uuid"] for call in autocalls}) < len(autocalls)


def test_keys_are_pressed_only_in_answered_autocalls_and_in_every_form(
    autocalls: list[Record],
) -> None:
    answered = [call for call in autocalls if call["status"] == "answered"]
    forms = {json.dumps(json.loads(call["press_key"] or '""'))[0] for call in answered}
    assert forms >= {"{", "[", "1", '"'}
    assert any("127" in call["press_key"] for call in answered)
    assert all(call["press_key"] == "{}" for call in autocalls if call["status"] != "answered")
    for call in answered:
        assert call["autocall_recording_url"].startswith("https://")
        if call["time_presskey"]:
            pressed, picked_up = moment(call["time_presskey"]), moment(call["time_answered"])
            assert pressed
            assert picked_up
            assert (pressed - picked_up).total_seconds() == call["presskey_delay"]
            epoch = int(call["autocall_presskey_epoch"])
            assert pressed - datetime(1970, 1, 1) == timedelta(seconds=epoch, hours=7)


def test_calls_of_people_have_an_empty_additional_in_four_forms(calls: list[Record]) -> None:
    others = [call for call in calls if not call["campaign_uuid"]]
    assert {call["direction"] for call in others} == {"inbound", "outbound", "local"}
    ways = {json.dumps(call["additional"]) if "additional" in call else "absent" for call in others}
    assert ways == {'""', "null", "[]", "absent"}
    talked = [call for call in others if call["billsec"]]
    assert all(
        call["extension"] and call["fullname"] and call["recording_url"]
        for call in talked
        if call["id"] == call["parent_id"] and call["direction"] != "local"
    )
    assert {type(call["rate"]) for call in talked} == {str, int}
    assert any(call["note"] for call in talked)


def test_some_calls_have_legs(calls: list[Record]) -> None:
    roots = {call["id"]: call for call in calls if call["id"] == call["parent_id"]}
    legs = [call for call in calls if call["id"] != call["parent_id"]]
    assert legs
    assert all(leg["parent_id"] in roots for leg in legs)
    assert {leg["cause"] for leg in legs} >= {"LOSE_RACE", "NORMAL_CLEARING"}
