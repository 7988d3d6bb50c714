"""Schedules and sensors, one per module, thin. Their rules are in `upkeep`.

    nightly      each night, loads the day that ended, earlier days that may change, and gaps
    late_calls   by day, compares the vendor's totals of older days with the proved totals
    freshness    checks that the day that ended is stored a few hours after the night
    contract     reports days made under another contract, zone or version of the rules
    alerts       sends every failed run to a webhook, except runs whose command reports them

All are on by default, and skip their ticks with a reason while no settings are given. If a setting
is wrong, `nightly` still asks for its run, which fails with the fault and is reported, and
`freshness` turns its check red.
"""

from typing import Final

from cdr_pipeline.automation import alerts, contract, freshness, jobs, late_calls, nightly

JOBS: Final = (jobs.LOAD_DAYS, jobs.REBUILD)
SENSORS: Final = (
    late_calls.late_calls,
    freshness.freshness,
    contract.contract_sensor,
    alerts.alerts,
)

__all__ = ["JOBS", "SENSORS", "nightly"]
