"""The columns of `cdrs` that a measure reads, according to Polars."""

import polars as pl

from cdr_pipeline.tables.aggregates.daily import Day, campaign_daily, disposition_daily
from cdr_pipeline.tables.datasets import CAMPAIGN_DAILY, CDRS
from cdr_pipeline.tables.lineage import columns_asked_for
from cdr_pipeline_tests.records import SAIGON

SCHEMA = CDRS.schema(SAIGON)


def campaigns(cdrs: pl.LazyFrame) -> pl.LazyFrame:
    return campaign_daily(Day.of(cdrs))


def endings(cdrs: pl.LazyFrame) -> pl.LazyFrame:
    return disposition_daily(Day.of(cdrs))


def test_a_measure_comes_from_the_columns_it_reads() -> None:
    found = columns_asked_for(campaigns, SCHEMA)
    assert list(found) == [column.name for column in CAMPAIGN_DAILY.columns]
    assert found["asr"] == ["disposition"]
    assert found["acd_seconds"] == ["billsec", "disposition"]
    assert found["unique_leads"] == ["lead_uuid"]
    assert found["first_call_at"] == ["time_started"]
    assert found["duration_seconds"] == ["duration"]


def test_a_key_comes_from_itself_and_a_count_from_keys_and_filters() -> None:
    assert columns_asked_for(campaigns, SCHEMA)["campaign_uuid"] == ["campaign_uuid"]
    assert columns_asked_for(campaigns, SCHEMA)["calls"] == ["campaign_uuid", "is_root"]
    assert columns_asked_for(endings, SCHEMA)["cause"] == ["cause"]


def test_the_lineage_follows_the_measures_expression() -> None:
    def measure(calls: pl.LazyFrame) -> pl.LazyFrame:
        return calls.select(seconds=pl.col("billsec") + pl.col("ring_seconds"), hour="hour")

    assert columns_asked_for(measure, SCHEMA) == {
        "seconds": ["billsec", "ring_seconds"],
        "hour": ["hour"],
    }
