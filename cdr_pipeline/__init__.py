"""Call detail records of a cloud PBX as proved-complete, typed, partitioned Parquet.

Data walks one way: `api` (the vendor's HTTP endpoint) -> `tables` (columns, files, measures) ->
`assets` (Dagster's view of both). `record`, `page` and `settings` are the ground they stand on.
"""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cdr_pipeline.tables.readers import scan

__all__ = ["__version__", "scan"]

__version__ = version("cdr-pipeline")


def __getattr__(name: str) -> Any:
    """`scan`, when it is first asked for: Polars takes a while to import."""
    if name == "scan":
        from cdr_pipeline.tables.readers import scan  # noqa: PLC0415

        return scan
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
