"""The documented record: its fields, its vocabularies and what each value means. Pure facts.

Facts come from the vendor's API reference (API.md); our own interpretations are marked as such. No
Polars, no HTTP, no files: modules that need a fact in another form derive it from here.
"""

import re
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final

#: The version of our rules: of this module, and of typing, flattening and the measures. Raised
#: whenever one of them gives other values, so that days made before are reported as stale, and
#: `rebuild` makes them again. 0 stands for everything before there were versions.
RULES: Final = 2


class Kind(Enum):
    """How a documented field is typed in `cdrs`."""

    TEXT = "text"
    COUNT = "whole number"
    TIME = "time"


@dataclass(frozen=True)
class Field:
    """One documented field: the vendor's name, its kind, and what it means.

    `column`: its name in `cdrs`, if different; `secret`: its values must not be in logs or metadata
    (people, whole phone numbers, links to recordings).
    """

    name: str
    kind: Kind
    description: str
    column: str = ""
    secret: bool = False

    @property
    def label(self) -> str:
        """The column's name in `cdrs`."""
        return self.column or self.name


TEXT, COUNT, TIME = Kind.TEXT, Kind.COUNT, Kind.TIME

#: The fields in the order of the vendor's documented response, without `additional` (see `tables`).
#: When the vendor documents another field, add one line here.
FIELDS: Final = (
    Field("id", TEXT, "Key of the call detail record."),
    Field("parent_id", TEXT, "The id of the call's root leg; equals `id` if this is the root leg."),
    Field("sip_call_id", TEXT, "SIP Call-ID; not always a UUID."),
    Field("cause", TEXT, "FreeSWITCH hangup cause, such as USER_BUSY."),
    Field("duration", COUNT, "Seconds from start to end."),
    Field("direction", TEXT, "inbound, outbound or local."),
    Field(
        "recording_url",
        TEXT,
        "Link to the recording. Anyone with the link can listen.",
        secret=True,
    ),
    Field("extension", TEXT, "The agent's extension; null for autocall."),
    Field("from_number", TEXT, "Calling number; outbound: our hotline.", secret=True),
    Field("to_number", TEXT, "Called number; outbound: the customer.", secret=True),
    Field("receive_dest", TEXT, "Ring group or queue."),
    Field(
        "time_started",
        TIME,
        "When the call began. If clocks go back and a local hour occurs twice, the earlier one.",
    ),
    Field("time_answered", TIME, "When the call was answered; null if unanswered."),
    Field("time_ended", TIME, "When the call ended."),
    Field("time_ringging", TIME, "When the call began to ring.", column="time_ringing"),
    Field("status", TEXT, "The vendor's status, normalised: lower case, hyphens, one spelling."),
    Field("billsec", COUNT, "Seconds from answer to end; 0 when unanswered."),
    Field("app", TEXT, "autocall, autodialer, click_to_call, dial or callcenter."),
    Field("press_key", TEXT, "Keys pressed, as the vendor's JSON text."),
    Field("fullname", TEXT, "The agent's name.", secret=True),
    Field("email", TEXT, "The agent's e-mail address.", secret=True),
    Field("username", TEXT, "The agent's user name.", secret=True),
    Field(
        "sip_hangup_disposition",
        TEXT,
        "Which side ended the call, and how (send_bye, recv_bye, ...).",
    ),
    Field("campaign_uuid", TEXT, "The campaign; null outside campaigns."),
    Field("lead_uuid", TEXT, "The lead of the campaign's list; null outside campaigns."),
    Field("rate", TEXT, "The customer's rating."),
    Field("digits", TEXT, "Digits the customer entered.", secret=True),
    Field("note", TEXT, "The agent's note.", secret=True),
    Field("customer_fullname", TEXT, "The customer's name.", secret=True),
    Field("customer_email", TEXT, "The customer's e-mail address.", secret=True),
    Field("demand_customer", TEXT, "What the customer asked for.", secret=True),
    Field("interest_segment", TEXT, "The customer's segment of interest."),
    Field("autocall_presskey_epoch", TEXT, "When the key was pressed, as the vendor's epoch text."),
    Field("time_presskey", TIME, "When the key was pressed."),
    Field("presskey_delay", COUNT, "Seconds from answer to key press."),
    Field("autocall_recording_url", TEXT, "Link to the autocall's recording.", secret=True),
)

#: The free-form object of the campaign's lead list.
ADDITIONAL: Final = "additional"

#: The names of all documented members of a record.
DOCUMENTED: Final = frozenset({*(field.name for field in FIELDS), ADDITIONAL})

STATUSES: Final = frozenset(
    {
        *("answered", "no-answered", "busy", "not-available", "cancel", "invalid-number"),
        *("phone-block", "congestion", "failed", "voicemail", "busy-line", "ivr", "drop"),
        *("telco-block", "fail-system"),
    }
)

#: Spellings of one status, after case and separators are made equal.
STATUS_SPELLINGS: Final = {"no-answer": "no-answered", "invalid": "invalid-number"}


def status_of(text: str) -> str | None:
    """The vendor's status in one spelling: lower case, hyphens (API.md); None if it is empty."""
    plain = text.strip().lower().replace(" ", "-").replace("_", "-")
    return STATUS_SPELLINGS.get(plain, plain) or None


DIRECTIONS: Final = frozenset({"inbound", "outbound", "local"})

SIP_HANGUP_DISPOSITIONS: Final = frozenset(
    {"send_bye", "recv_bye", "send_cancel", "recv_cancel", "send_refuse", "recv_refuse"}
)

#: `press_key` of a customer who pressed no key (API.md); never a conversion.
NO_KEY_PRESSED: Final = 127


class Reason(StrEnum):
    """Why a record cannot be a call, or why a value does not fit its field."""

    NO_ID = "no id"
    NO_BEGINNING = "no time_started"
    UNREADABLE_BEGINNING = "time_started is unreadable"
    INVALID_UTF_8 = "invalid UTF-8"
    SURROGATE = "a lone surrogate"
    NO_JSON = "not valid JSON"
    TOO_DEEP = "nested too deeply"
    NO_OBJECT = "not an object"
    NO_WHOLE_NUMBER = "not a whole number"
    TOO_LARGE = "more than 64 bits"
    NO_TIME = "not a time"


class Disposition(Enum):
    """Our class of a call, and how it counts in ASR and NER (ITU-T E.425).

    `effective`: the network delivered the call, so it is in NER's numerator.
    """

    ANSWERED = ("answered", True)
    USER_BUSY = ("user_busy", True)
    RING_NO_ANSWER = ("ring_no_answer", True)
    TERMINAL_REJECTED = ("terminal_rejected", True)
    TERMINAL_UNAVAILABLE = ("terminal_unavailable", True)
    NUMBER_FAULT = ("number_fault", False)
    NETWORK_FAILURE = ("network_failure", False)
    NOT_ATTEMPT = ("not_attempt", False)
    UNKNOWN = ("unknown", False)

    def __init__(self, label: str, effective: bool) -> None:
        self.label = label
        self.effective = effective


_CAUSES: Final = {
    Disposition.USER_BUSY: "USER_BUSY BUSY_EVERYWHERE",
    Disposition.RING_NO_ANSWER: (
        "NO_ANSWER ORIGINATOR_CANCEL ALLOTTED_TIMEOUT NO_PICKUP PROGRESS_TIMEOUT"
    ),
    Disposition.TERMINAL_REJECTED: "CALL_REJECTED DECLINE UNWANTED REJECT_ALL",
    Disposition.TERMINAL_UNAVAILABLE: (
        "NO_USER_RESPONSE SUBSCRIBER_ABSENT USER_NOT_REGISTERED DESTINATION_OUT_OF_ORDER"
    ),
    Disposition.NUMBER_FAULT: (
        "UNALLOCATED_NUMBER INVALID_NUMBER_FORMAT NUMBER_CHANGED INCOMING_CALL_BARRED"
        " DOES_NOT_EXIST_ANYWHERE"
    ),
    Disposition.NETWORK_FAILURE: (
        "NORMAL_TEMPORARY_FAILURE NETWORK_OUT_OF_ORDER NORMAL_CIRCUIT_CONGESTION"
        " SWITCH_CONGESTION NO_ROUTE_DESTINATION NO_ROUTE_TRANSIT_NET EXCHANGE_ROUTING_ERROR"
        " RECOVERY_ON_TIMER_EXPIRE REQUESTED_CHAN_UNAVAIL INTERWORKING SERVICE_UNAVAILABLE"
        " GATEWAY_DOWN INVALID_GATEWAY MEDIA_TIMEOUT PROTOCOL_ERROR"
    ),
    Disposition.NOT_ATTEMPT: "LOSE_RACE PICKED_OFF BLIND_TRANSFER ATTENDED_TRANSFER",
}

#: Hangup cause -> disposition of a call that was not answered. Any other cause is unknown.
CAUSE_DISPOSITIONS: Final = {
    cause: disposition for disposition, causes in _CAUSES.items() for cause in causes.split()
}

#: Every documented cause; NORMAL_CLEARING is the cause of an answered call.
KNOWN_CAUSES: Final = frozenset({"NORMAL_CLEARING", *CAUSE_DISPOSITIONS})

#: Statuses that say more than the cause: their disposition overrides that of the cause.
STATUS_DISPOSITIONS: Final = {
    "congestion": Disposition.NETWORK_FAILURE,
    "telco-block": Disposition.NETWORK_FAILURE,
    "not-available": Disposition.TERMINAL_UNAVAILABLE,
    "phone-block": Disposition.TERMINAL_UNAVAILABLE,
    "invalid-number": Disposition.NUMBER_FAULT,
    "cancel": Disposition.RING_NO_ANSWER,
    "failed": Disposition.NOT_ATTEMPT,
}

#: A network failure with one of these is congestion: the vendor's words for a hotline that the
#: operators block, or for lines that are full. A burnt hotline shows here first.
CONGESTION_STATUSES: Final = frozenset({"congestion", "telco-block"})
CONGESTION_CAUSES: Final = frozenset({"NORMAL_CIRCUIT_CONGESTION", "SWITCH_CONGESTION"})

#: A talk shorter than this many seconds is a short call (a hotline burnt, a script cut off).
SHORT_CALL_SECONDS: Final = 6

#: The keys that a customer can press.
KEYS: Final = range(10)

#: No PBX of this kind wrote records before this year, so any earlier time means "none". Times
#: compare as their texts do.
EARLIEST_TIME: Final = "1980"

#: A time before EARLIEST_TIME in any form: 0001-01-01T00:00:00Z, 0000-00-00 00:00:00 and similar.
SENTINEL_TIME: Final = re.compile(r"(?:0\d{3}|1[0-8]\d\d|19[0-7]\d)-\d\d-\d\d(?:[ T].*)?")

#: The documented form of a time, in the vendor's zone. Any other form is a reject: it is unknown
#: whether a time with a Z would be UTC or local time.
TIME_FORM: Final = r"^\d{4}-\d\d-\d\d [0-2]\d:[0-5]\d:[0-5]\d$"
