"""How a run that failed says why: each cause once, in words, with the days it stopped."""

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

#: In the metadata of a run's failure: the days that failed, by cause.
_METADATA: Final = "failures"

_PACKAGE: Final = Path(__file__).parents[1]

#: What may end one day and leave the others: a panic of Polars' is no Exception.
ANY_ERROR: Final = (Exception, pl.exceptions.PanicException)


@contextmanager
def failing_in_words() -> Iterator[None]:
    """What a person has to mend fails the step with its own words, and is not tried again."""
    try:
        yield
    except (CdrError, OSError) as error:
        raise dg.Failure(in_words(error), allow_retries=False) from None


def log_error(log: dg.DagsterLogManager, of: date | str, error: Exception) -> None:
    """Say at once why a day or a dataset failed; with a traceback, if nobody foresaw that."""
    foreseen = isinstance(error, CdrError | OSError)
    log.error(f"{of}: {in_words(error)}", exc_info=not foreseen)


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
    return [f"{days}: {cause}" if days else cause for days, cause in told]


def causes(failed: Mapping[date, Exception]) -> dict[str, list[str]]:
    """Each cause in words, and the days it stopped."""
    days: dict[str, list[str]] = {}
    for day in sorted(failed):
        days.setdefault(in_words(failed[day]), []).append(f"{day}")
    return days


def not_together(failed: Mapping[str, Exception]) -> NotTogether:
    """What stopped datasets that look at several days, where each of the days itself is made."""
    names: dict[str, list[str]] = {}
    for name, error in failed.items():
        names.setdefault(in_words(error), []).append(name)
    told = [f"{' and '.join(some)}: {cause}" for cause, some in names.items()]
    return NotTogether(" ".join([*told, "All else of these days is made."]))


def in_words(error: Exception) -> str:
    """What happened, what is safe, and what to do."""
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
        # PyArrow names no file, and tells its own code's words beside the system's.
        what = error.filename or "a file in CDR_DATA_DIR"
        why = os.strerror(error.errno) if error.errno else error.strerror or type(error).__name__
        told = f"{what} could not be read or written: {why}. {SAFE}"
        return f"{told} {way_out(error)}".rstrip()
    return f"{type(error).__name__}, a fault of this pipeline{_place(error)}: please report it."


def _place(error: Exception) -> str:
    """Where in our code it came up. An error's own text may hold data, and what Dagster logs of it
    is kept nowhere by `cdr-pipeline run`: without this, there were nothing to report.
    """
    ours = (
        f" ({Path(at.filename).relative_to(_PACKAGE)}, line {at.lineno})"
        for at in reversed(traceback.extract_tb(error.__traceback__))
        if Path(at.filename).is_relative_to(_PACKAGE)
    )
    return next(ours, "")
