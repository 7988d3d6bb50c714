"""`report`: one HTML page per day, drawn after the datasets of the day have been loaded."""

import base64
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Final

import dagster as dg

from cdr_pipeline.assets.failures import ANY_ERROR, days_failed, failing_in_words, log_error
from cdr_pipeline.assets.layer import LOADED, Loading
from cdr_pipeline.assets.partitions import partitions, policy
from cdr_pipeline.report import page
from cdr_pipeline.report.figures import NEEDED
from cdr_pipeline.report.words import Words
from cdr_pipeline.settings import Settings
from cdr_pipeline.tables.store import Store

NAME: Final = "report"

#: Not the group of the datasets: *Materialize all* there would draw each day of a backfill, which
#: takes several times as long as loading the day.
_GROUP: Final = "reports"

#: Pages of the last week are drawn automatically, older pages on request: a backfill of years
#: should not draw a thousand pages.
_DRAWN_BY_ITSELF: Final = timedelta(days=7)

_AFTER_ITS_DATASETS: Final = (
    LOADED
    & dg.AutomationCondition.in_latest_time_window(_DRAWN_BY_ITSELF)
    & ~dg.AutomationCondition.any_deps_missing()
).with_label("after its datasets, of the last week")


def daily_report(settings: Settings) -> dg.AssetsDefinition:
    """The page as an asset, partitioned as `settings` say; runs read their own settings."""

    @dg.multi_asset(
        name=NAME,
        specs=[
            dg.AssetSpec(
                NAME,
                deps=[dataset.name for dataset in NEEDED],
                partitions_def=partitions(settings),
                group_name=_GROUP,
                kinds={"html"},
                automation_condition=_AFTER_ITS_DATASETS,
                skippable=True,
                description=(
                    f"`{page.FOLDER}/YYYY-MM-DD.html` in the data folder: a page about the day that"
                    " needs no network, fits a phone and can be printed. `cdr-pipeline report`"
                    " writes the same page for any range."
                ),
            )
        ],
        backfill_policy=policy(settings),
    )
    def report(
        context: dg.AssetExecutionContext, loading: dg.ResourceParam[Loading]
    ) -> Iterator[dg.MaterializeResult[None]]:
        with failing_in_words():
            failed = _draw_days(context, loading)
        if failed:
            raise days_failed(failed, context.partition_keys)
        yield from ()  # each day is already recorded

    return report


def _draw_days(context: dg.AssetExecutionContext, loading: Loading) -> dict[date, Exception]:
    """Draw and record every day of the run; return the failed days with their errors. Raises
    CdrError.
    """
    settings = loading.settings(vendor=False)
    store = Store.of(settings)
    failed: dict[date, Exception] = {}
    for key in sorted(context.partition_keys):
        day = date.fromisoformat(key)
        try:
            context.log_event(_drawn(store, day, settings))
        except ANY_ERROR as error:
            log_error(context.log, day, error)
            failed[day] = error
    return failed


def _drawn(store: Store, day: date, settings: Settings) -> dg.AssetMaterialization:
    """Write the page of a day; return its path, figures and a small picture as metadata."""
    path, figures = page.write(store, day, day, settings.report_language)
    metadata: dict[str, dg.MetadataValue | int | float] = {
        "path": dg.MetadataValue.path(path.resolve()),
    }
    if figures.now["calls"]:
        from cdr_pipeline.report import charts  # noqa: PLC0415  optional

        words = Words(settings.report_language)
        picture = base64.b64encode(charts.thumbnail(figures, words)).decode()
        told = f"![{words('curve')}](data:image/jpeg;base64,{picture})"
        metadata["picture"] = dg.MetadataValue.md(told)
    metadata["bytes"] = path.stat().st_size
    metadata |= {name: value for name, value in figures.now.items() if value is not None}
    return dg.AssetMaterialization(NAME, partition=f"{day}", metadata=metadata)


#: Watches the datasets and draws the pages; on by default, since it only reads the datasets.
automation = dg.AutomationConditionSensorDefinition(
    "report_automation",
    target=dg.AssetSelection.assets(NAME),
    default_status=dg.DefaultSensorStatus.RUNNING,
)


def assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """The asset `report`; empty if the libraries that draw are not installed."""
    return [daily_report(settings)] if page.available() else []


SENSORS = [automation] if page.available() else []
