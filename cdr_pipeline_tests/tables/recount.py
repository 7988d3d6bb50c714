"""Every aggregate a second time, in SQL, from `cdrs` alone, as the data dictionary defines it.

It uses no code of the package, so that a mistake there is not repeated here.
"""

from datetime import date
from typing import Any, Final

import duckdb
import polars as pl

# The classes of hangup causes in API.md. NORMAL_CLEARING and NEVER_HEARD_OF stand for other names.
CLASSES: Final = {
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
BY_CAUSE: Final = {cause: name for name, causes in CLASSES.items() for cause in causes.split(", ")}
STATUS_WINS: Final = {
    "congestion": "network_failure",
    "telco-block": "network_failure",
    "not-available": "terminal_unavailable",
    "phone-block": "terminal_unavailable",
    "invalid-number": "number_fault",
    "cancel": "ring_no_answer",
    "failed": "not_attempt",
}
IN_NER: Final = ("user_busy", "ring_no_answer", "terminal_rejected", "terminal_unavailable")
_LABELS: Final = ("answered", *CLASSES)

_ROOTS: Final = """
    select cdrs.*,
        case when time_answered is not null or billsec > 0 then 'answered'
            when s is not null then s when c is not null then c else 'unknown' end as class,
        date_diff('second', time_ringing, case when billsec > 0 then time_answered
            else coalesce(time_answered, time_ended) end) as rang,
        time_started::timestamp as started, time_answered::timestamp as talked,
        time_ended::timestamp as ended
    from cdrs left join by_cause using (cause) left join by_status using (status)
    where parent_id is null or parent_id = id
"""

_OUTCOME: Final = f"""
    count(*),
    {", ".join(f"count(*) filter (class = '{label}')" for label in _LABELS)},
    count(*) filter (class <> 'not_attempt') as seized,
    count(*) filter (class in ('answered', {", ".join(map(repr, IN_NER))})) as reached,
    count(*) filter (class = 'answered') / nullif(seized, 0),
    reached / nullif(seized, 0),
    coalesce(sum(billsec), 0) / nullif(count(*) filter (class = 'answered'), 0),
    coalesce(sum(duration), 0), coalesce(sum(billsec), 0), coalesce(sum(rang), 0),
    count(*) filter (class = 'answered' and billsec < 6)
"""
_TALKS: Final = """
    count(*) filter (class = 'answered' and billsec < 5),
    count(*) filter (class = 'answered' and 5 <= billsec and billsec < 15),
    count(*) filter (class = 'answered' and 15 <= billsec and billsec <= 30),
    count(*) filter (class = 'answered' and 30 < billsec)
"""
_SHAPE: Final = f"""
    {_TALKS},
    {", ".join(f"count(*) filter (key_pressed = {key})" for key in range(10))},
    count(rang), median(rang), quantile_cont(rang, 0.95),
    median(billsec) filter (class = 'answered'),
    quantile_cont(billsec, 0.95) filter (class = 'answered'),
    coalesce(sum(presskey_delay) filter (key_pressed between 0 and 9), 0),
    median(presskey_delay) filter (key_pressed between 0 and 9),
    quantile_cont(presskey_delay, 0.95) filter (key_pressed between 0 and 9),
    count(*) filter (sip_hangup_disposition in ('send_bye', 'send_cancel', 'send_refuse')),
    count(*) filter (sip_hangup_disposition in ('recv_bye', 'recv_cancel', 'recv_refuse'))
"""
_KEYS_PRESSED: Final = "count(*) filter (key_pressed between 0 and 9)"
_NUMBERS_AND_TIMES: Final = "count(distinct to_number), min(time_started), max(time_started)"
_ENDING: Final = "campaign_uuid, class, status, cause, sip_hangup_disposition"


def _peak(since: str, campaign: str) -> str:
    """SQL for (hour, campaign, peak): the most calls at once in a second of the hour. Only the
    seconds count in which a call or the hour begins, since the number grows in no other.
    """
    return f"""
        select hour(second) as hour, a.campaign, max(n) as peak from (
            select second, campaign, count(*) as n
            from (select unnest(range($day::timestamp, $day::timestamp + interval 1 day,
                    interval 1 hour)) as second
                union select {since} from roots where {since}::date = $day) seconds
            join (select {campaign} as campaign, {since} as first, ended as last
                from roots where date between $day - 1 and $day) calls
                on first <= second and second < last
            group by all
        ) a group by all
    """


_SQL: Final = {
    "campaign_daily": f"""
        select campaign_uuid, {_OUTCOME}, {_KEYS_PRESSED}, count(distinct lead_uuid),
            {_NUMBERS_AND_TIMES}, {_SHAPE}
        from roots where date = $day group by campaign_uuid
    """,
    "disposition_daily": f"""
        select {_ENDING}, count(*), coalesce(sum(duration), 0), coalesce(sum(billsec), 0),
            count(*) / sum(count(*)) over (partition by campaign_uuid),
            coalesce(sum(rang), 0), {_KEYS_PRESSED}, {_SHAPE}
        from roots where date = $day group by {_ENDING}
    """,
    "campaign_hourly": f"""
        with counts as (
            select hour(time_started) as hour, campaign_uuid as campaign, count(*) as calls,
                count(*) filter (class = 'answered') as answered,
                count(*) filter (class <> 'not_attempt') as seized, sum(billsec) as billed
            from roots where date = $day group by all
        ),
        calling as ({_peak("started", "campaign_uuid")}),
        talking as ({_peak("talked", "campaign_uuid")}),
        all_calling as ({_peak("started", "null")}),
        all_talking as ({_peak("talked", "null")}),
        rows_ as (
            select hour, campaign from counts union select hour, campaign from calling
            union select hour, campaign from talking
        )
        select r.hour, r.campaign, coalesce(calls, 0), coalesce(answered, 0), coalesce(seized, 0),
            coalesce(billed, 0), coalesce(calling.peak, 0), coalesce(talking.peak, 0),
            coalesce(all_calling.peak, 0), coalesce(all_talking.peak, 0)
        from rows_ r
        left join counts c on r.hour = c.hour and r.campaign is not distinct from c.campaign
        left join calling
            on r.hour = calling.hour and r.campaign is not distinct from calling.campaign
        left join talking
            on r.hour = talking.hour and r.campaign is not distinct from talking.campaign
        left join all_calling on r.hour = all_calling.hour
        left join all_talking on r.hour = all_talking.hour
    """,
    "hotline_daily": f"""
        select from_number, {_OUTCOME},
            count(*) filter (class = 'network_failure' and (status in ('congestion', 'telco-block')
                or cause in ('NORMAL_CIRCUIT_CONGESTION', 'SWITCH_CONGESTION'))) as congested,
            congested / nullif(count(*) filter (class <> 'not_attempt'), 0),
            {_NUMBERS_AND_TIMES}
        from roots where date = $day and direction = 'outbound' group by from_number
    """,
    "lead_attempts": """
        with numbered as (
            select *, row_number() over lead_calls as n,
                date_diff('second', lag(time_started) over lead_calls, time_started) as gap
            from roots where lead_uuid is not null
            window lead_calls as (
                partition by campaign_uuid, lead_uuid order by time_started, id)
            union all select *, null, null from roots where lead_uuid is null
        )
        select campaign_uuid, n, count(*), count(*) filter (class = 'answered'),
            count(*) filter (key_pressed between 0 and 9), coalesce(sum(gap), 0),
            avg(gap) / 3600
        from numbered where date = $day group by campaign_uuid, n
    """,
    "agent_daily": f"""
        select extension, {_OUTCOME},
            count(*) filter (direction = 'inbound'), count(*) filter (direction = 'local'),
            count(*) filter (direction = 'outbound'), {_TALKS}, {_NUMBERS_AND_TIMES}
        from roots where date = $day and extension is not null group by extension
    """,
    "compliance_daily": """
        with made as (
            select *, case when to_number is not null then row_number() over (
                partition by to_number
                order by time_started, campaign_uuid nulls first, id) end as n
            from roots
            where date = $day and direction = 'outbound' and class <> 'not_attempt'
        ),
        too_many as (select campaign_uuid from made where n = 3)
        select campaign_uuid, count(*),
            count(*) filter (strftime(time_started, '%H:%M:%S') < '08:00:00'
                or strftime(time_started, '%H:%M:%S') > '17:00:00'),
            count(*) filter (n > 2),
            (select count(*) from too_many t
             where t.campaign_uuid is not distinct from made.campaign_uuid),
            '08:00:00', '17:00:00', 2
        from made group by campaign_uuid
    """,
}

_NEEDED: Final = (
    *("date", "id", "parent_id", "campaign_uuid", "lead_uuid", "from_number", "to_number"),
    *("extension", "direction", "status", "cause", "billsec", "duration", "key_pressed"),
    *("presskey_delay", "sip_hangup_disposition"),
    *("time_started", "time_answered", "time_ended", "time_ringing"),
)


def recounted(cdrs: pl.DataFrame, day: date) -> dict[str, list[tuple[Any, ...]]]:
    """Aggregate -> its rows of a day, unordered; `cdrs`: the calls of all days, with `date`.

    The rules of `compliance_daily` are 08:00 to 17:00 and two calls a number and day.
    """
    with duckdb.connect() as db:
        db.execute("set TimeZone = 'Asia/Ho_Chi_Minh'")
        for name, table in (("cause", BY_CAUSE), ("status", STATUS_WINS)):
            frame = pl.DataFrame(list(table.items()), [name, name[0]], orient="row")
            db.register(f"by_{name}", frame.to_arrow())
        db.register("cdrs", cdrs.select(_NEEDED).to_arrow())
        db.execute(f"create table roots as {_ROOTS}")
        return {name: db.execute(sql, {"day": day}).fetchall() for name, sql in _SQL.items()}
