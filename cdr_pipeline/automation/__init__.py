"""What happens by itself: schedules and sensors, thin, one a module. What they decide by is in
`upkeep`.

    nightly      each night the day that ended, those before it that may still change, and gaps
    late_calls   by day: do the vendor's totals of older days still agree with what was proved?
    freshness    is the day that ended there, a few hours after the night?
    contract     which days were made under another contract, zone or version of the rules?
    alerts       tells a webhook of every run that failed; commands of theirs, if they come to it

All are on from the start, and skip their ticks with a reason while nothing is set. Where a setting
is wrong, `nightly` asks for its run all the same, which fails of it and is told of, and `freshness`
turns its check red.
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
