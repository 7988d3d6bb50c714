"""The assets as Dagster runs them, against a vendor on loopback."""
