"""The days as partitions, and how many of them one run of a backfill takes."""

import dagster as dg

from cdr_pipeline.settings import Settings


def partitions(settings: Settings) -> dg.DailyPartitionsDefinition:
    """One partition per local day; the newest is the last day that has ended."""
    return dg.DailyPartitionsDefinition(
        start_date=f"{settings.start_date}", timezone=settings.timezone
    )


def policy(settings: Settings) -> dg.BackfillPolicy:
    """How many days one run of a backfill takes: a run costs seconds, a day much less."""
    if settings.days_per_run:
        return dg.BackfillPolicy.multi_run(settings.days_per_run)
    return dg.BackfillPolicy.single_run()
