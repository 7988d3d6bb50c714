"""Measures: by the vendor's table, by hand, and by DuckDB from the same calls."""

from datetime import datetime
from itertools import pairwise
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdr_pipeline.record import Window
from cdr_pipeline.simulator import Tenant
from cdr_pipeline.simulator.source import render
from cdr_pipeline.tables.contract import CAMPAIGN_DAILY, CDRS, DISPOSITION_DAILY
from cdr_pipeline.tables.kpi import campaign_daily, disposition, disposition_daily
from cdr_pipeline_tests.records import DAY, SAIGON, Sent, call, flat

# The vendor's table of hangup causes, word for word (API.md).
CLASSES = {
    "user_busy": "USER_BUSY, BUSY_EVERYWHERE",
    "ring_no_answer": (
        "NO_ANSWER, ORIGINATOR_CANCEL, ALLOTTED_TIMEOUT, NO_PICKUP, PROGRESS_TIMEOUT"
    ),
    "terminal_rejected": "CALL_REJECTED, DECLINE, UNWANTED, REJECT_ALL",
    "terminal_unavailable": (
        "NO_USER_RESPONSE, SUBSCRIBER_ABSENT, USER_NOT_REGISTERED, DESTINATION_OUT_OF_ORDER"
    ),
    "number_fault": (
        "UNALLOCATED_NUMBER, INVALID_NUMBER_FORMAT, NUMBER_CHANGED, INCOMING_CALL_BARRED,"
        " DOES_NOT_EXIST_ANYWHERE"
    ),
    "network_failure": (
        "NORMAL_TEMPORARY_FAILURE, NETWORK_OUT_OF_ORDER, NORMAL_CIRCUIT_CONGESTION,"
        " SWITCH_CONGESTION, NO_ROUTE_DESTINATION, NO_ROUTE_TRANSIT_NET, EXCHANGE_ROUTING_ERROR,"
        " RECOVERY_ON_TIMER_EXPIRE, REQUESTED_CHAN_UNAVAIL, INTERWORKING, SERVICE_UNAVAILABLE,"
        " GATEWAY_DOWN, INVALID_GATEWAY, MEDIA_TIMEOUT, PROTOCOL_ERROR"
    ),
    "not_attempt": "LOSE_RACE, PICKED_OFF, BLIND_TRANSFER, ATTENDED_TRANSFER",
    "unknown": "NONE, NORMAL_UNSPECIFIED, NORMAL_CLEARING, NEVER_HEARD_OF",
}
BY_CAUSE = {cause: name for name, causes in CLASSES.items() for cause in causes.split(", ")}
STATUS_WINS = {
    "congestion": "network_failure",
    "telco-block": "network_failure",
    "not-available": "terminal_unavailable",
    "phone-block": "terminal_unavailable",
    "invalid-number": "number_fault",
    "cancel": "ring_no_answer",
    "failed": "not_attempt",
}
STATUS_SAYS_NO_MORE = ("no-answered", "busy", "voicemail", "busy-line", "ivr", "drop", "Bận", None)
IN_NER = ("user_busy", "ring_no_answer", "terminal_rejected", "terminal_unavailable")
CAUSES = (*BY_CAUSE, None)
STARTED = "2023-03-07 10:00:00"


def classed(**columns: object) -> str:
    """The disposition of one call."""
    given_ = {"time_answered": None, "billsec": 0, "status": None, "cause": None} | columns
    types = {
        "time_answered": pl.Datetime("us"),
        "billsec": pl.Int64(),
        **dict.fromkeys(("status", "cause"), pl.String()),
    }
    frame = pl.DataFrame({name: [value] for name, value in given_.items()}, schema=types)
    label: str = frame.select(disposition()).item()
    return label


@pytest.mark.parametrize(("cause", "label"), [*BY_CAUSE.items(), (None, "unknown")])
def test_a_cause_has_the_class_of_the_vendors_table(cause: str | None, label: str) -> None:
    for status in STATUS_SAYS_NO_MORE:
        assert classed(cause=cause, status=status) == label


@pytest.mark.parametrize(("status", "label"), STATUS_WINS.items())
def test_a_status_that_says_more_than_the_cause_wins(status: str, label: str) -> None:
    assert {classed(status=status, cause=cause) for cause in CAUSES} == {label}


def test_an_answer_decides_before_all_else() -> None:
    for status, cause in ((None, None), ("failed", "LOSE_RACE"), ("busy", "USER_BUSY")):
        assert classed(status=status, cause=cause, billsec=1) == "answered"
        answered = classed(status=status, cause=cause, time_answered=datetime(2023, 3, 7))
        assert answered == "answered"


def test_a_status_or_cause_alone_never_makes_a_call_answered() -> None:
    assert classed(status="answered", cause="NORMAL_CLEARING", billsec=0) == "unknown"
    assert classed(status="answered", cause="NORMAL_CLEARING", billsec=None) == "unknown"


# ---- by hand


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
}


def test_a_campaigns_day_is_what_was_counted_by_hand() -> None:
    outside, c1 = campaign_daily(flat(*BY_HAND).cdrs.lazy()).collect().rows(named=True)
    for column in ("first_call_at", "last_call_at"):
        c1[column] = f"{c1[column]:%H:%M:%S}"
    assert {name: c1[name] for name in C1} == C1
    assert (outside["campaign_uuid"], outside["calls"], outside["not_attempt"]) == (None, 1, 1)


def test_ratios_and_means_over_nothing_are_null_and_sums_are_zero() -> None:
    outside = campaign_daily(flat(*BY_HAND).cdrs.lazy()).collect().row(0, named=True)
    assert [outside[name] for name in ("asr", "ner", "acd_seconds")] == [None] * 3
    sums = ("seizures", "effective", "billsec", "duration_seconds", "ring_seconds", "key_presses")
    assert [outside[name] for name in (*sums, "unique_leads", "unique_numbers")] == [0] * 8


def test_endings_share_out_their_campaigns_calls() -> None:
    rows = disposition_daily(flat(*BY_HAND).cdrs.lazy()).collect().rows(named=True)
    answered = next(row for row in rows if row["disposition"] == "answered")
    assert answered == {
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


def test_an_empty_day_is_a_typed_frame_without_rows() -> None:
    nothing = flat().cdrs.lazy()
    campaigns, endings = campaign_daily(nothing).collect(), disposition_daily(nothing).collect()
    assert campaigns.is_empty()
    assert endings.is_empty()
    assert campaigns.schema == CAMPAIGN_DAILY.schema(SAIGON)
    assert endings.schema == DISPOSITION_DAILY.schema(SAIGON)


# ---- by DuckDB


@pytest.fixture(scope="module")
def cdrs() -> pl.DataFrame:
    """A simulated day."""
    records = Tenant(calls_per_day=3000).day(DAY)
    return flat(*map(render, records)).cdrs


def in_duckdb(cdrs: pl.DataFrame, query: str) -> list[tuple[Any, ...]]:
    """Rows of a query over `roots`, with each call's class worked out anew from the table above."""
    columns = (
        *("campaign_uuid", "id", "parent_id", "status", "cause", "billsec", "duration"),
        *("time_started", "time_answered", "time_ended", "time_ringing", "lead_uuid", "to_number"),
        *("key_pressed", "sip_hangup_disposition"),
    )
    with duckdb.connect() as db:
        db.register("cdrs", cdrs.select(columns).to_arrow())
        db.register(
            "by_cause",
            pl.DataFrame(list(BY_CAUSE.items()), ["cause", "c"], orient="row").to_arrow(),
        )
        db.register(
            "by_status",
            pl.DataFrame(list(STATUS_WINS.items()), ["status", "s"], orient="row").to_arrow(),
        )
        db.execute(
            "create view roots as select cdrs.*, case"
            " when time_answered is not null or billsec > 0 then 'answered'"
            " when s is not null then s when c is not null then c else 'unknown' end as class"
            " from cdrs left join by_cause using (cause) left join by_status using (status)"
            " where parent_id is null or parent_id = id"
        )
        return db.execute(query).fetchall()


def test_a_simulated_days_campaigns_are_what_duckdb_makes_of_its_calls(cdrs: pl.DataFrame) -> None:
    labels = ("answered", *CLASSES)
    counts = ", ".join(f"count(*) filter (class = '{label}')" for label in labels)
    in_ner = ", ".join(f"'{label}'" for label in ("answered", *IN_NER))
    query = f"""
        select campaign_uuid, count(*), {counts},
            count(*) filter (class <> 'not_attempt') as seized,
            count(*) filter (class in ({in_ner})) as effective,
            count(*) filter (class = 'answered') / nullif(seized, 0),
            effective / nullif(seized, 0),
            sum(billsec) / nullif(count(*) filter (class = 'answered'), 0),
            sum(duration), sum(billsec),
            sum(date_diff('second', time_ringing, coalesce(time_answered, time_ended))),
            count(*) filter (class = 'answered' and billsec < 6),
            count(*) filter (key_pressed between 0 and 9),
            count(distinct lead_uuid), count(distinct to_number),
            epoch_us(min(time_started)), epoch_us(max(time_started))
        from roots group by campaign_uuid order by campaign_uuid nulls first
    """
    made = campaign_daily(cdrs.lazy()).with_columns(
        pl.col("first_call_at", "last_call_at").dt.epoch("us")
    )
    names = ("campaign_uuid", "calls", *labels)
    rows = made.select(*names, pl.exclude(names)).collect().rows()
    assert len(rows) == 6
    for row, due in zip(rows, in_duckdb(cdrs, query), strict=True):
        assert row == pytest.approx(due)


def test_a_simulated_days_endings_are_what_duckdb_makes_of_its_calls(cdrs: pl.DataFrame) -> None:
    query = """
        with endings as (
            select campaign_uuid, class, status, cause, sip_hangup_disposition,
                count(*) as calls, sum(duration) as duration, sum(billsec) as billsec
            from roots group by all
        )
        select *, calls / sum(calls) over (partition by campaign_uuid) from endings
    """
    made = disposition_daily(cdrs.lazy()).collect()
    due = {row[:5]: row[5:] for row in in_duckdb(cdrs, query)}
    assert {row[:5] for row in made.rows()} == due.keys()
    for row in made.rows():
        assert row[5:] == pytest.approx(due[row[:5]])


# ---- laws

KEYS = ("campaign_uuid", "asr", "ner", "acd_seconds", "unique_leads", "unique_numbers")
NOT_ADDITIVE = (*KEYS, "first_call_at", "last_call_at")


def by_campaign(cdrs: pl.DataFrame) -> pl.DataFrame:
    return campaign_daily(cdrs.lazy()).collect()


def test_calls_add_up_from_roots_to_campaigns_to_endings(cdrs: pl.DataFrame) -> None:
    roots = cdrs.filter("is_root").height
    assert roots < len(cdrs)
    campaigns, endings = by_campaign(cdrs), disposition_daily(cdrs.lazy()).collect()
    assert campaigns["calls"].sum() == endings["calls"].sum() == roots
    labels = ["answered", *CLASSES]
    assert campaigns.select(pl.sum_horizontal(labels) == pl.col("calls")).to_series().all()
    per_campaign = endings.group_by("campaign_uuid").agg(pl.col("calls", "share").sum())
    assert per_campaign["share"].to_list() == pytest.approx([1] * len(campaigns))
    both = campaigns.join(per_campaign, on="campaign_uuid", nulls_equal=True)
    assert both.filter(pl.col("calls") == pl.col("calls_right")).height == len(campaigns)


@given(st.lists(st.integers(0, 23), max_size=4))
def test_sums_of_parts_are_the_sums_of_the_whole(cdrs: pl.DataFrame, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), 24]
    parts = [
        by_campaign(cdrs.filter(pl.col("hour").is_between(start, end, closed="left")))
        for start, end in pairwise(edges)
    ]
    sums = pl.concat(parts).group_by("campaign_uuid").agg(pl.exclude(NOT_ADDITIVE).sum())
    whole = by_campaign(cdrs).drop(NOT_ADDITIVE[1:])
    assert sums.sort("campaign_uuid").equals(whole)


def test_ratios_lie_between_0_and_1(cdrs: pl.DataFrame) -> None:
    for ratio in ("asr", "ner"):
        assert by_campaign(cdrs)[ratio].is_between(0, 1).all()
    assert disposition_daily(cdrs.lazy()).collect()["share"].is_between(0, 1).all()


def test_the_day_of_the_frames_is_the_promised_one(cdrs: pl.DataFrame) -> None:
    assert cdrs.select(CDRS.schema(SAIGON).names()).schema == CDRS.schema(SAIGON)
    assert by_campaign(cdrs).schema == CAMPAIGN_DAILY.schema(SAIGON)
    first, last = by_campaign(cdrs).select("first_call_at", "last_call_at").row(0)
    assert first.replace(tzinfo=None) in Window.of(DAY)
    assert last.replace(tzinfo=None) in Window.of(DAY)
