"""What every layer shares: the day's workplace, and how datasets and checks show in Dagster."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, Protocol

import dagster as dg
import polars as pl
import polars.selectors as cs
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)

from cdr_pipeline.checks import Check, Finding
from cdr_pipeline.errors import SAFE, NotThere, redacted, shortened
from cdr_pipeline.settings import Settings
from cdr_pipeline.tables.contract import NO_CONTRACT, Contract
from cdr_pipeline.tables.datasets import Dataset, shown
from cdr_pipeline.tables.store import Store
from cdr_pipeline.tables.types import in_words

#: Something that an asset is made from has been loaded, and no loading of it goes on. Not
#: `any_deps_updated`: that leaves out runs that were asked for the asset as well; but where some
#: days of such a run fail, the others are recorded and the asset is not made.
LOADED = (
    dg.AutomationCondition.any_deps_match(
        dg.AutomationCondition.newly_updated()
    ).since_last_handled()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
)

#: The step that loads days, as Dagster and a run's config call it.
STEP: Final = "daily_calls"

_PREVIEW_ROWS: Final = 5
_PREVIEW_CHARACTERS = 40

_is_uuid: Final = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE
).fullmatch


@dataclass(frozen=True)
class Made:
    """One dataset's partition of one day, as it was written."""

    dataset: Dataset
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class Work:
    """One day on its way through the layers, as far as its datasets are `wanted`."""

    day: date
    settings: Settings
    store: Store
    wanted: Collection[str] = ()
    accept_shrink: bool = False
    contract: Contract = NO_CONTRACT
    findings: list[Finding] = field(default_factory=list)

    def require(self, dataset: Dataset) -> None:
        """Raises NotThere if an upstream partition is missing."""
        if not self.store.holds(dataset, self.day):
            raise NotThere(
                f"{dataset.name} of {self.day} is not there. {SAFE} Load the day, `cdr-pipeline run"
                f" --from {self.day} --to {self.day}`, or materialize {dataset.name} of it."
            )


class SettingsFor(Protocol):
    """Gives the settings of a run that asks the `vendor`, or of one that does not."""

    def __call__(self, *, vendor: bool) -> Settings: ...


@dataclass(frozen=True)
class Loading:
    """What a run is given from outside: where settings come from, and who watches.

    `on_day(day, error)` is called as each day ends.
    """

    settings: SettingsFor = Settings.load
    on_day: Callable[[date, Exception | None], None] | None = None


def spec(
    dataset: Dataset,
    *,
    deps: Iterable[Dataset | dg.AssetDep] = (),
    kinds: Iterable[str] = (),
    lineage: dg.TableColumnLineage | None = None,
) -> dg.AssetSpec:
    """The asset of a dataset; all its words come from there, and from its lineage."""
    return dg.AssetSpec(
        dataset.name,
        deps=[one.name if isinstance(one, Dataset) else one for one in deps],
        description=f"{dataset.description}\n\nA row is {dataset.row}.",
        metadata={"dagster/column_schema": table_schema(dataset, lineage)},
        kinds={"parquet", *kinds},
        skippable=True,
    )


def names(specs: Iterable[dg.AssetSpec]) -> set[str]:
    """Of some assets, as they are asked for."""
    return {one.key.to_user_string() for one in specs}


def check_spec(check: Check) -> dg.AssetCheckSpec:
    """A check of `checks` in Dagster."""
    return dg.AssetCheckSpec(
        check.name, asset=check.asset, description=check.description, blocking=check.blocking
    )


def evaluation(
    finding: Finding, day: str | None = None, of: dg.EventLogRecord | None = None
) -> dg.AssetCheckEvaluation:
    """What a check found, for the day's partition; None: for all the days of a run.

    Outside of a run Dagster keeps only one record for each partition: there, pass None; and what
    the check looked at, if that was recorded just now.
    """
    check = finding.check
    error = check.blocking or check.urgent
    looked_at = of and AssetCheckEvaluationTargetMaterializationData(
        storage_id=of.storage_id, run_id=of.run_id, timestamp=of.timestamp
    )
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(check.asset),
        check_name=check.name,
        passed=finding.passed,
        partition=day,
        target_materialization_data=looked_at,
        description=finding.summary,
        blocking=check.blocking,
        severity=dg.AssetCheckSeverity.ERROR if error else dg.AssetCheckSeverity.WARN,
    )


def made(
    store: Store,
    day: date,
    dataset: Dataset,
    lineage: dg.TableColumnLineage | None = None,
    frame: pl.DataFrame | None = None,
    **figures: Any,
) -> Made:
    """What was written of the day: rows, bytes, schema, what is peculiar to it, and a few rows.

    `frame`: what was written, where that is at hand and need not be read again. Column lineage
    stands in the columns' descriptions as well: Dagster+ alone draws it.
    """
    rows = store.lazy(dataset, day) if frame is None else frame.lazy()
    schema = rows.collect_schema()
    count = store.rows(dataset, day) if frame is None else len(frame)
    metadata: dict[str, Any] = {
        "dagster/partition_row_count": count,
        **({"dagster/column_lineage": lineage} if lineage else {}),
        "bytes": store.size(dataset, day),
        **figures,
        "preview": dg.MetadataValue.md(_preview(rows.select(shown(dataset, schema.names())))),
    }
    if len(schema) > len(dataset.columns):  # else the asset's own schema says it all
        metadata["dagster/column_schema"] = _schema_of_partition(dataset, schema)
    return Made(dataset, metadata)


def table_schema(dataset: Dataset, lineage: dg.TableColumnLineage | None = None) -> dg.TableSchema:
    """The dataset's columns, in words."""
    origins = lineage.deps_by_column if lineage else {}
    return dg.TableSchema(
        [
            dg.TableColumn(
                column.name,
                in_words(column.dtype),
                description=column.description + _from(origins.get(column.name, [])),
            )
            for column in dataset.columns
        ]
    )


def _schema_of_partition(dataset: Dataset, schema: pl.Schema) -> dg.TableSchema:
    """The columns of one partition, in which Dagster shows the dataset's words by itself: to
    record them with each day would be most of what it records.
    """
    known = set(dataset.names)
    return dg.TableSchema(
        [
            dg.TableColumn(
                redacted(name),  # a list without a heading has its first lead for one
                str(dtype),
                description=None if name in known else "From the lead list.",
            )
            for name, dtype in schema.items()
        ]
    )


def _from(origins: Sequence[dg.TableColumnDep]) -> str:
    """Where a column comes from, in words."""
    names = [f"{one.asset_key.to_user_string()}.{one.column_name}" for one in origins]
    return f" From {', '.join(names)}." if names else ""


def _preview(rows: pl.LazyFrame) -> str:
    """The first rows as a Markdown table.

    Not by `pl.Config`, which holds for the whole process: the next day is fetched meanwhile.
    """
    # Python has no words for the last hours of the year 9999 in zones west of UTC.
    naive, zoned = cs.datetime(time_zone=None), cs.datetime(time_zone="*")
    times = naive.dt.to_string("%F %T"), zoned.dt.to_string("%F %T%:z")
    head = rows.head(_PREVIEW_ROWS).with_columns(times).collect()
    lines = [head.columns, ["---"] * head.width, *head.iter_rows()]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(value: object) -> str:
    text = "null" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    # A number or a link can stand in any field: a queue that is a mobile, a Call-ID, a key.
    if isinstance(value, str) and not _is_uuid(value):
        text = redacted(value)
    return " ".join(shortened(text, _PREVIEW_CHARACTERS).replace("|", "\\|").split())
