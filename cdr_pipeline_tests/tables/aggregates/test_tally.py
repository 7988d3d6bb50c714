"""Tallies: few rows hold what single calls do, whatever parts a day is read in."""

from datetime import time

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from cdr_pipeline.simulator import Chaos, Tenant, Vendor
from cdr_pipeline.tables import kpi
from cdr_pipeline.tables.aggregates import daily, tally
from cdr_pipeline.tables.aggregates.daily import Day
from cdr_pipeline.tables.datasets import CDRS
from cdr_pipeline_tests.records import DAY, SAIGON, call, flat, flat_pages


@pytest.fixture(scope="module")
def cdrs() -> pl.DataFrame:
    """A messy day."""
    vendor = Vendor(tenant=Tenant(calls_per_day=800), chaos=Chaos.parse("messy=0.3", 5))
    made = flat_pages([list(vendor.truth(DAY))], DAY).cdrs
    return made.select(CDRS.schema(SAIGON).names())


@pytest.mark.parametrize("rows", [1, 7, 100, 10**6])
def test_a_day_comes_out_the_same_whatever_parts_it_is_read_in(
    cdrs: pl.DataFrame, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = cdrs.head(40) if rows == 1 else cdrs
    monkeypatch.setattr(tally, "PART", rows)
    read, asked = Day.read(few.lazy()), Day.of(few.lazy())
    for measure in daily.measures(daily.CallingRules(time(8), time(17), 1)).values():
        assert_frame_equal(
            measure(read).collect(engine="in-memory"), measure(asked).collect(engine="in-memory")
        )


def test_a_tally_is_short_and_counts_every_call(cdrs: pl.DataFrame) -> None:
    many = pl.concat([cdrs] * 50).lazy()
    rows = tally.alike(tally.singly(many)).collect(engine="in-memory")
    assert rows["calls"].sum() == 50 * cdrs["is_root"].sum()
    assert len(rows) == len(tally.alike(tally.singly(cdrs.lazy())).collect(engine="in-memory"))


def test_impossible_numbers_of_seconds_are_in_no_sum() -> None:
    """Two values of 2^63 - 1 from a vendor gave a sum of -2."""
    most = 2**63 - 1
    calls = [
        call(id_, duration=most, billsec=most, presskey_delay=most, press_key='{"1":1}')
        for id_ in "ab"
    ]
    cdrs = flat(*calls, call("c", duration=9, billsec=5)).cdrs
    assert cdrs["billsec"].sort().to_list() == [5, most, most]
    made = daily.campaign_daily(Day.of(cdrs.lazy())).collect(engine="in-memory")
    row = made.row(0, named=True)
    assert (row["calls"], row["answered"], row["key_presses"]) == (3, 3, 2)
    assert (row["duration_seconds"], row["billsec"], row["key_delay_seconds"]) == (9, 5, 0)


_ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", None]), st.none() | st.integers(-5, 40), st.integers(0, 3)
    ),
    max_size=30,
)


@given(_ROWS)
@settings(max_examples=60, deadline=None)
def test_percentiles_of_counted_values_are_those_of_the_values(
    rows: list[tuple[str | None, int | None, int]],
) -> None:
    counted = pl.DataFrame(rows, {"by": pl.String, "x": pl.Int64, "calls": pl.Int64}, orient="row")
    spreads = (
        counted.with_columns(**kpi.ranked("x", ["by"])).group_by("by").agg(**kpi.spread("x", "x"))
    )
    assert len(spreads) == len({group for group, *_ in rows})
    for group, *percentiles in spreads.rows():
        seconds = [x for by, x, calls in rows if by == group for _ in range(calls)]
        values = pl.Series(seconds, dtype=pl.Int64)
        due = [values.quantile(share, interpolation="linear") for share in (0.5, 0.95)]
        assert percentiles == pytest.approx(due)
