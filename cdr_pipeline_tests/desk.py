"""A vendor on loopback, settings that point at it, and a run of the daily assets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import SecretStr

from cdr_pipeline.assets.daily import daily_calls
from cdr_pipeline.assets.layer import Loading
from cdr_pipeline.settings import Settings
from cdr_pipeline.simulator import Vendor
from cdr_pipeline.tables.datasets import Dataset
from cdr_pipeline.tables.store import Store
from cdr_pipeline_tests.runs import run

TOKEN = "a-token-that-must-not-be-seen"


def settings_for(base_url: str, folder: Path, **given: Any) -> Settings:
    """Settings that point at a vendor on loopback; `given` settings replace the defaults."""
    own: dict[str, Any] = {
        "api_base_url": base_url,
        "api_token": SecretStr(TOKEN),
        "data_dir": folder / "data",
        "requests_per_second": 0,
        "page_size": 50,
    }
    return Settings(**own | given)


@dataclass
class Desk:
    """What a test needs for runs: settings with a data folder, a vendor, an instance of Dagster.

    ended: (day, error) of each day of the last run.
    """

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
            settings=lambda **_: self.settings,
            on_day=lambda day, error: self.ended.append((day, error)),
        )
        daily = daily_calls(self.settings)
        return run([daily], self.instance, loading, first, last, selection=assets, config=config)

    def materialized(self, asset: str) -> set[str]:
        return self.instance.get_materialized_partitions(dg.AssetKey(asset))

    def metadata(self, dataset: Dataset, day: date) -> Mapping[str, dg.MetadataValue[Any]]:
        """The metadata of the newest materialization of the day's partition."""
        partition = dg.AssetRecordsFilter(dg.AssetKey(dataset.name), asset_partitions=[f"{day}"])
        (record,) = self.instance.fetch_materializations(partition, limit=1).records
        assert record.asset_materialization
        return record.asset_materialization.metadata


#: Makes a desk for a vendor; keyword arguments replace the test's settings.
NewDesk = Callable[..., Desk]


def call(number: int, at: str, **fields: Any) -> dict[str, Any]:
    """A record of a call that ended busy, at once."""
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
