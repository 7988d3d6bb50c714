"""Call detail records of a cloud PBX as proved-complete, typed, partitioned Parquet.

Data walks one way: `api` (the vendor's HTTP endpoint) -> `tables` (columns, files, measures) ->
`assets` (Dagster's view of both). `record`, `page` and `settings` are the ground they stand on.
"""

from importlib.metadata import version

__version__ = version("cdr-pipeline")
