"""How a failed run reports why: each cause once, in words, with the days that failed of it."""

import os
import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Final

import dagster as dg
import polars as pl

from cdr_pipeline.errors import SAFE, ApiError, CdrError, NotTogether, way_out
from cdr_pipeline.window import ranges

#: Metadata key of a run's failure: the days that failed, by cause.
_METADATA: Final = "failures"

_PACKAGE: Final = Path(__file__).parents[1]

#: Errors that end one day and not the others. A panic of Polars is not an Exception.
ANY_ERROR: Final = (Exception, pl.exceptions.PanicException)


@contextmanager
def failing_in_words() -> Iterator[None]:
    """Turn an error that a person has to mend into a dg.Failure with its message, not retried."""
    try:
        yield
    except (CdrError, OSError) as error:
        raise dg.Failure(in_words(error), allow_retries=False) from None


def log_error(log: dg.DagsterLogManager, of: date | str, error: Exception) -> None:
    """Log at once why a day or a dataset failed; with a traceback if the error is unexpected."""
    foreseen = isinstance(error, CdrError | OSError)
    log.error(f"{of}: {in_words(error)}", exc_info=not foreseen)


def days_failed(failed: Mapping[date, Exception], asked: Collection[object]) -> dg.Failure:
    """The failure of a step in which some of the `asked` days `failed`; the others are loaded."""
    by_cause = causes(failed)
    count = f"{len(failed)} of {len(asked)} days failed"
    return dg.Failure(
        "\n".join([count, *summary(by_cause)]),
        metadata={_METADATA: dg.MetadataValue.json(by_cause)},
        allow_retries=False,
    )


def told_by(events: Iterable[dg.DagsterEvent]) -> dict[str, list[str]]:
    """The causes that a failed run reported, each with the days that failed of it; empty if the run
    ended before it could report. `events`: step failures of the run.
    """
    for event in events:
        failure = event.step_failure_data.user_failure_data
        if failure and _METADATA in failure.metadata:
            found: dict[str, list[str]] = failure.metadata[_METADATA].value  # type: ignore[assignment]
            return found
    return {}


def summary(causes: Mapping[str, Sequence[str]]) -> list[str]:
    """One line for each cause, with the days that failed of it, if there are any."""
    told = ((ranges(map(date.fromisoformat, days)), cause) for cause, days in causes.items())
    return [f"{days}: {cause}" if days else cause for days, cause in told]


def causes(failed: Mapping[date, Exception]) -> dict[str, list[str]]:
    """Cause in words -> the days that failed of it."""
    days: dict[str, list[str]] = {}
    for day in sorted(failed):
        days.setdefault(in_words(failed[day]), []).append(f"{day}")
    return days


def not_together(failed: Mapping[str, Exception]) -> NotTogether:
    """The error for datasets over several days that failed, although each day by itself is made."""
    names: dict[str, list[str]] = {}
    for name, error in failed.items():
        names.setdefault(in_words(error), []).append(name)
    told = [f"{' and '.join(datasets)}: {cause}" for cause, datasets in names.items()]
    return NotTogether(" ".join([*told, "All else of these days is made."]))


def in_words(error: Exception) -> str:
    """The error as a message: what happened, what is safe, and what to do."""
    if isinstance(error, ApiError):
        return f"{error} What was stored is unchanged."
    if isinstance(error, CdrError):
        return str(error)
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"{error.filename} is missing. {SAFE}"
    if isinstance(error, pl.exceptions.ComputeError) and f"{error}".startswith("parquet:"):
        return (
            f"a stored file that it is made from cannot be read. {SAFE}"
            " `cdr-pipeline status` names a file that is cut short; if it names none,"
            " `cdr-pipeline rebuild --all` makes all but raw_pages and cdr_receipts anew."
        )
    if isinstance(error, OSError):
        # PyArrow names no file, and adds words about its own code to the system's message.
        what = error.filename or "a file in CDR_DATA_DIR"
        why = os.strerror(error.errno) if error.errno else error.strerror or type(error).__name__
        told = f"{what} could not be read or written: {why}. {SAFE}"
        return f"{told} {way_out(error)}".rstrip()
    return f"{type(error).__name__}, a fault of this pipeline{_place(error)}: please report it."


def _place(error: Exception) -> str:
    """The place in our code where the error came up. The text of an error may hold data, and
    `cdr-pipeline run` keeps nothing of Dagster's log: without the place, a user could report
    nothing.
    """
    ours = (
        f" ({Path(at.filename).relative_to(_PACKAGE)}, line {at.lineno})"
        for at in reversed(traceback.extract_tb(error.__traceback__))
        if Path(at.filename).is_relative_to(_PACKAGE)
    )
    return next(ours, "")
