"""`catalog`: the DuckDB file over all datasets, made again when any of them has changed."""

import dagster as dg

from cdr_pipeline.assets import aggregates
from cdr_pipeline.assets.daily import GROUP
from cdr_pipeline.assets.failures import failing_in_words
from cdr_pipeline.assets.layer import LOADED, Loading
from cdr_pipeline.tables.catalog import NAME, available, build
from cdr_pipeline.tables.contract import Contract
from cdr_pipeline.tables.datasets import CDRS
from cdr_pipeline.tables.store import Store


@dg.asset(
    deps=[CDRS.name, *(spec.key for spec in aggregates.SPECS)],
    group_name=GROUP,
    kinds={"duckdb"},
    # Without `any_deps_missing`: days that were never loaded do not block the catalog.
    automation_condition=LOADED.with_label("after its datasets"),
    description=(
        f"`{NAME}` in the data folder: a view for every dataset, comments on the columns, and"
        " macros for ASR, NER and ACD. It holds no data, and it is replaced as a whole, so readers"
        " of the old one block nothing."
    ),
)
def catalog(
    context: dg.AssetExecutionContext, loading: dg.ResourceParam[Loading]
) -> dg.MaterializeResult[None]:
    """Write the catalog of the datasets as they are stored now."""
    with failing_in_words():
        settings = loading.settings(vendor=False)
        built = build(Store.of(settings), Contract.of(settings))
    context.log.info(f"{built.path}: {len(built.views)} views")
    return dg.MaterializeResult(
        metadata={
            "path": dg.MetadataValue.path(built.path.resolve()),
            "views": len(built.views),
            "columns": sum(len(columns) for columns in built.views.values()),
            "bytes": built.path.stat().st_size,
            "columns of each view": {name: len(names) for name, names in built.views.items()},
        }
    )


#: Watches the datasets and makes the catalog; on by default, since it only reads the datasets.
automation = dg.AutomationConditionSensorDefinition(
    "catalog_automation",
    target=dg.AssetSelection.assets(catalog),
    default_status=dg.DefaultSensorStatus.RUNNING,
)

#: Empty if DuckDB is not installed.
ASSETS = [catalog] if available() else []
SENSORS = [automation] if available() else []
