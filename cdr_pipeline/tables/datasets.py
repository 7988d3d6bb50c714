"""The columns, types and descriptions of every dataset, defined once.

The schema of a file, Dagster's table schema, previews and checks come from here; the documented
fields come from `record`.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

import polars as pl

from cdr_pipeline.record import (
    ADDITIONAL,
    DIRECTIONS,
    FIELDS,
    KEYS,
    SHORT_CALL_SECONDS,
    Disposition,
    Kind,
    Reason,
)
from cdr_pipeline.tables import kpi
from cdr_pipeline.tables.types import INSTANT, WALL_CLOCK, as_written, free_type

#: The column of the partition's local day; it is only in the path.
DATE: Final = "date"

_TYPES: Final = {Kind.TEXT: pl.String(), Kind.COUNT: pl.Int64(), Kind.TIME: INSTANT}


@dataclass(frozen=True)
class Column:
    """One column. `secret` keeps it out of logs and metadata."""

    name: str
    dtype: pl.DataType
    description: str
    secret: bool = False


@dataclass(frozen=True)
class Dataset:
    """One dataset: a folder of daily partitions. `row`: what a row is; `key`: the columns that
    identify a row of an aggregate, by which its rows are sorted.
    """

    name: str
    row: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The dataset's own columns, in order, without the lead list's (`additional_*`)."""
        return [column.name for column in self.columns]

    @property
    def types(self) -> dict[str, pl.DataType]:
        """Column -> type, in order; instants are in UTC."""
        return {column.name: column.dtype for column in self.columns}

    def schema(self, zone: ZoneInfo) -> pl.Schema:
        """Column -> type in files; instants are in `zone`."""
        return pl.Schema({name: as_written(dtype, zone) for name, dtype in self.types.items()})

    def __getitem__(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


_TEXT, _COUNT, _FLAG, _RATIO = pl.String(), pl.Int64(), pl.Boolean(), pl.Float64()

RAW_PAGES: Final = Dataset(
    "raw_pages",
    "one response of the vendor",
    "Every response, byte for byte. All other datasets can be made from it without the API.",
    (
        Column(
            "pass",
            _COUNT,
            "Number of the reading; 0: a request for the total alone. Where two readings cover the"
            " same time, the later one counts.",
        ),
        Column("offset", _COUNT, "Offset of the request."),
        Column("limit", _COUNT, "Limit of the request."),
        Column("window_start", WALL_CLOCK, "First second of the window (vendor's wall clock)."),
        Column("window_end", WALL_CLOCK, "First second after the window."),
        Column("fetched_at", INSTANT, "When the response arrived."),
        Column("body", pl.Binary(), "The response as received.", secret=True),
    ),
)

RECEIPTS: Final = Dataset(
    "cdr_receipts",
    "one fetch of the day",
    "How the day was fetched and proved: the vendor's own total and the records received.",
    (
        Column("reported_total", _COUNT, "The vendor's total, summed over the parts of the proof."),
        Column("received", _COUNT, "Records in all responses except those of pass 0."),
        Column("unique_records", _COUNT, "Distinct records of the proof; equals reported_total."),
        Column("duplicates", _COUNT, "received - unique_records: overlaps and repeated readings."),
        Column("outside_window", _COUNT, "Records of the proof that began on another day."),
        Column("pages", _COUNT, "Responses kept in raw_pages."),
        Column("requests", _COUNT, "Requests, without retries."),
        Column("retries", _COUNT, "Requests made again after a fault."),
        Column("passes", _COUNT, "Readings of the day or of parts of it."),
        Column("verified", _FLAG, "The day is proved complete."),
        Column("window_start", WALL_CLOCK, "First second of the day (vendor's wall clock)."),
        Column("window_end", WALL_CLOCK, "First second after the day."),
        Column("started_at", INSTANT, "When the fetch began."),
        Column("finished_at", INSTANT, "When the day was proved."),
        Column("api_host", _TEXT, "The vendor's host."),
        Column("new_calls", _COUNT, "Calls that the previous fetch lacked; null on the first."),
        Column("changed_calls", _COUNT, "Calls that differ from the previous fetch."),
        Column("gone_calls", _COUNT, "Calls that only the previous fetch had."),
        Column("parts", _COUNT, "Parts in which the day was proved; 1: the day as a whole."),
        Column(
            "last_change_at",
            INSTANT,
            "When a fetch last found new, changed or gone calls; null if none did.",
        ),
    ),
)

CDRS: Final = Dataset(
    "cdrs",
    "one call",
    "Every call that began on the day, typed, with the lead list's columns as additional_*.",
    (
        *(
            Column(field.label, _TYPES[field.kind], field.description, field.secret)
            for field in FIELDS
        ),
        Column(
            "disposition",
            _TEXT,
            "Our class of the call: "
            + ", ".join(disposition.label for disposition in Disposition)
            + ".",
        ),
        Column("is_root", _FLAG, "Whether this is the root leg: no parent_id, or equal to id."),
        Column("hour", pl.Int8(), "Local hour of time_started."),
        Column(
            "ring_seconds", _COUNT, "Seconds from ringing to answer, or to the end if unanswered."
        ),
        Column("pdd_seconds", _COUNT, "Post-dial delay: seconds from start to ringing."),
        Column(
            "key_pressed",
            pl.Int8(),
            "First key from 0 to 9 in press_key (of an object, in its values, else in its names);"
            " null if no key was pressed (none, or 127).",
        ),
        Column(
            ADDITIONAL,
            _TEXT,
            "The lead list's object as JSON text, as received; any other value as its text.",
            secret=True,
        ),
        Column(
            "extra",
            _TEXT,
            "The top-level fields that are not documented, as JSON text, ordered by name.",
            secret=True,
        ),
    ),
)

REJECTS: Final = Dataset(
    "cdr_rejects",
    "one record that cannot be a call, or one field of a call that does not fit",
    "What does not fit into cdrs, so that nothing is lost. A row without `field` is a whole record"
    " that cannot be a call; it is not in cdrs. A row with `field` is one field; its call is"
    " in cdrs. A record without a readable start belongs to each day for which the vendor lists it:"
    " one at midnight to both days.",
    (
        Column("id", _TEXT, "The record's id, if it has one."),
        Column("field", _TEXT, "The field that does not fit its type; null: the whole record."),
        Column("value", _TEXT, "The value that does not fit, as text.", secret=True),
        Column("reason", _TEXT, f"Why: {', '.join(Reason)}."),
        Column("payload", pl.Binary(), "The record as received.", secret=True),
    ),
)

_CAMPAIGN = Column("campaign_uuid", _TEXT, "The campaign; null for calls outside campaigns.")

ADDITIONAL_KEYS: Final = Dataset(
    "additional_keys",
    "one key of one campaign",
    "The keys that each campaign's lead list had on the day, and the JSON types of their values. A"
    " key has a second row if some records also have another key with the same column name: in"
    " these records it has another column.",
    (
        _CAMPAIGN,
        Column("key", _TEXT, "The key as received."),
        Column(
            "column",
            _TEXT,
            "The key's column in cdrs, without the type's ending; null if CDR_CONTRACT drops it.",
        ),
        Column("records", _COUNT, "Calls (all legs) whose object has the key."),
        Column("string", _COUNT, "How many of these values are text."),
        Column("integer", _COUNT, "Integers within 64 bits."),
        Column("decimal", _COUNT, "Other finite numbers."),
        Column("boolean", _COUNT, "true or false."),
        Column("null", _COUNT, "null."),
        Column("number", _COUNT, "Numbers that do not fit into 64 bits."),
        Column("object", _COUNT, "Objects."),
        Column("array", _COUNT, "Lists."),
        Column("example", _TEXT, "One of the values, cut short; null if marked pii.", secret=True),
    ),
)

_CALLS = Column("calls", _COUNT, "Root legs.")
#: See `kpi.seconds_of`.
_BUT_FOR_ABSURD = ", without values over 68 years"
_SUMS = (
    Column("duration_seconds", _COUNT, f"Sum of duration, seconds{_BUT_FOR_ABSURD}."),
    Column("billsec", _COUNT, f"Sum of billsec, seconds{_BUT_FOR_ABSURD}."),
)
_RING_SECONDS = Column("ring_seconds", _COUNT, f"Sum of ring_seconds, seconds{_BUT_FOR_ABSURD}.")
_SHORT_CALLS = Column("short_calls", _COUNT, f"Answered calls under {SHORT_CALL_SECONDS} s.")
_KEY_PRESSES = Column("key_presses", _COUNT, "Calls in which a key from 0 to 9 was pressed.")
_UNIQUE_NUMBERS = Column("unique_numbers", _COUNT, "Distinct to_number; not additive.")
_FIRST_AND_LAST = (
    Column("first_call_at", INSTANT, "Earliest time_started."),
    Column("last_call_at", INSTANT, "Latest time_started."),
)


def _of_disposition(one: Disposition) -> Column:
    return Column(one.label, _COUNT, f"Calls of disposition {one.label}.")


_ANSWERED = _of_disposition(Disposition.ANSWERED)
_SEIZURES = Column("seizures", _COUNT, "calls - not_attempt (ITU-T E.425).")


def _ratio(name: str) -> Column:
    return Column(name, _RATIO, kpi.RATIOS[name].description)


#: How the calls of a campaign, a hotline or an agent ended; all but the ratios add up.
_OUTCOME = (
    _CALLS,
    *map(_of_disposition, Disposition),
    _SEIZURES,
    Column("effective", _COUNT, "Numerator of NER (ITU-T E.425)."),
    *map(_ratio, kpi.OF_CALLS),
    *_SUMS,
    _RING_SECONDS,
    _SHORT_CALLS,
)

_TALKS = (
    Column("talks_under_5s", _COUNT, "Answered calls under 5 s; those without billsec nowhere."),
    Column("talks_5_to_15s", _COUNT, "Answered calls from 5 s to under 15 s."),
    Column("talks_15_to_30s", _COUNT, "Answered calls from 15 s to 30 s, both included."),
    Column("talks_over_30s", _COUNT, "Answered calls over 30 s."),
)


def _spread(of: str, what: str) -> tuple[Column, Column]:
    return (
        Column(f"{of}_median_seconds", _RATIO, f"Median of {what}; not additive."),
        Column(
            f"{of}_p95_seconds", _RATIO, f"95th percentile, interpolated, of {what}; not additive."
        ),
    )


#: The distribution behind the sums: how long, which key, which side ended the call.
_SHAPE = (
    *_TALKS,
    *(Column(f"key_{key}", _COUNT, f"Calls in which {key} was the first key.") for key in KEYS),
    Column("rings", _COUNT, "Calls with known ring_seconds; the mean is ring_seconds / rings."),
    *_spread("ring", "ring_seconds"),
    *_spread("talk", "billsec of answered calls"),
    Column("key_delay_seconds", _COUNT, "Sum of presskey_delay over key_presses, seconds."),
    *_spread("key_delay", "presskey_delay over key_presses"),
    Column("ended_by_system", _COUNT, "sip_hangup_disposition is send_*: our side ended it."),
    Column("ended_by_far_end", _COUNT, "sip_hangup_disposition is recv_*: the other side did."),
)

CAMPAIGN_DAILY: Final = Dataset(
    "campaign_daily",
    "one campaign",
    "Calls and telecom measures of each campaign, and of the calls outside campaigns (null).",
    (
        _CAMPAIGN,
        *_OUTCOME,
        _KEY_PRESSES,
        Column("unique_leads", _COUNT, "Distinct lead_uuid; not additive."),
        _UNIQUE_NUMBERS,
        *_FIRST_AND_LAST,
        *_SHAPE,
    ),
    key=("campaign_uuid",),
)

_HOW_IT_ENDED: Final = ("campaign_uuid", "disposition", "status", "cause", "sip_hangup_disposition")

DISPOSITION_DAILY: Final = Dataset(
    "disposition_daily",
    "one campaign x disposition x status x cause x sip_hangup_disposition",
    "How each campaign's calls ended.",
    (
        *(Column(name, _TEXT, CDRS[name].description) for name in _HOW_IT_ENDED),
        _CALLS,
        *_SUMS,
        Column("share", _RATIO, "calls / all calls of the campaign on the day."),
        _RING_SECONDS,
        _KEY_PRESSES,
        *_SHAPE,
    ),
    key=_HOW_IT_ENDED,
)

CAMPAIGN_HOURLY: Final = Dataset(
    "campaign_hourly",
    "one local hour x campaign",
    "The curve of the day. A call counts in the hour in which it began. A peak counts all calls in"
    " progress at that second, those over midnight on both days. A call is in progress from its"
    " first second to the second before its end; a call of 0 seconds never is. Hours in which no"
    " call begins or is in progress have no row.",
    (
        Column("hour", pl.Int8(), "Local hour."),
        _CAMPAIGN,
        _CALLS,
        _ANSWERED,
        _SEIZURES,
        Column("billsec", _COUNT, "Sum of billsec of the calls that began in the hour, seconds."),
        Column("peak_calls", _COUNT, "Most calls at once in a second of the hour; not additive."),
        Column("peak_talks", _COUNT, "Most talks at once in a second of the hour; not additive."),
        Column(
            "peak_calls_all",
            _COUNT,
            "Most calls at once over all campaigns; equal in all rows of the hour; not additive.",
        ),
        Column(
            "peak_talks_all",
            _COUNT,
            "Most talks at once over all campaigns; equal in all rows of the hour; not additive.",
        ),
    ),
    key=("hour", "campaign_uuid"),
)

HOTLINE_DAILY: Final = Dataset(
    "hotline_daily",
    "one hotline",
    "Outbound calls of each number that we call from. It shows which number is burnt.",
    (
        Column("from_number", _TEXT, "The hotline; null if the vendor gave none.", secret=True),
        *_OUTCOME,
        Column(
            "congestion",
            _COUNT,
            "Network failures by congestion or a blocked hotline, according to status or cause.",
        ),
        _ratio("congestion_share"),
        _UNIQUE_NUMBERS,
        *_FIRST_AND_LAST,
    ),
    key=("from_number",),
)

LEAD_ATTEMPTS: Final = Dataset(
    "lead_attempts",
    "one campaign x number of the attempt",
    "Which attempt reaches people. A lead's calls within a campaign are numbered over all stored"
    " days, in whatever order the days were loaded.",
    (
        _CAMPAIGN,
        Column("attempt", _COUNT, "1 for a lead's first call in the campaign; null without lead."),
        _CALLS,
        _ANSWERED,
        _KEY_PRESSES,
        Column(
            "seconds_since_previous",
            _COUNT,
            "Sum of the seconds from the start of the lead's previous call to the start of this"
            " call; 0 for first attempts.",
        ),
        Column(
            "hours_since_previous",
            _RATIO,
            "Mean: seconds_since_previous / calls / 3600; null for first attempts.",
        ),
    ),
    key=("campaign_uuid", "attempt"),
)

AGENT_DAILY: Final = Dataset(
    "agent_daily",
    "one extension",
    "Calls of each agent; calls without an extension (autocall) are left out.",
    (
        Column("extension", _TEXT, "The agent's extension."),
        *_OUTCOME,
        *(
            Column(direction, _COUNT, f"Calls of direction {direction}.")
            for direction in sorted(DIRECTIONS)
        ),
        *_TALKS,
        _UNIQUE_NUMBERS,
        *_FIRST_AND_LAST,
    ),
    key=("extension",),
)

COMPLIANCE_DAILY: Final = Dataset(
    "compliance_daily",
    "one campaign",
    "Outbound calls, and how many break the rules of CDR_ALLOWED_FROM, CDR_ALLOWED_UNTIL and"
    " CDR_CALLS_PER_NUMBER, as these settings were when the day was made. Calls that were never"
    " attempted are left out.",
    (
        _CAMPAIGN,
        Column("calls", _COUNT, "Outbound root legs that were really attempted."),
        Column(
            "outside_window",
            _COUNT,
            "Calls begun outside of allowed_from to allowed_until. If allowed_until is the earlier"
            " one, the allowed hours go over midnight.",
        ),
        Column(
            "over_limit",
            _COUNT,
            "Calls to a number that had already been called calls_per_number times on the day, by"
            " any campaign. Calls of one second are ordered by campaign_uuid (null first), then by"
            " id.",
        ),
        Column(
            "numbers_over_limit",
            _COUNT,
            "Numbers called more than calls_per_number times on the day. Each is counted once, for"
            " the campaign that made the first call over the limit.",
        ),
        Column("allowed_from", _TEXT, "The rule applied: local time, HH:MM:SS."),
        Column("allowed_until", _TEXT, "The rule applied: local time, HH:MM:SS, included."),
        Column("calls_per_number", _COUNT, "The rule applied."),
    ),
    key=("campaign_uuid",),
)

DATASETS: Final = {
    dataset.name: dataset
    for dataset in (
        RAW_PAGES,
        RECEIPTS,
        CDRS,
        REJECTS,
        ADDITIONAL_KEYS,
        CAMPAIGN_DAILY,
        DISPOSITION_DAILY,
        CAMPAIGN_HOURLY,
        HOTLINE_DAILY,
        LEAD_ATTEMPTS,
        AGENT_DAILY,
        COMPLIANCE_DAILY,
    )
}


def schema_faults(
    dataset: Dataset, schema: pl.Schema, zone: ZoneInfo, own: Collection[str] = ()
) -> list[str]:
    """Columns that are missing, unknown or of another type, in words; empty if all fit.

    Columns that are not the dataset's must be named `additional_*` or be among the `own` names that
    a user declared; the ending of the name tells the type.
    """
    due = dataset.schema(zone)
    faults = [
        f"{name} is {schema.get(name, 'missing')}, not {dtype}"
        for name, dtype in due.items()
        if schema.get(name) != dtype
    ]
    for name in [name for name in schema if name not in due]:
        free = name.startswith(f"{ADDITIONAL}_") or name in own
        dtype = free_type(name) if free else None
        if dtype is None or schema[name] != as_written(dtype, zone):
            faults.append(f"{name} is {schema[name]}, not {dtype}")
    return faults


def shown(dataset: Dataset, names: Iterable[str]) -> list[str]:
    """The `names` of columns whose values may be in logs and metadata."""
    open_ = {column.name for column in dataset.columns if not column.secret}
    return [name for name in names if name in open_]
