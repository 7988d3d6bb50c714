"""Shared by all layers: the work on one day, and how datasets and checks look in Dagster."""

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

#: An upstream dataset was loaded, and no run is loading it now. Not `any_deps_updated`, which
#: ignores runs that include the asset itself: if some days of such a run fail, the other days are
#: recorded and the asset is not made.
LOADED = (
    dg.AutomationCondition.any_deps_match(
        dg.AutomationCondition.newly_updated()
    ).since_last_handled()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
)

#: The name of the step that loads days, in Dagster and in the config of a run.
STEP: Final = "daily_calls"

_PREVIEW_ROWS: Final = 5
_PREVIEW_CHARACTERS = 40

_is_uuid: Final = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE
).fullmatch


@dataclass(frozen=True)
class Made:
    """One written partition, with the metadata to record."""

    dataset: Dataset
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class Work:
    """The work on one day: which datasets are `wanted`, from what, and what the checks found."""

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
    """Returns settings; with `vendor`, of a run that asks the vendor. Raises SettingsError."""

    def __call__(self, *, vendor: bool) -> Settings: ...


@dataclass(frozen=True)
class Loading:
    """What a run gets from its caller: the source of its settings, and a callback.

    `on_day(day, error)` is called when a day ends.
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
    """The asset of a dataset; its descriptions come from the dataset and the column lineage."""
    return dg.AssetSpec(
        dataset.name,
        deps=[one.name if isinstance(one, Dataset) else one for one in deps],
        description=f"{dataset.description}\n\nA row is {dataset.row}.",
        metadata={"dagster/column_schema": table_schema(dataset, lineage)},
        kinds={"parquet", *kinds},
        skippable=True,
    )


def names(specs: Iterable[dg.AssetSpec]) -> set[str]:
    """The names of the assets."""
    return {one.key.to_user_string() for one in specs}


def check_spec(check: Check) -> dg.AssetCheckSpec:
    """A check of `checks` as Dagster declares it."""
    return dg.AssetCheckSpec(
        check.name, asset=check.asset, description=check.description, blocking=check.blocking
    )


def evaluation(
    finding: Finding, day: str | None = None, of: dg.EventLogRecord | None = None
) -> dg.AssetCheckEvaluation:
    """A finding as Dagster records it, for the partition `day`; None: for all days of a run.

    Outside of a run, Dagster keeps only one record for each partition: pass None there. `of`: the
    materialization that the check looked at, if it was recorded just now.
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
    """The written partition with its metadata: rows, bytes, schema, `figures`, and a few rows.

    `frame`: the written rows, if they are in memory and need not be read again. Column lineage is
    in the columns' descriptions as well, since only Dagster+ draws it.
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
    if len(schema) > len(dataset.columns):  # otherwise the schema of the asset is complete
        metadata["dagster/column_schema"] = _schema_of_partition(dataset, schema)
    return Made(dataset, metadata)


def table_schema(dataset: Dataset, lineage: dg.TableColumnLineage | None = None) -> dg.TableSchema:
    """The dataset's columns with types and descriptions, as Dagster shows them."""
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
    """The columns of one partition. Dagster adds the dataset's own descriptions: recorded with each
    day, they would be most of the metadata.
    """
    known = set(dataset.names)
    return dg.TableSchema(
        [
            dg.TableColumn(
                redacted(name),  # in a lead list without a heading, the first lead is the heading
                str(dtype),
                description=None if name in known else "From the lead list.",
            )
            for name, dtype in schema.items()
        ]
    )


def _from(origins: Sequence[dg.TableColumnDep]) -> str:
    """The columns from which a column is made, as a sentence; empty if there are none."""
    names = [f"{one.asset_key.to_user_string()}.{one.column_name}" for one in origins]
    return f" From {', '.join(names)}." if names else ""


def _preview(rows: pl.LazyFrame) -> str:
    """The first rows as a Markdown table.

    Not by `pl.Config`, which is set for the whole process: another thread fetches the next day.
    """
    # Python cannot represent the last hours of the year 9999 in zones west of UTC.
    naive, zoned = cs.datetime(time_zone=None), cs.datetime(time_zone="*")
    times = naive.dt.to_string("%F %T"), zoned.dt.to_string("%F %T%:z")
    head = rows.head(_PREVIEW_ROWS).with_columns(times).collect()
    lines = [head.columns, ["---"] * head.width, *head.iter_rows()]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(value: object) -> str:
    text = "null" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    # Any field can hold a phone number or a link: a queue that is a mobile, a Call-ID, a key.
    if isinstance(value, str) and not _is_uuid(value):
        text = redacted(value)
    return " ".join(shortened(text, _PREVIEW_CHARACTERS).replace("|", "\\|").split())
