"""Tests of cdr_pipeline, in folders and modules that mirror the package."""
