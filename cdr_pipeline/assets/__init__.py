"""Dagster's view of the data: one file per layer, each a few lines over `api` and `tables`.

`raw_pages` -> `cdrs` -> `aggregates`, wired to partitions, checks and metadata in `daily`.
"""
