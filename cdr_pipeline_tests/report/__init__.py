"""Tests of `cdr_pipeline.report`, module by module."""
