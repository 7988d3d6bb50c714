"""This pipeline: every daily asset through Dagster, in this process, as `cdr-pipeline run` does."""

import dagster as dg
from pydantic import SecretStr

from cdr_pipeline.assets.daily import daily_calls
from cdr_pipeline.assets.layer import Loading
from cdr_pipeline.bench.contestants import Job
from cdr_pipeline.settings import Settings


def load(job: Job) -> None:
    """Prove, keep, flatten and count the days, all checks included. Raises if a day fails."""
    settings = Settings(
        api_base_url=job.url,
        api_token=SecretStr("bench"),
        data_dir=job.folder / "data",
        start_date=min(job.days),
        page_size=job.page_size,
        concurrency=job.connections,
        requests_per_second=0,
    )
    home = job.folder / "dagster"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        dg.materialize(
            [daily_calls(settings)],
            instance=instance,
            tags={
                "dagster/asset_partition_range_start": f"{min(job.days)}",
                "dagster/asset_partition_range_end": f"{max(job.days)}",
            },
            resources={"loading": Loading(settings=lambda _: settings)},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
