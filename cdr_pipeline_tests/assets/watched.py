"""The partitions that Dagster's daemon would launch by itself."""

from datetime import datetime
from typing import Any

import dagster as dg

from cdr_pipeline.assets.daily import daily_calls
from cdr_pipeline.assets.layer import Loading
from cdr_pipeline_tests.desk import Desk
from cdr_pipeline_tests.records import SAIGON


class Watched:
    """The daemon's evaluations, one after another, of an asset beside the daily ones, at a time in
    the week of the calls.
    """

    def __init__(self, desk: Desk, asset: dg.AssetsDefinition) -> None:
        self._key = asset.key
        self._defs = dg.Definitions(
            assets=[daily_calls(desk.settings), asset], resources={"loading": Loading()}
        )
        self._instance = desk.instance
        self._cursor: Any = None

    def requested(self) -> set[str | None]:
        """The days for which the daemon would launch the asset now; {None} if it has no days."""
        result = dg.evaluate_automation_conditions(
            self._defs,
            self._instance,
            asset_selection=dg.AssetSelection.assets(self._key),
            cursor=self._cursor,
            evaluation_time=datetime(2023, 3, 9, 12, tzinfo=SAIGON),
        )
        self._cursor = result.cursor
        return set(result.get_requested_partitions(self._key))
