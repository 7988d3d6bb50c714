"""Every check, on a day that passes it and on a day that fails it."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from cdr_pipeline import checks
from cdr_pipeline.checks import Finding, LeadLists
from cdr_pipeline.record import RULES
from cdr_pipeline.simulator import Tenant
from cdr_pipeline.simulator.source import render
from cdr_pipeline.tables.contract import NO_CONTRACT, Declared, read
from cdr_pipeline.tables.datasets import CDRS
from cdr_pipeline.tables.flattening.additional import Misfits
from cdr_pipeline.tables.flattening.flatten import Flat
from cdr_pipeline.tables.store import Store
from cdr_pipeline_tests.records import DAY, NEW_YORK, SAIGON, Sent, call, flat, verbatim
from cdr_pipeline_tests.tables.days import write_day

BY_NAME = {check.name: check for check in checks.ALL}
ANSWERED = {
    "status": "answered",
    "cause": "NORMAL_CLEARING",
    "direction": "outbound",
    "sip_hangup_disposition": "recv_bye",
    "duration": 60,
    "billsec": 50,
    "time_answered": "2023-03-07 10:00:10",
    "time_ended": "2023-03-07 10:01:00",
}
BUSY = {
    "status": "busy",
    "cause": "USER_BUSY",
    "direction": "inbound",
    "sip_hangup_disposition": "",
    "duration": 20,
    "billsec": 0,
    "time_ended": "2023-03-07 10:00:20",
}


def found(
    flattened: Flat,
    records: int,
    store: Store,
    day: date = DAY,
    calls: pl.DataFrame | None = None,
) -> dict[str, Finding]:
    """Check's name -> its finding on a day; `calls` replaces the calls of `flattened`."""
    lazy = (flattened.cdrs if calls is None else calls).lazy()
    rejects = flattened.rejects.lazy()
    lists = LeadLists(flattened.keys, flattened.left_out, flattened.misfits)
    findings = checks.of_cdrs(checks.Tables(store, day, lazy, rejects), records, lists)
    return {one.check.name: one for one in findings}


def failed(flattened: Flat, records: int, store: Store, day: date = DAY) -> dict[str, str]:
    """Name -> summary of each check that a day fails."""
    findings = found(flattened, records, store, day)
    return {name: one.summary for name, one in findings.items() if not one.passed}


def test_a_good_day_passes_every_check(store: Store) -> None:
    good = flat(call("a", **ANSWERED), call("b", **BUSY))
    findings = found(good, 2, store)
    assert failed(good, 2, store) == {}
    assert findings.keys() == BY_NAME.keys() - {"verified", "made_under_contract", "fresh"}


def test_a_simulated_day_fails_no_check_except_for_voicemail(store: Store) -> None:
    records = Tenant(calls_per_day=1500).day(DAY)
    odd = failed(flat(*map(render, records)), len(records), store)
    assert odd.keys() <= {"known_disposition"}
    assert "NORMAL_CLEARING" in odd.get("known_disposition", "NORMAL_CLEARING")


def test_an_empty_day_passes_every_check(store: Store) -> None:
    assert failed(flat(), 0, store) == {}


def test_the_blocking_checks_are_these() -> None:
    assert {check.name for check in checks.ALL if check.blocking} == {
        *("verified", "balance", "id_unique", "types_as_contracted", "in_the_day"),
    }
    assert len(BY_NAME) == len(checks.ALL)
    assert all(check.description.endswith(".") for check in checks.ALL)


# ---- blocking


@pytest.mark.parametrize(
    ("change", "passes"),
    [
        *(({}, True), ({"verified": False}, False), ({"verified": None}, False)),
        *(({"unique_records": 9}, False), ({"reported_total": 11}, False)),
    ],
)
def test_a_day_is_verified_if_its_receipt_is_verified_and_its_figures_agree(
    change: dict[str, object], passes: bool
) -> None:
    figures = {"unique_records": 10, "reported_total": 10, "passes": 2, "requests": 3}
    finding = checks.verified(pl.DataFrame([figures | {"verified": True} | change]))
    assert (finding.check, finding.passed) == (checks.VERIFIED, passes)
    assert "2 readings, 3 requests" in finding.summary


@pytest.mark.parametrize(("received", "passes"), [(4, True), (3, False), (5, False)])
def test_balance_compares_records_with_calls_and_whole_rejects(
    store: Store, received: int, passes: bool
) -> None:
    two_and_two = flat(call("a", duration="abc"), call("b"), b"null", call(""))
    finding = found(two_and_two, received, store)["balance"]
    assert finding.passed is passes
    assert finding.summary == f"{received} records received = 2 calls + 2 whole rejects"


def test_a_repeated_id_is_found(store: Store) -> None:
    once = flat(call("a", **BUSY))
    twice = found(once, 2, store, calls=pl.concat([once.cdrs, once.cdrs]))
    assert not twice["id_unique"].passed
    assert twice["id_unique"].summary == "1 repeated ids"
    assert found(once, 1, store)["id_unique"].passed


def test_a_column_of_another_type_is_found(store: Store) -> None:
    good = flat(call("a", **BUSY))
    calls = good.cdrs.with_columns(pl.col("duration").cast(pl.Float64))
    finding = found(good, 1, store, calls=calls)["types_as_contracted"]
    assert not finding.passed
    assert "duration is Float64" in finding.summary


@pytest.mark.parametrize("started", ["2023-03-06 23:59:59", "2023-03-08 00:00:00", None])
def test_a_call_of_another_day_is_found(store: Store, started: str | None) -> None:
    good = flat(call("a", "2023-03-07 00:00:00"), call("b", "2023-03-07 23:59:59"))
    assert found(good, 2, store)["in_the_day"].passed
    moved = pl.when(pl.col("id") == "a").then(
        pl.lit(started, dtype=pl.String).str.to_datetime(
            "%Y-%m-%d %H:%M:%S", time_unit="us", time_zone="Asia/Ho_Chi_Minh"
        )
    )
    stray = good.cdrs.with_columns(moved.otherwise("time_started").alias("time_started"))
    finding = found(good, 2, store, calls=stray)["in_the_day"]
    assert (finding.passed, finding.summary) == (False, "1 calls of another day")


def test_a_day_of_25_hours_holds_its_own_calls_alone(tmp_path: Path) -> None:
    day = date(2023, 11, 5)
    times = ("2023-11-05 00:00:00", "2023-11-05 01:30:00", "2023-11-05 23:59:59")
    made = flat(*(call(time, time) for time in times), day=day, zone=NEW_YORK)
    assert found(made, 3, Store(tmp_path, NEW_YORK), day)["in_the_day"].passed


# ---- warnings


@pytest.mark.parametrize(
    ("name", "good", "odd"),
    [
        ("duration_agrees", call(**ANSWERED), call(**{**ANSWERED, "duration": 61})),
        ("duration_agrees", call(**{**BUSY, "time_ended": ""}), call(**{**BUSY, "duration": 0})),
        ("billsec_agrees", call(**ANSWERED), call(**{**ANSWERED, "billsec": 49})),
        ("billsec_agrees", call(**BUSY), call(**{**ANSWERED, "billsec": 0})),
        ("answered_agrees", call(**BUSY), call(**{**BUSY, "billsec": 1})),
        ("answered_agrees", call(**ANSWERED), call(**{**ANSWERED, "time_answered": ""})),
        ("answered_agrees", call(**BUSY), call(**{**ANSWERED, "time_answered": "", "billsec": 0})),
        ("known_status", call(status="No Answer"), call(status="Bận")),
        ("known_status", call(status=""), call(status="no")),
        ("known_cause", call(cause="NORMAL_CLEARING"), call(cause="NORMAL_UNSPECIFIED")),
        ("known_cause", call(cause=""), call(cause="NEVER_HEARD_OF")),
        ("known_disposition", call(**BUSY), call(cause="NONE")),
        ("known_disposition", call(**ANSWERED), call()),
        (
            "known_sip_hangup_disposition",
            call(sip_hangup_disposition="send_cancel"),
            call(sip_hangup_disposition="send"),
        ),
        ("known_direction", call(direction="local"), call(direction="sideways")),
    ],
)
def test_a_contradiction_or_an_unknown_value_in_a_call_is_a_warning(
    store: Store, name: str, good: Sent, odd: Sent
) -> None:
    assert found(flat(good), 1, store)[name].passed
    finding = found(flat(odd), 1, store)[name]
    assert not finding.passed
    assert finding.summary.startswith("1 of 1 calls")
    assert not finding.check.blocking


def test_a_passed_check_of_rows_says_how_many_calls_it_saw(store: Store) -> None:
    made = found(flat(call(**BUSY), call("b", **BUSY)), 2, store)
    assert made["known_status"].summary == made["documented_fields"].summary == "none of 2 calls"


def test_a_warning_names_the_most_frequent_odd_values(store: Store) -> None:
    odd = ["y"] * 2 + ["long" * 20] + ["x"] * 3
    made = flat(*(call(str(n), status=status) for n, status in enumerate(odd)), call("b", **BUSY))
    summary = found(made, 7, store)["known_status"].summary
    assert summary == f"6 of 7 calls: x (3), y (2), {'long' * 9}lon… (1)"


def test_equally_frequent_values_are_named_in_order_and_an_ellipsis_stands_for_more(
    store: Store,
) -> None:
    odd = ["c", "i", "e", "a", "g", "f", "b", "h", "d"]
    fields = dict.fromkeys(["time_ended", "duration", "time_answered", "billsec"], "?")
    calls = (call(f"{at}", status=one, **fields, **{one: 1}) for at, one in enumerate(odd))
    findings = found(flat(*calls), 9, store)
    assert findings["known_status"].summary == "9 of 9 calls: a (1), b (1), c (1), d (1), e (1), …"
    assert findings["documented_fields"].summary == "9 calls with a, b, c, d, e, …"
    assert findings["everything_fits"].summary == (
        "billsec not a whole number (9), duration not a whole number (9), time_answered not a time"
        " (9), time_ended not a time (9)"
    )


def test_columns_that_were_left_out_are_named(store: Store) -> None:
    left_out = [f"additional_{at}" for at in range(1, 51)]
    for names, named in ((left_out, left_out), ([*left_out, "additional_51"], [*left_out, "…"])):
        summary = found(replace(flat(call()), left_out=names), 1, store)[
            "additional_columns"
        ].summary
        assert summary == f"{len(names)} columns are in `additional` alone: {', '.join(named)}"


def test_an_odd_value_that_is_a_number_or_a_link_is_cut(store: Store) -> None:
    odd = {"status": "off 0912345678", "direction": "0912345678", "n0912345678": 1}
    findings = found(flat(call(**odd, cause="https://rec.example.vn/1.wav")), 1, store)
    assert findings["known_status"].summary == "1 of 1 calls: off-091… (1)"
    assert findings["known_direction"].summary == "1 of 1 calls: 091… (1)"
    assert findings["known_cause"].summary == "1 of 1 calls: htt… (1)"
    assert findings["documented_fields"].summary == "1 calls with n091…"


@pytest.mark.parametrize(
    ("name", "odd", "word"),
    [
        ("everything_fits", flat(call(duration="abc")), "duration not a whole number (1)"),
        ("everything_fits", flat(b"null", b"17"), "record not an object (2)"),
        (
            "documented_fields",
            flat(call(ai_summary=1), call("b", x=None)),
            "2 calls with ai_summary, x",
        ),
        # Python cannot read an integer of more than 4,300 digits.
        ("documented_fields", flat(verbatim("x", "9" * 5000)), "1 calls with x"),
        ("additional_columns", replace(flat(call()), left_out=["additional_x"]), "additional_x"),
        (
            "declared_types",
            replace(flat(call()), misfits=[Misfits(Declared("k", "int"), 7, ('"x"',))]),
            'k: 7 values are no int, such as "x"',
        ),
    ],
)
def test_misfits_and_new_fields_are_warnings(store: Store, name: str, odd: Flat, word: str) -> None:
    finding = found(odd, 2, store)[name]
    assert not finding.passed
    assert not finding.check.blocking
    assert word in finding.summary
    assert found(flat(call(**BUSY)), 1, store)[name].passed


@pytest.mark.parametrize("field", [None, "duration"])
def test_a_misfit_is_reported_with_its_reason(store: Store, field: str | None) -> None:
    made = flat(call(duration="abc"))
    rejects = made.rejects.with_columns(field=pl.lit(field, pl.String))
    tables = checks.Tables(store, DAY, made.cdrs.lazy(), rejects.lazy())
    (finding,) = (one for one in checks.of_cdrs(tables, 1, LeadLists()) if one.check is checks.FITS)
    assert finding.summary == f"{field or 'record'} not a whole number (1)"


def test_a_value_is_named_as_it_came_and_null_as_none(store: Store) -> None:
    made = flat(call("a", cause="{count} of 5,678 calls"), call("b"))
    finding = found(made, 2, store)["known_disposition"]
    assert finding.summary == "2 of 2 calls: none (1), {count} of 5,678 calls (1)"


# ---- volume


@pytest.mark.parametrize(
    ("calls", "before", "passes"),
    [
        *((1000, [], True), (0, [], True), (1000, [1000], True), (500, [1000], True)),
        *((2000, [1000], True), (2001, [1000], False), (499, [1000], False), (0, [1000], False)),
        *((1000, [400, 1600], True), (20, [90], True), (99, [20], True), (150, [20], False)),
    ],
)
def test_a_days_volume_is_usual_within_a_factor_of_two(
    calls: int, before: list[int], passes: bool
) -> None:
    finding = checks.usual_volume(calls, before)
    assert finding.passed is passes
    assert not finding.check.blocking


def test_a_day_is_compared_with_the_same_weekday_of_four_weeks(store: Store) -> None:
    for back, calls in ((1, 200), (4, 400), (5, 5), (0, 1)):
        made = flat(*(call(str(n)) for n in range(calls)))
        store.write(CDRS, DAY - timedelta(weeks=back), made.cdrs)
    store.write(CDRS, DAY - timedelta(days=1), flat().cdrs)
    finding = found(flat(call()), 1, store)["usual_volume"]
    assert (finding.passed, finding.summary) == (False, "1 calls; 300 on the same weekday before")


def test_a_missing_day_that_is_due_fails_and_says_what_to_do(store: Store) -> None:
    missing = checks.fresh(DAY, store)
    assert not missing.passed
    assert f"cdr-pipeline run --from {DAY} --to {DAY}" in missing.summary
    store.write(CDRS, DAY, flat().cdrs)
    assert checks.fresh(DAY, store).passed


def test_a_day_of_another_contract_is_reported_with_the_file_in_force(store: Store) -> None:
    first = read('keys.x = {type = "int"}', SAIGON, "first.toml")
    now = read('keys.x = {type = "decimal"}', SAIGON, "leads.toml")
    write_day(store, DAY, {"a": '{"x": 1}'})
    summary = checks.made_under(store, DAY, now).summary
    due = "today it would be made under leads.toml (CDR_CONTRACT)."
    assert summary.startswith(
        f"{DAY} was made without a contract, and {due} `cdr-pipeline rebuild`"
    )
    write_day(store, DAY, {"a": '{"x": 1}'}, first)
    summary = checks.made_under(store, DAY, now).summary
    assert summary.startswith(f"{DAY} was made under another contract ({first.mark}), and {due}")
    assert checks.made_under(store, DAY, first).summary == "made under first.toml (CDR_CONTRACT)"


def test_a_day_of_another_zone_is_reported_with_both_zones(store: Store) -> None:
    write_day(store, DAY, {"a": '{"x": 1}'})
    moved = Store(store.root, NEW_YORK)
    assert checks.made_under(moved, DAY, NO_CONTRACT).summary.startswith(
        f"{DAY} was made without a contract in Asia/Ho_Chi_Minh, and today it would be made"
        " without a contract in America/New_York."
    )


def test_a_day_of_another_version_of_the_rules_is_reported_with_both_versions(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdr_pipeline.tables.store.RULES", RULES + 1)
    write_day(store, DAY, {"a": '{"x": 1}'})
    assert checks.made_under(store, DAY, NO_CONTRACT).summary.startswith(
        f"{DAY} was made without a contract by version {RULES + 1} of the rules, and today it would"
        f" be made without a contract by version {RULES} of the rules. `cdr-pipeline rebuild`"
    )


def test_over_several_days_a_check_names_its_failed_days_and_the_first_finding() -> None:
    def day(number: int, passed: bool) -> tuple[date, list[Finding]]:
        return date(2023, 3, number), [Finding(checks.FITS, passed, f"as it was on {number}")]

    def over(*days: tuple[date, list[Finding]]) -> list[Finding]:
        return list(checks.over_days(dict(days)))

    assert over() == []
    assert over(day(1, False)) == [Finding(checks.FITS, False, "as it was on 1")]
    assert over(day(1, True), day(2, True)) == [Finding(checks.FITS, True, "2 days")]
    (some,) = over(day(1, True), day(2, False), day(3, True))
    due = "1 of 3 days: 2023-03-02. On 2023-03-02: as it was on 2"
    assert (some.passed, some.summary) == (False, due)
    (many,) = over(*(day(number, False) for number in range(1, 8)))
    assert many.summary.startswith("7 of 7 days: 2023-03-01 to 2023-03-07. On 2023-03-01: ")
    (apart,) = over(*(day(number, False) for number in range(1, 13, 2)))
    assert "2023-03-09 and 1 more range. On 2023-03-01: as it was on 1" in apart.summary
