"""Knows columns and files; knows no HTTP, no Dagster."""
