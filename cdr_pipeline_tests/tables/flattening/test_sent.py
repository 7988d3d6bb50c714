"""`additional_keys`: the values that each campaign sent under each key, counted a second time."""

import json
from collections import Counter, defaultdict
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from cdr_pipeline.tables.flattening.flatten import Flat
from cdr_pipeline.tables.names import column_names
from cdr_pipeline.tables.values import JSON_TYPES, read_object
from cdr_pipeline_tests.records import OBJECT, call, flat, flat_pages, quoted, verbatim

CAMPAIGN = st.sampled_from(["c1", "c2", ""])


def sent(made: Flat) -> list[dict[str, Any]]:
    return made.additional_keys.rows(named=True)


def recounted(made: Flat) -> list[dict[str, Any]]:
    """The same rows, counted from the calls, without examples."""
    counts: dict[tuple[str | None, str, str], Counter[str]] = defaultdict(Counter)
    for campaign, text in made.cdrs.select("campaign_uuid", "additional").iter_rows():
        members = read_object(text or "{}")
        columns = column_names(tuple(members))
        for (key, (kind, _)), column in zip(members.items(), columns, strict=True):
            counts[campaign, key, column][kind] += 1
    rows = [
        {
            "campaign_uuid": campaign,
            "key": key,
            "column": column,
            "records": count.total(),
            **{kind: count[kind] for kind in JSON_TYPES},
        }
        for (campaign, key, column), count in counts.items()
    ]
    return sorted(rows, key=lambda row: (row["campaign_uuid"] or "", row["key"], row["column"]))


def records(objects: list[tuple[str, str]]) -> list[bytes]:
    return [
        verbatim("additional", f'{text},"campaign_uuid":{quoted(campaign)}', f"{n}")
        for n, (campaign, text) in enumerate(objects)
    ]


@given(st.lists(st.tuples(CAMPAIGN, OBJECT), max_size=12))
@example([("c1", '{"a":1}'), ("c1", '{"A":""}'), ("c1", '{"a":null,"A":[1]}'), ("", '{"a":1e400}')])
def test_every_key_of_every_campaign_is_counted_by_the_types_of_its_values(
    objects: list[tuple[str, str]],
) -> None:
    made = flat(*records(objects))
    rows = [{name: row[name] for name in row if name != "example"} for row in sent(made)]
    assert rows == recounted(made)


@given(st.lists(st.tuples(CAMPAIGN, OBJECT), max_size=10), st.randoms(), st.integers(0, 10))
def test_order_pages_and_repeated_calls_change_no_row(
    objects: list[tuple[str, str]], random: Any, cut: int
) -> None:
    lines = records(objects)
    due = sent(flat(*lines))
    older = [call(f"{n}", additional={"old": "0"}, campaign_uuid="c1") for n in range(len(lines))]
    mixed = random.sample(lines, len(lines))
    assert sent(flat_pages([older[:cut], mixed[:cut], mixed[cut:]])) == due


def test_the_example_is_the_least_value_cut_short_and_never_an_empty_one() -> None:
    lists = [
        *({"a": 10, "b": "", "c": -0.0, "d": True, "e": "x" * 200, "f": [2]} for _ in range(20)),
        *({"a": 9, "b": None, "c": 0.0, "d": False, "e": "y", "f": [1]} for _ in range(20)),
    ]
    made = flat(*(call(f"{n}", additional=one) for n, one in enumerate(lists)))
    assert dict(made.additional_keys.select("key", "example").rows()) == {
        "a": "9",
        "b": None,
        "c": "0.0",
        "d": "false",
        "e": "x" * 100,
        "f": "[1]",
    }


def test_keys_of_a_record_that_is_no_call_of_the_day_are_not_counted() -> None:
    made = flat(
        call("a", additional={"a": 1}),
        call("", additional={"b": 1}),
        call("b", "hôm qua", additional={"c": 1}),
        call("c", "2023-03-08 00:00:00", additional={"d": 1}),
    )
    assert [row["key"] for row in sent(made)] == ["a"]
    assert json.loads(made.cdrs["additional"].item()) == {"a": 1}
