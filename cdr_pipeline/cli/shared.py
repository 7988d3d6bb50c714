"""What the commands share: two consoles, days as options."""

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

#: What is said where somebody pressed Ctrl-C.
LOADED_STAYS: Final = "Days that are loaded stay so; run it again for the rest."

# Without emoji: a time or a folder may hold what rich takes for the name of one, as `:100:`.
out: Final = Console(emoji=False)
err: Final = Console(emoji=False, stderr=True)

#: Who reads a pipe wants a line a row, whatever its width.
_PIPED_WIDTH: Final = 170


class _Moment(click.DateTime):
    """A day or a moment, in `form` as people read it."""

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
    """A file to be written, in a folder that is there: it is seen to before anybody is asked."""

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
    """What somebody should know, and in a word what kind of thing it is."""
    err.print(f"[{style}]{word}:[/] {escape(text)}", soft_wrap=True, highlight=False)


def exit_if(failed: list[str]) -> None:
    """Say what failed, and end with 1; go on where nothing did."""
    for text in failed:
        warn("Failed", text)
    if failed:
        sys.exit(1)


def for_tables() -> Console:
    """Where tables are printed: as wide as the terminal, or in a pipe so that no cell is cut."""
    return out if out.is_terminal else Console(emoji=False, width=max(out.width, _PIPED_WIDTH))


def progress() -> Progress:
    """A bar of days, gone when they are done."""
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
    """While runs of Dagster's are begun and go on, which tell by themselves of what is left where
    they are interrupted. Raises CdrError for an interrupt that comes before the first of them or
    after the last: what is `safe`.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise CdrError(f"It was interrupted. {safe}") from None


def starting_dagster() -> Status:
    """What is shown while Dagster is imported."""
    return err.status("Starting Dagster")


def stored() -> tuple[Settings, "Store"]:
    """The settings, and the store they name."""
    from cdr_pipeline.tables.store import Store

    settings = Settings.load()
    return settings, Store.of(settings)


def nothing_stored(root: Path, what: str) -> str:
    """What to say where nothing is stored, and what to do; `root` may be mistyped."""
    load = "Load days with `cdr-pipeline run`, or try `cdr-pipeline demo`."
    if not root.is_dir():
        return f"{what} in {root}: there is no such folder. Is CDR_DATA_DIR right? {load}"
    return f"{what} in {root}. {load}"


def span(first: datetime | None, last: datetime | None) -> tuple[date, date]:
    """--from and --to as days, either of which may be left out. Raises UsageError."""
    begin = first.date() if first else date.min
    end = last.date() if last else date.max
    see_that_they_are_in_order(begin, end)
    return begin, end


def see_that_they_are_in_order(first: date, last: date, of: str = "") -> None:
    """Raises UsageError where --from is after --to; `of`: what stands before these, as `ended-`."""
    if first > last:
        raise click.UsageError(f"--{of}from {first} is after --{of}to {last}.")
