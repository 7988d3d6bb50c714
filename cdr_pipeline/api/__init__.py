"""Knows the vendor; knows no file format, no Dagster."""
