"""This pipeline once more, without Dagster: measures fetching and flattening apart from the
aggregates.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from cdr_pipeline.assets import aggregates
from cdr_pipeline.assets.begun import layers
from cdr_pipeline.assets.daily import lister_for
from cdr_pipeline.assets.layer import Work
from cdr_pipeline.bench.contest import cpu, memory
from cdr_pipeline.bench.contestants import Job
from cdr_pipeline.bench.contestants.ours import settings_for
from cdr_pipeline.tables.datasets import CDRS, DATASETS, RAW_PAGES
from cdr_pipeline.tables.store import Store

Spent = dict[str, float]


def load(job: Job) -> Spent:
    """Prove, keep and flatten the days, then count them, all checks included.

    Returns CPU seconds of `loading` and of `aggregates`, and `loading_peak`: the most bytes of
    memory of this process alone, before the last day's aggregates.
    """
    settings = settings_for(job)
    store = Store.of(settings)
    spent: Spent = {"loading": 0, "aggregates": 0, "loading_peak": 0}
    with ExitStack() as stack:
        lister = lister_for(stack, settings, store)
        for day in job.days:
            calls = Work(day, settings, store, (RAW_PAGES.name, CDRS.name))
            with _counted(spent, "loading"):
                list(layers(calls, lister))
            spent["loading_peak"] = memory("/proc/self/status", "VmHWM:")
            with _counted(spent, "aggregates"):
                aggregates.of_the_day(replace(calls, wanted=DATASETS))
    with _counted(spent, "aggregates"):
        for name in aggregates.that_look_back(DATASETS):
            list(aggregates.of_days_together(store, job.days, name))
    return spent


@contextmanager
def _counted(spent: Spent, name: str) -> Iterator[None]:
    before = cpu()
    yield
    spent[name] += cpu() - before
