"""A vendor on loopback, settings that point at it, and a run of the daily assets."""

from dataclasses import dataclass, field
from datetime import date
from typing import Any

import dagster as dg

from cdr_pipeline.assets.daily import daily_calls
from cdr_pipeline.assets.layer import Loading
from cdr_pipeline.settings import Settings
from cdr_pipeline.simulator import Vendor
from cdr_pipeline.tables.store import Store

TOKEN = "a-token-that-must-not-be-seen"


@dataclass
class Desk:
    """Where one test works: a data folder, a vendor, an instance of Dagster."""

    settings: Settings
    vendor: Vendor
    instance: dg.DagsterInstance
    ended: list[tuple[date, Exception | None]] = field(default_factory=list)

    @property
    def store(self) -> Store:
        return Store(self.settings.data_dir, self.settings.zone)

    def run(
        self, first: str, last: str | None = None, *, assets: list[str] | None = None, **config: Any
    ) -> dg.ExecuteInProcessResult:
        """Materialize the days, both included."""
        self.ended.clear()
        loading = Loading(
            settings=lambda _: self.settings,
            on_day=lambda day, error: self.ended.append((day, error)),
        )
        return dg.materialize(
            [daily_calls(self.settings)],
            selection=assets,
            instance=self.instance,
            tags={
                "dagster/asset_partition_range_start": first,
                "dagster/asset_partition_range_end": last or first,
            },
            resources={"loading": loading},
            run_config={
                "ops": {"daily_calls": {"config": config}},
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
            raise_on_error=False,
        )

    def materialized(self, asset: str) -> set[str]:
        return self.instance.get_materialized_partitions(dg.AssetKey(asset))


def call(number: int, at: str, **fields: object) -> dict[str, object]:
    return {
        "id": f"call-{number}",
        "parent_id": f"call-{number}",
        "time_started": at,
        "time_ended": at,
        "status": "busy",
        "cause": "USER_BUSY",
        "direction": "outbound",
        "duration": 0,
        "billsec": 0,
        "to_number": "0775702541",
        **fields,
    }
