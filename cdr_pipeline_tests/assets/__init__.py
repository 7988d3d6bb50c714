"""Tests of the assets as Dagster runs them, against a vendor on loopback."""
