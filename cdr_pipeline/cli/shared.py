"""Shared by the commands: two consoles, and options for days."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.status import Status

from cdr_pipeline.errors import CdrError
from cdr_pipeline.settings import Settings

if TYPE_CHECKING:
    from cdr_pipeline.tables.store import Store

#: The message after Ctrl-C.
LOADED_STAYS: Final = "Days that are loaded stay so; run it again for the rest."

# Without emoji: rich would read `:100:` in a time or a folder as the name of an emoji.
out: Final = Console(emoji=False)
err: Final = Console(emoji=False, stderr=True)

#: The width of a table in a pipe: one line per row, however wide.
_PIPED_WIDTH: Final = 170


class _Moment(click.DateTime):
    """An option of a day or a time; `form`: its format, for --help."""

    def __init__(self, form: str, formats: Sequence[str]) -> None:
        super().__init__(formats)
        self.form = form

    def get_metavar(self, *_: Any, **__: Any) -> str:
        return self.form

    def convert(self, value: Any, param: Any, ctx: Any) -> datetime:
        try:
            moment: datetime = super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is not written as {self.form}, such as 2023-03-07.", param, ctx)
        return moment


class _UpTo(_Moment):
    """A moment as an inclusive upper bound: a bare day means its last second."""

    def convert(self, value: Any, param: Any, ctx: Any) -> datetime:
        moment = super().convert(value, param, ctx)
        is_day = isinstance(value, str) and len(value) == len("2023-03-07")
        return moment + timedelta(days=1, seconds=-1) if is_day else moment


class _Output(click.Path):
    """A file to write; its folder must exist, which is checked before the vendor is asked."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        path: Any = super().convert(value, param, ctx)
        if not path.parent.is_dir():
            self.fail(f"{path.parent}: there is no such folder.", param, ctx)
        return path


DAY: Final = _Moment("YYYY-MM-DD", ["%Y-%m-%d"])
MOMENT: Final = _Moment(
    "YYYY-MM-DD[ HH:MM:SS]", ["%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"]
)
UP_TO: Final = _UpTo(MOMENT.form, MOMENT.formats)
OUTPUT: Final = _Output(path_type=Path, dir_okay=False, writable=True)
PORT: Final = click.IntRange(1, 65_535)


def warn(word: str, text: str, style: str = "bold red") -> None:
    """Print a message to the error stream, after a `word` that says of what kind it is."""
    err.print(f"[{style}]{word}:[/] {escape(text)}", soft_wrap=True, highlight=False)


def exit_if(failed: list[str]) -> None:
    """Print what failed and exit with 1; do nothing if nothing failed."""
    for text in failed:
        warn("Failed", text)
    if failed:
        sys.exit(1)


def for_tables() -> Console:
    """The console for tables: as wide as the terminal, or in a pipe so wide that no cell is cut."""
    return out if out.is_terminal else Console(emoji=False, width=max(out.width, _PIPED_WIDTH))


def progress() -> Progress:
    """A progress bar of days, removed when they are done."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
    )


@contextmanager
def running_dagster(safe: str = LOADED_STAYS) -> Iterator[None]:
    """The context in which Dagster runs are executed. A run that is interrupted reports by itself
    which days are left; an interrupt before the first run or after the last raises CdrError, which
    says what is `safe`.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise CdrError(f"It was interrupted. {safe}") from None


def starting_dagster() -> Status:
    """The status line while Dagster is imported."""
    return err.status("Starting Dagster")


def stored() -> tuple[Settings, "Store"]:
    """The settings, and the store in CDR_DATA_DIR. Raises SettingsError."""
    from cdr_pipeline.tables.store import Store

    settings = Settings.load()
    return settings, Store.of(settings)


def nothing_stored(root: Path, what: str) -> str:
    """The message if nothing is stored, with what to do; `root` may be mistyped."""
    load = "Load days with `cdr-pipeline run`, or try `cdr-pipeline demo`."
    if not root.is_dir():
        return f"{what} in {root}: there is no such folder. Is CDR_DATA_DIR right? {load}"
    return f"{what} in {root}. {load}"


def span(first: datetime | None, last: datetime | None) -> tuple[date, date]:
    """--from and --to as days; date.min and date.max for None. Raises UsageError."""
    begin = first.date() if first else date.min
    end = last.date() if last else date.max
    see_that_they_are_in_order(begin, end)
    return begin, end


def see_that_they_are_in_order(first: date, last: date, of: str = "") -> None:
    """Raises UsageError if --from is after --to; `of`: the prefix of both options, as `ended-`."""
    if first > last:
        raise click.UsageError(f"--{of}from {first} is after --{of}to {last}.")
