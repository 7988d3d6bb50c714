"""How a run that failed says why: each cause once, in words, with the days it stopped."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Final

import dagster as dg
import polars as pl

from cdr_pipeline.errors import CdrError, Unavailable, way_out
from cdr_pipeline.window import ranges

#: In the metadata of a run's failure: the days that failed, by cause.
_METADATA: Final = "failures"


@contextmanager
def failing_in_words() -> Iterator[None]:
    """What a person has to mend fails the step with its own words, and is not tried again."""
    try:
        yield
    except (CdrError, OSError) as error:
        raise dg.Failure(in_words(error), allow_retries=False) from None


def days_failed(failed: Mapping[date, Exception], asked: Collection[object]) -> dg.Failure:
    """The failure of a step that `asked` for some days, others of which may stand."""
    by_cause = causes(failed)
    count = f"{len(failed)} of {len(asked)} days failed"
    return dg.Failure(
        "\n".join([count, *summary(by_cause)]),
        metadata={_METADATA: dg.MetadataValue.json(by_cause)},
        allow_retries=False,
    )


def told_by(events: Iterable[dg.DagsterEvent]) -> dict[str, list[str]]:
    """The causes that a failed run told in its end, each with the days it stopped; none where it
    did not come to that. `events`: of steps that failed.
    """
    for event in events:
        failure = event.step_failure_data.user_failure_data
        if failure and _METADATA in failure.metadata:
            found: dict[str, list[str]] = failure.metadata[_METADATA].value  # type: ignore[assignment]
            return found
    return {}


def summary(causes: Mapping[str, Sequence[str]]) -> list[str]:
    """What a person reads: each cause once, with the days it stopped, if it is one of days."""
    told = ((ranges(map(date.fromisoformat, days)), cause) for cause, days in causes.items())
    return [
        cause if not days or cause.startswith(f"{days}: ") else f"{days}: {cause}"
        for days, cause in told
    ]


def causes(failed: Mapping[date, Exception]) -> dict[str, list[str]]:
    """Each cause in words, and the days it stopped."""
    days: dict[str, list[str]] = {}
    for day in sorted(failed):
        days.setdefault(in_words(failed[day]), []).append(f"{day}")
    return days


def in_words(error: Exception) -> str:
    """What happened, what is safe, and what to do."""
    if isinstance(error, Unavailable):
        return f"{error} What was stored is unchanged."
    if isinstance(error, CdrError):
        return str(error)
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"{error.filename} is missing. What was stored is unchanged."
    if isinstance(error, pl.exceptions.ComputeError) and f"{error}".startswith("parquet:"):
        return (
            "a stored file that it is made from cannot be read. What was stored is unchanged."
            " `cdr-pipeline status` names a file that is cut short; if it names none,"
            " `cdr-pipeline rebuild --all` makes all but raw_pages and cdr_receipts anew."
        )
    if isinstance(error, OSError):
        what = f"{error.filename} could not be" if error.filename else "could not be"
        told = f"{what} read or written: {error.strerror or type(error).__name__}."
        return f"{told} What was stored is unchanged. {way_out(error)}".rstrip()
    return f"{type(error).__name__}, a fault of this pipeline: please report it."
