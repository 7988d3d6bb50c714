"""Writes the page: figures, pictures and words in one HTML file that needs no other file.

All values that the vendor sent are escaped, and only the ends of a phone number are shown.
"""

import importlib.util
from contextlib import nullcontext
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from cdr_pipeline import checks
from cdr_pipeline.errors import CdrError
from cdr_pipeline.record import SHORT_CALL_SECONDS
from cdr_pipeline.report.figures import Figures, Span, figures
from cdr_pipeline.report.words import Words
from cdr_pipeline.settings import Language
from cdr_pipeline.tables.store import Store, replacing

#: Folder of the pages, in the data folder beside the datasets.
FOLDER: Final = "reports"

#: The figures at the top of the page, in order, and which of them are ratios.
_RATIOS: Final = ("asr", "ner")
_TOP: Final = (
    *("calls", "answered", "asr", "ner", "acd_seconds", "key_presses", "short_calls"),
    *("peak_calls", "peak_talks"),
)

#: At most so many ranges of days are named, and so many hotlines have a line.
_NAMED: Final = 5
_MOST_HOTLINES: Final = 20


def available() -> bool:
    """Whether the drawing libraries, an optional extra, are installed."""
    return all(importlib.util.find_spec(one) for one in ("altair", "vl_convert", "jinja2"))


def write(
    store: Store, first: date, last: date, language: Language, output: Path | None = None
) -> tuple[Path, Figures]:
    """Write the page of the days from `first` to `last`, both included, to `output` or to its place
    in the data folder. The file is replaced as a whole; if `output` is a link, its target is.
    Raises CdrError if no day is stored whole, the libraries are missing, or the path is no file;
    and Damaged.
    """
    if not available():
        raise CdrError(
            "The report needs Altair, vl-convert and Jinja2, which are not installed: `uv sync"
            " --extra report`, or `pip install altair vl-convert-python jinja2`. Everything else"
            " works without them."
        )
    made = figures(store, first, last)
    text = html(made, Words(language), store.zone)
    path = output.resolve() if output else place(store, first, last)
    if path.exists() and not path.is_file():  # such as /dev/null, which root could replace
        raise CdrError(f"{path} is no file: name one, whose place the page may take.")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two writers of one page would overwrite each other's staged file. With an `output`, the data
    # folder may be read-only, so no lock is taken there.
    alone = nullcontext() if output else store.locked(FOLDER)
    with alone, replacing(path, path.with_name(f".{path.name}.new")) as staged:
        staged.write_text(text, encoding="utf-8")
    return path, made


def place(store: Store, first: date, last: date) -> Path:
    """The path of the page of these days, in the data folder."""
    name = f"{first}" if first == last else f"{first}_{last}"
    return store.root / FOLDER / f"{name}.html"


def html(figures: Figures, words: Words, zone: ZoneInfo) -> str:
    """The HTML text of the page. Times are shown in `zone`."""
    import jinja2  # noqa: PLC0415  optional

    from cdr_pipeline.report import charts  # noqa: PLC0415  optional

    names = charts.campaign_names(figures, words)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cdr_pipeline.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        t=words,
        f=figures,
        days=_days(figures, words),
        missing=words.ranges(figures.missing, _NAMED),
        otherwise=words.ranges(figures.otherwise, _NAMED),
        wanted=len(figures.days) + len(figures.missing),
        fetched=_moment(figures.fetched, zone, words),
        made=_moment(datetime.now(zone), zone, words),
        before=_days(figures.earlier, words),
        top=_top(figures, words),
        pictures=charts.pictures(figures, words),
        campaigns=[
            row | {"name": names[row["campaign_uuid"]]}
            for row in figures.campaigns.rows(named=True)
        ],
        hotlines=figures.hotlines.head(_MOST_HOTLINES).rows(named=True),
        rules=[row | {"rule": _rule(row, words)} for row in figures.rules.rows(named=True)],
        checks=_checks(figures, words),
        masked=masked,
        seconds=lambda value: _seconds(value, words),
        short=SHORT_CALL_SECONDS,
    )


def masked(number: str) -> str:
    """A phone number with its middle digits hidden; a short number is hidden as a whole."""
    ends = 3 if len(number) > 8 else 1 if len(number) > 3 else 0
    hidden = "•" * (len(number) - 2 * ends)
    return number[:ends] + hidden + number[len(number) - ends :]


def _top(figures: Figures, words: Words) -> list[dict[str, str]]:
    """`name`, `value`, and `before`: the earlier value and the change, or empty text."""
    lines = []
    for name in _TOP:
        named = words(name, short=SHORT_CALL_SECONDS)
        line = {"name": named, "value": _value(name, figures.now[name], words), "before": ""}
        if figures.before:
            value, change = figures.before[name], _change(name, figures, words)
            line["before"] = words("before", value=_value(name, value, words), change=change)
        lines.append(line)
    return lines


def _value(name: str, value: Any, words: Words) -> str:
    if name in _RATIOS:
        return words.percent(value)
    return _seconds(value, words) if name == "acd_seconds" else words.number(value)


def _seconds(value: float | None, words: Words) -> str:
    return "-" if value is None else words("seconds", value=words.number(value))


def _change(name: str, figures: Figures, words: Words) -> str:
    """The change of a figure: ratios in percentage points, other figures in percent."""
    assert figures.before is not None
    now, before = figures.now[name], figures.before[name]
    if now is None or not before:
        return "-"
    by = now - before if name in _RATIOS else now / before - 1
    by = round(by * 100, 1 if name in _RATIOS else 0)  # a change too small to show is no change
    sign = "+" if by > 0 else "-" if by < 0 else "±"
    if name in _RATIOS:
        return sign + words("points", value=words.number(abs(by), 1))
    return sign + words.percent(abs(by) / 100, 0)


def _rule(row: dict[str, Any], words: Words) -> str:
    return words(
        "rule",
        from_=row["allowed_from"].removesuffix(":00"),
        until=row["allowed_until"].removesuffix(":00"),
        count=row["calls_per_number"],
    )


def _checks(figures: Figures, words: Words) -> list[dict[str, Any]]:
    """What each check found, over all days; failed checks first."""
    lines = [
        {"name": words(f"check.{one.check.name}"), "passed": one.passed, "told": words.found(one)}
        for one in checks.over_days(figures.findings)
    ]
    return sorted(lines, key=lambda line: bool(line["passed"]))


def _days(span: Span, words: Words) -> str:
    if span.one_day:
        return words("one_day", day=f"{span.first:{words.day}}")
    return words.days(span.first, span.last)


def _moment(at: datetime, zone: ZoneInfo, words: Words) -> str:
    return f"{at.astimezone(zone):{words.day} %H:%M}"
