"""A decoder learns the vendor's odd fields, which changes no cell, and then reads such records."""

import json
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdr_pipeline import page
from cdr_pipeline.record import FIELDS, Kind
from cdr_pipeline.tables.flattening import records as reading
from cdr_pipeline.tables.flattening.layouts import Layout
from cdr_pipeline.tables.flattening.records import Batch
from cdr_pipeline.tables.values import tokens_of
from cdr_pipeline_tests.records import (
    ENTRY,
    STRING,
    as_text,
    call,
    flat,
    flat_pages,
    members_text,
    page_of,
    reject_rows,
    verbatim,
)

EVERY_FIELD = frozenset(field.name for field in FIELDS)


# ---- no cell changes


@given(
    st.lists(st.lists(ENTRY, max_size=4), max_size=4),
    st.sets(st.sampled_from(sorted(EVERY_FIELD)), max_size=4) | st.just(EVERY_FIELD),
    st.sets(st.sampled_from(["ai_summary", "transferred"])),
)
def test_a_layout_learned_before_changes_no_cell(
    pages: list[list[bytes]], odd: set[str], unknown: set[str]
) -> None:
    plain = flat_pages(pages)
    before = Layout(frozenset(odd), tuple(sorted(unknown)))
    with patch.object(reading, "Layout", lambda: before):
        learned = flat_pages(pages)
    assert learned.cdrs.equals(plain.cdrs)
    assert learned.cdrs.schema == plain.cdrs.schema
    assert reject_rows(learned) == reject_rows(plain)


DOCUMENTED_RECORD = st.fixed_dictionaries(
    {"id": STRING},
    optional={
        **{
            field.name: st.integers(-(2**63), 2**63 - 1).map(str) | st.just("null")
            if field.kind is Kind.COUNT
            else STRING | st.just("null")
            for field in FIELDS[1:]
        },
        "additional": STRING | st.sampled_from(("null", "[]", '{"a": 1e400}', "true")),
    },
).map(members_text)


@given(DOCUMENTED_RECORD)
@example(verbatim("note", r'"\ud83d\ude00\/\u0000"'))
def test_a_documented_record_is_the_same_read_at_once_or_field_by_field(text: bytes) -> None:
    layout = Layout()
    assert layout.learning(tokens_of(text)) is layout
    assert members(layout.one(text)) == members(layout.of(Batch().cells(0, tokens_of(text), [])))


# ---- learning


@pytest.mark.parametrize(
    ("field", "token"),
    [
        *(("rate", "5"), ("rate", "4.50"), ("note", "true"), ("press_key", '{"key":"1"}')),
        *(("duration", '"33"'), ("duration", "33.0"), ("billsec", str(2**64)), ("app", "[]")),
    ],
)
def test_a_field_of_another_kind_is_read_as_a_token_from_then_on(field: str, token: str) -> None:
    text = verbatim(field, token)
    learned = learned_from(as_text(call()), text)
    assert learned == Layout(odd=frozenset({field}))
    (read,) = learned.page(page_of(text))
    assert bytes(getattr(read, field)).decode() == token


def test_undocumented_fields_are_learned_by_name() -> None:
    texts = [as_text(call(ai_summary="tốt", hợp_lệ=True)), as_text(call(queue=1))]
    learned = learned_from(*texts)
    assert learned == Layout(unknown=("ai_summary", "hợp_lệ", "queue"))
    read = learned.page(page_of(*texts))
    assert [bytes(one.unknown_0) for one in read] == ['"tốt"'.encode(), b""]
    assert all(learned.learning(tokens_of(text)) is learned for text in texts)


def test_a_page_is_read_at_once_after_its_fields_were_learned() -> None:
    body = page_of(call("a", rate=5, queue="q"), call("b", duration="1.5"))
    with pytest.raises(page.UNREADABLE):
        Layout().page(body)
    assert len(learned_from(*page.split(body)).page(body)) == 2


@pytest.mark.parametrize("name", ['"', "\\", "a\nb", "\0"])
def test_a_name_that_no_decoder_takes_is_not_learned(name: str) -> None:
    layout = Layout()
    assert layout.learning(tokens_of(as_text({name: 1}))) is layout


def test_nothing_is_learned_from_unreadable_records() -> None:
    broken = [b"null", b'{"id":"\xff","rate":5}', rb'{"rate":5,"n":"\ud83d"}', b'{"rate":[}']
    with patch.object(Layout, "learning") as learning:
        flat(*broken[:3])
    learning.assert_not_called()


def test_at_most_256_names_are_learned_and_every_field_is_in_extra() -> None:
    wide = [call(f"{n}", **{f"field_{n}_{m}": m for m in range(100)}) for n in range(4)]
    assert len(learned_from(*map(as_text, wide)).unknown) == 256
    made = flat_pages([wide[:2], wide[2:]]).cdrs.sort("id")["extra"].to_list()
    assert [json.loads(text) for text in made] == [
        {f"field_{n}_{m}": m for m in range(100)} for n in range(4)
    ]


def test_a_field_whose_name_no_decoder_takes_is_in_extra() -> None:
    names = {'a"b': 1, "a\\b": 2, "a\nb": 3, "": 4, "😀": 5}
    (text,) = flat(call("a", **names), call("b", queue=1)).cdrs.sort("id")["extra"].to_list()[:1]
    assert json.loads(text) == names


def learned_from(*texts: bytes) -> Layout:
    """The layout after it has learned from these records."""
    layout = Layout()
    for text in texts:
        layout = layout.learning(tokens_of(text))
    return layout


def members(record: Any) -> tuple[object, ...]:
    """The members of a record, tokens as bytes."""
    return tuple(
        bytes(member) if isinstance(member, msgspec.Raw) else member
        for member in msgspec.structs.astuple(record)
    )
