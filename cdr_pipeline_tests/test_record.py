"""The facts of the documented record, compared with the vendor's sample and vocabularies."""

import json
from pathlib import Path

from cdr_pipeline.record import (
    ADDITIONAL,
    CAUSE_DISPOSITIONS,
    FIELDS,
    STATUS_SPELLINGS,
    STATUSES,
    Disposition,
    Kind,
)

DOCUMENTED = Path(__file__).parent / "tables" / "list_cdrs_response.json"


def test_the_fields_are_the_documented_ones_in_the_documented_order() -> None:
    sample = json.loads(DOCUMENTED.read_text(encoding="utf-8"))["data"][0]
    assert [field.name for field in FIELDS] == [name for name in sample if name != ADDITIONAL]


def test_numbers_and_times_are_where_the_vendor_documents_them_and_all_else_is_text() -> None:
    kinds = {kind: {one.label for one in FIELDS if one.kind is kind} for kind in Kind}
    assert kinds[Kind.COUNT] == {"duration", "billsec", "presskey_delay"}
    assert kinds[Kind.TIME] == {
        *("time_started", "time_ringing", "time_answered", "time_ended", "time_presskey"),
    }


def test_the_only_renamed_field_is_the_misspelt_one() -> None:
    renamed = {one.name: one.label for one in FIELDS if one.label != one.name}
    assert renamed == {"time_ringging": "time_ringing"}


def test_people_numbers_and_recordings_are_secret_and_nothing_else_is() -> None:
    assert {one.name for one in FIELDS if one.secret} == {
        *("recording_url", "autocall_recording_url", "from_number", "to_number", "fullname"),
        *("email", "username", "customer_fullname", "customer_email", "digits", "note"),
        "demand_customer",
    }


def test_statuses_are_the_documented_ones() -> None:
    documented = (
        "answered no-answered busy not-available cancel invalid-number phone-block congestion"
        " failed voicemail busy-line ivr drop telco-block fail-system"
    )
    assert set(documented.split()) == STATUSES
    assert set(STATUS_SPELLINGS.values()) <= STATUSES
    assert not STATUS_SPELLINGS.keys() & STATUSES


def test_a_cause_never_says_that_a_call_was_answered() -> None:
    assert not {Disposition.ANSWERED, Disposition.UNKNOWN} & set(CAUSE_DISPOSITIONS.values())
