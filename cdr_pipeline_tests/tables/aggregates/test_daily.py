"""The aggregates of a day, compared with counts by hand, and with DuckDB's over hostile days."""

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from hashlib import sha256
from typing import Any, Final

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdr_pipeline.record import KNOWN_CAUSES, RULES, STATUS_SPELLINGS, STATUSES
from cdr_pipeline.simulator import Chaos, Tenant, Vendor
from cdr_pipeline.simulator.source import render
from cdr_pipeline.tables.aggregates.attempts import calls_to_leads, counted, lead_attempts
from cdr_pipeline.tables.aggregates.concurrency import Hours, campaign_hourly
from cdr_pipeline.tables.aggregates.daily import (
    CallingRules,
    Day,
    campaign_daily,
    compliance_daily,
    disposition_daily,
    hotline_daily,
    measures,
)
from cdr_pipeline.tables.datasets import CDRS, DATASETS
from cdr_pipeline_tests.records import DAY, SAIGON, Sent, call, flat, flat_pages
from cdr_pipeline_tests.tables.recount import CLASSES, recounted

STARTED = "2023-03-07 10:00:00"
CALLING_RULES: Final = CallingRules(time(8), time(17), 2)


def made(cdrs: pl.DataFrame, day: date) -> dict[str, pl.DataFrame]:
    """Aggregate -> its frame for a day; `cdrs`: the calls of all days, with `date`."""
    of_the_day = Day.read(cdrs.lazy().filter(pl.col("date") == day))
    with_the_day_before = cdrs.lazy().filter(pl.col("date") >= day - timedelta(days=1))
    frames = {
        **{name: measure(of_the_day) for name, measure in measures(CALLING_RULES).items()},
        "campaign_hourly": campaign_hourly(
            Hours.of(with_the_day_before.filter(pl.col("date") <= day), day, SAIGON)
        ),
        "lead_attempts": lead_attempts(counted(calls_to_leads(cdrs.lazy()), day))
        .filter(pl.col("date") == day)
        .drop("date"),
    }
    return {name: frame.collect(engine="in-memory") for name, frame in frames.items()}


def numbered_call(number: int) -> Sent:
    """The call of this number, of 1,000 calls in which causes, statuses and other fields vary."""
    causes, statuses = (
        sorted(KNOWN_CAUSES | {"NONE"}),
        [*sorted(STATUSES), *STATUS_SPELLINGS, "Bận"],
    )
    answered = number % 3 == 0
    second = number * 97 % 86_400
    started, ringing, ended = (
        f"{datetime(2023, 3, 7) + timedelta(seconds=second + after)}"
        for after in (0, number % 4, 90)
    )
    return call(
        f"{number:04}",
        started,
        parent_id=f"{number - (number % 7 == 6):04}",  # each seventh is a leg of the call before
        cause=causes[number % len(causes)],
        status=statuses[number % len(statuses)].upper().replace("-", "_"),
        time_ringging=ringing,
        time_answered=ended if answered and number % 2 else "0001-01-01T00:00:00Z",
        time_ended=ended,
        duration=(90, "90", 90.5, None)[number % 4],
        billsec=number % 200 if answered else 0,
        direction=("outbound", "Inbound", "local", "")[number % 4],
        extension=f"{number % 9}" if number % 5 == 0 else "",
        from_number=f"028{number % 11}",
        to_number=f"09{number % 250:08}",
        sip_hangup_disposition=("send_bye", "recv_bye", "send_cancel", "")[number // 3 % 4],
        campaign_uuid=f"c{number % 3}" if number % 3 else "",
        lead_uuid=f"l{number % 300}",
        press_key=("", "{}", '{"1": 5}', "127", ["9"], 0)[number % 6],
        presskey_delay=number % 40,
        additional={"Số tiền": (1, 2.5, "3", True, None, [4])[number % 6], "so_tien": number},
        new_field=number % 2 or None,
    )


def test_values_of_calls_and_measures_change_only_with_the_version_of_the_rules() -> None:
    """If this test fails, your change altered a value of a dataset. If you meant to, raise `RULES`,
    so that days stored before are reported as stale, and write the new digest here.
    """
    day = flat(*map(numbered_call, range(1_000)))
    cdrs = day.cdrs.with_columns(date=pl.lit(DAY))
    values = {name: cells(frame) for name, frame in made(cdrs, DAY).items()}
    values |= {"cdrs": cells(day.cdrs), "cdr_rejects": cells(day.rejects)}
    values |= {"additional_keys": cells(day.additional_keys)}
    digest = sha256(repr(sorted(values.items())).encode()).hexdigest()
    assert (RULES, digest[:16]) == (2, "a7f40be5cdbf2480")


def cells(frame: pl.DataFrame) -> list[dict[str, str]]:
    """The cells as text; fractions with 9 digits, in which all processors agree."""
    return [
        {
            name: f"{cell:.9g}" if isinstance(cell, float) else f"{cell}"
            for name, cell in row.items()
        }
        for row in frame.iter_rows(named=True)
    ]


def assert_agrees(cdrs: pl.DataFrame, day: date) -> None:
    """Assert that every aggregate of the day equals what DuckDB makes of the same calls."""
    due = recounted(cdrs, day)
    for name, frame in made(cdrs, day).items():
        assert frame.schema == DATASETS[name].schema(SAIGON), name
        rows = frame.rows()
        keys = len(DATASETS[name].key)
        by_key = {row[:keys]: row[keys:] for row in due[name]}
        assert len(rows) == len(due[name]) == len(by_key), name
        for row in rows:
            assert row[:keys] in by_key, (name, row)
            for column, ours, theirs in zip(
                frame.columns[keys:], row[keys:], by_key[row[:keys]], strict=True
            ):
                due_ = pytest.approx(theirs) if isinstance(theirs, float) else theirs
                assert ours == due_, (name, column, row)


# ---- compared with DuckDB

_PAGE: Final = 50


def dated(records: list[Sent], day: date) -> pl.DataFrame:
    """The day's calls with `date`, without `additional_*` columns."""
    pages = [records[at : at + _PAGE] for at in range(0, len(records), _PAGE)]
    cdrs = flat_pages(pages, day).cdrs.select(CDRS.schema(SAIGON).names())
    return cdrs.with_columns(date=pl.lit(day))


def test_every_measure_of_messy_days_equals_duckdbs() -> None:
    vendor = Vendor(tenant=Tenant(calls_per_day=1000), chaos=Chaos.parse("messy=0.5", 9))
    days = [DAY - timedelta(days=1), DAY, DAY + timedelta(days=1)]
    cdrs = pl.concat(dated(list(vendor.truth(day)), day) for day in days)
    assert len(cdrs) > 2000
    for day in days:
        assert_agrees(cdrs, day)


def _moments(day: date) -> st.SearchStrategy[datetime]:
    edges = ("00:00:00", "07:59:59", "08:00:00", "10:00:00", "10:59:59", "17:00:00", "17:00:01")
    at = st.sampled_from([*map(time.fromisoformat, edges), time(23, 59, 59)])
    return at.map(lambda moment: datetime.combine(day, moment))


#: Seconds from the start to a later time, or None for never; some make no sense.
_LATER: Final = st.sampled_from([None, 0, 1, 5, 59, 61, 3601, 7300, 86_400, 200_000, -30])
_SECONDS: Final = st.sampled_from([None, -1, 0, 1, 4, 5, 6, 14, 15, 16, 29, 30, 31, 90])


@st.composite
def _a_call(draw: st.DrawFn, day: date) -> dict[str, Any]:
    started = draw(_moments(day))

    def later() -> str:
        seconds = draw(_LATER)
        return "" if seconds is None else f"{started + timedelta(seconds=seconds):%F %T}"

    def one_of(*values: str) -> str:
        return draw(st.sampled_from(values))

    return {
        "time_started": f"{started:%F %T}",
        "parent_id": draw(st.sampled_from(["", "", "", "another"])),
        "time_ringging": later(),
        "time_answered": later() if draw(st.booleans()) else "",
        "time_ended": later(),
        "duration": draw(_SECONDS),
        "billsec": draw(_SECONDS),
        "presskey_delay": draw(_SECONDS),
        "press_key": one_of("", "{}", "127", "1", '{"key":"2"}', "0"),
        "direction": one_of("outbound", "outbound", "inbound", "local", ""),
        "status": one_of("ANSWERED", "busy", "congestion", "telco block", "failed", "phone-block"),
        "cause": one_of("USER_BUSY", "SWITCH_CONGESTION", "NETWORK_OUT_OF_ORDER", "NO_ANSWER", "x"),
        "sip_hangup_disposition": one_of("", "send_bye", "recv_bye", "recv_cancel", "bye"),
        "campaign_uuid": one_of("c1", "c1", "c2", ""),
        "lead_uuid": one_of("l1", "l1", "l2", ""),
        "from_number": one_of("0281", "0282", ""),
        "to_number": one_of("0901", "0901", "0902", ""),
        "extension": one_of("", "101", "102"),
    }


_DAYS: Final = [DAY - timedelta(days=1), DAY, DAY + timedelta(days=1)]


def _days() -> st.SearchStrategy[pl.DataFrame]:
    """The calls of three days."""

    def of(day: date) -> st.SearchStrategy[pl.DataFrame]:
        return st.lists(_a_call(day), max_size=9).map(
            lambda calls: dated(
                [call(f"{day:%d}-{number}", **fields) for number, fields in enumerate(calls)], day
            )
        )

    return st.tuples(*map(of, _DAYS)).map(pl.concat)


@given(_days())
@settings(max_examples=40, deadline=None)
def test_every_measure_of_hostile_days_equals_duckdbs(
    cdrs: pl.DataFrame,
) -> None:
    assert_agrees(cdrs, DAY)


# ---- counted by hand


def talk(id_: str, seconds: int, **fields: object) -> Sent:
    """An answered call of the campaign c1."""
    answered = "2023-03-07 10:00:10"
    return call(
        id_,
        **{
            "campaign_uuid": "c1",
            "status": "answered",
            "cause": "NORMAL_CLEARING",
            "time_ringging": STARTED,
            "time_answered": answered,
            "duration": 10 + seconds,
            "billsec": seconds,
            **fields,
        },
    )


def dial(id_: str, status: str, cause: str, duration: int, **fields: object) -> Sent:
    """A call of the campaign c1 that was not answered."""
    outcome = {"status": status, "cause": cause, "duration": duration, "billsec": 0}
    return call(id_, **{"campaign_uuid": "c1", **outcome, **fields})


def rows_of(aggregate: Callable[[Day], pl.LazyFrame], *calls: Sent) -> list[dict[str, Any]]:
    """The rows of the aggregate for a day of these calls."""
    return aggregate(Day.of(flat(*calls).cdrs.lazy())).collect().rows(named=True)


BY_HAND = (
    talk("1", 5, lead_uuid="l1", to_number="0901", press_key='{"key":"1"}'),
    talk("2", 6, lead_uuid="l2", to_number="0902", press_key="127"),
    talk(
        "3", 40, lead_uuid="l1", to_number="0901", press_key="0", time_started="2023-03-07 09:00:00"
    ),
    dial("4", "busy", "USER_BUSY", 20, lead_uuid="l3", to_number="0903"),
    dial("5", "no-answered", "NO_ANSWER", 45, to_number="0904"),
    dial("6", "cancel", "NORMAL_TEMPORARY_FAILURE", 45),
    dial("7", "busy", "CALL_REJECTED", 4),
    dial("8", "phone-block", "INCOMING_CALL_BARRED", 1),
    dial("9", "invalid-number", "NO_ANSWER", 2),
    dial("10", "congestion", "USER_BUSY", 0, time_started="2023-03-07 17:00:00"),
    dial("11", "failed", "NORMAL_TEMPORARY_FAILURE", 0),
    dial("12", "busy", "NONE", 3),
    dial("13", "busy", "USER_BUSY", 30, parent_id="1"),  # a leg, not a call
    call("20", status="failed", lead_uuid="", to_number=""),  # outside campaigns
)
C1 = {
    "campaign_uuid": "c1",
    "calls": 12,
    "answered": 3,
    "user_busy": 1,
    "ring_no_answer": 2,
    "terminal_rejected": 1,
    "terminal_unavailable": 1,
    "number_fault": 1,
    "network_failure": 1,
    "not_attempt": 1,
    "unknown": 1,
    "seizures": 11,
    "effective": 8,
    "asr": 3 / 11,
    "ner": 8 / 11,
    "acd_seconds": 17.0,
    "duration_seconds": 15 + 16 + 50 + 20 + 45 + 45 + 4 + 1 + 2 + 0 + 0 + 3,
    "billsec": 51,
    "ring_seconds": 30,
    "short_calls": 1,
    "key_presses": 2,
    "unique_leads": 3,
    "unique_numbers": 4,
    "first_call_at": "09:00:00",
    "last_call_at": "17:00:00",
    "talks_under_5s": 0,
    "talks_5_to_15s": 2,
    "talks_15_to_30s": 0,
    "talks_over_30s": 1,
    "key_0": 1,
    "key_1": 1,
    "key_2": 0,
    "rings": 3,
    "ring_median_seconds": 10.0,
    "talk_median_seconds": 6.0,
    "key_delay_seconds": 0,
    "key_delay_median_seconds": None,
    "ended_by_system": 0,
}


def test_the_figures_of_a_campaign_equal_those_counted_by_hand() -> None:
    outside, c1 = rows_of(campaign_daily, *BY_HAND)
    for column in ("first_call_at", "last_call_at"):
        c1[column] = f"{c1[column]:%H:%M:%S}"
    assert {name: c1[name] for name in C1} == C1
    assert c1["talk_p95_seconds"] == pytest.approx(6 + 0.9 * (40 - 6))
    assert (outside["campaign_uuid"], outside["calls"], outside["not_attempt"]) == (None, 1, 1)


def test_ratios_and_means_over_nothing_are_null_and_sums_are_zero() -> None:
    outside, _ = rows_of(campaign_daily, *BY_HAND)
    assert [outside[name] for name in ("asr", "ner", "acd_seconds")] == [None] * 3
    sums = ("seizures", "effective", "billsec", "duration_seconds", "ring_seconds", "key_presses")
    assert [outside[name] for name in (*sums, "unique_leads", "unique_numbers")] == [0] * 8


def test_the_shares_of_dispositions_are_of_their_campaigns_calls() -> None:
    rows = rows_of(disposition_daily, *BY_HAND)
    answered = next(row for row in rows if row["disposition"] == "answered")
    assert {name: answered[name] for name in list(answered)[:9]} == {
        "campaign_uuid": "c1",
        "disposition": "answered",
        "status": "answered",
        "cause": "NORMAL_CLEARING",
        "sip_hangup_disposition": None,
        "calls": 3,
        "duration_seconds": 81,
        "billsec": 51,
        "share": 0.25,
    }
    alone = next(row for row in rows if row["campaign_uuid"] is None)
    assert (alone["calls"], alone["share"], alone["disposition"]) == (1, 1.0, "not_attempt")


# ---- laws


@pytest.fixture(scope="module")
def cdrs() -> pl.DataFrame:
    """A simulated day."""
    return dated(list(map(render, Tenant(calls_per_day=3000).day(DAY))), DAY)


def additive(name: str) -> list[str]:
    """The names of the columns that add up over days, according to their descriptions."""
    return [
        column.name
        for column in DATASETS[name].columns
        if column.dtype == pl.Int64()
        and "not additive" not in column.description
        and column.name not in ("attempt", "calls_per_number")
    ]


@given(_days())
@settings(max_examples=20, deadline=None)
def test_sums_over_several_days_equal_sums_over_all_their_calls(cdrs: pl.DataFrame) -> None:
    parts = [made(cdrs, day) for day in _DAYS]
    as_one_day = cdrs.with_columns(date=pl.lit(_DAYS[0]))
    whole = made(as_one_day, _DAYS[0])
    for name in DATASETS.keys() & whole.keys() - {"compliance_daily"}:
        sums = [
            frame.group_by(*DATASETS[name].key)
            .agg(pl.col(additive(name)).sum())
            .sort(*DATASETS[name].key)
            for frame in (pl.concat(part[name] for part in parts), whole[name])
        ]
        # An hour in which only a call of the day before goes on has a row without calls.
        ours, theirs = (frame.filter(pl.col("calls") > 0) for frame in sums)
        assert ours.equals(theirs), name


def test_calls_add_up_from_roots_to_every_aggregate(cdrs: pl.DataFrame) -> None:
    roots = cdrs.filter("is_root")
    assert len(roots) < len(cdrs)
    frames = made(cdrs, DAY)
    for name in ("campaign_daily", "disposition_daily", "campaign_hourly", "lead_attempts"):
        assert frames[name]["calls"].sum() == len(roots), name
    outbound = roots.filter(pl.col("direction") == "outbound")
    assert frames["hotline_daily"]["calls"].sum() == len(outbound)
    assert frames["agent_daily"]["calls"].sum() == roots["extension"].count()
    labels = ["answered", *CLASSES]
    for name in ("campaign_daily", "hotline_daily", "agent_daily"):
        assert frames[name].select(pl.sum_horizontal(labels) == pl.col("calls")).to_series().all()
    campaigns, endings = frames["campaign_daily"], frames["disposition_daily"]
    per_campaign = endings.group_by("campaign_uuid").agg(pl.col("calls", "share").sum())
    assert per_campaign["share"].to_list() == pytest.approx([1] * len(campaigns))
    both = campaigns.join(per_campaign, on="campaign_uuid", nulls_equal=True)
    assert both.filter(pl.col("calls") == pl.col("calls_right")).height == len(campaigns)


def test_ratios_lie_between_0_and_1(cdrs: pl.DataFrame) -> None:
    frames = made(cdrs, DAY)
    for name in ("campaign_daily", "hotline_daily", "agent_daily"):
        assert (
            frames[name].select(pl.col("asr", "ner").is_between(0, 1).all()).row(0) == (True,) * 2
        )
    assert frames["hotline_daily"]["congestion_share"].is_between(0, 1).all()
    assert frames["disposition_daily"]["share"].is_between(0, 1).all()


def test_congestion_is_a_network_failure_with_such_a_status_or_cause() -> None:
    calls = [
        call(f"{number}", status=status, cause=cause, direction="outbound", from_number="0281")
        for number, (status, cause) in enumerate(
            (
                ("congestion", "USER_BUSY"),
                ("telco-block", ""),
                ("busy", "SWITCH_CONGESTION"),
                ("busy", "NORMAL_CIRCUIT_CONGESTION"),
                ("busy", "NETWORK_OUT_OF_ORDER"),
                ("cancel", "SWITCH_CONGESTION"),
                ("failed", "SWITCH_CONGESTION"),
            )
        )
    ]
    (row,) = rows_of(hotline_daily, *calls)
    assert (row["network_failure"], row["congestion"], row["congestion_share"]) == (5, 4, 4 / 6)


# ---- rules


def outside(first: str, last: str, *moments: str) -> list[str]:
    """The times of day among `moments` that lie outside the window."""
    rules = CallingRules(time.fromisoformat(first), time.fromisoformat(last), 1)
    calls = [call(at, f"2023-03-07 {at}") for at in moments]
    return flat(*calls).cdrs.filter(rules.outside())["id"].to_list()


def test_both_ends_of_the_window_are_in_it() -> None:
    moments = ("07:59:59", "08:00:00", "12:00:00", "17:00:00", "17:00:01")
    assert outside("08:00", "17:00", *moments) == ["07:59:59", "17:00:01"]
    assert outside("00:00", "23:59:59", *moments, "00:00:00", "23:59:59") == []


def test_a_window_may_reach_over_midnight() -> None:
    moments = ("06:00:00", "06:00:01", "19:59:59", "20:00:00")
    assert outside("20:00", "06:00", *moments) == ["06:00:01", "19:59:59"]


def test_a_number_called_too_often_counts_once_in_the_campaign_that_exceeded_the_limit() -> None:
    calls = [
        call(
            f"{number}",
            f"2023-03-07 10:00:0{number}",
            campaign_uuid=campaign,
            to_number="0901",
            direction="outbound",
            cause="USER_BUSY",
        )
        for number, campaign in enumerate(("c1", "c1", "c2", "c1"))
    ]
    rows = rows_of(lambda day: compliance_daily(day, CALLING_RULES), *calls)
    columns = ("campaign_uuid", "calls", "over_limit", "numbers_over_limit")
    assert [[row[name] for name in columns] for row in rows] == [["c1", 3, 1, 0], ["c2", 1, 1, 1]]
