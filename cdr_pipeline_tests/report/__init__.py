"""Mirrors `cdr_pipeline.report`."""
