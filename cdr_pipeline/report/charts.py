"""Draws the pictures of the page: Vega-Lite charts as SVG, without a browser or a network.

Each picture is drawn twice, for a wide page and for a phone, with letters of the same size. The
page has each SVG as a separate image, so that the ids of two SVGs cannot clash. The drawing
libraries are an optional extra: call `page.available` before you import this module.
"""

import base64
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import altair as alt
import polars as pl
import vl_convert

from cdr_pipeline.record import Disposition
from cdr_pipeline.report.figures import OTHERS, Figures
from cdr_pipeline.report.words import Words

#: Widths of the pictures, in pixels.
WIDE: Final = 860
NARROW: Final = 350

#: So many characters of a campaign's UUID usually differ from those of all other campaigns.
_NAME: Final = 8

#: Width in pixels of the small picture for Dagster's UI.
_THUMBNAIL: Final = 280

_INK: Final = "#1b1f24"
_ACCENT: Final = "#1f5f8b"
_BEFORE: Final = "#b4530a"

#: Light and dark colours alternate, for readers who are colour-blind.
_COLOURS: Final[Mapping[Disposition, str]] = {
    Disposition.ANSWERED: "#1a7f37",
    Disposition.USER_BUSY: "#f2c14e",
    Disposition.RING_NO_ANSWER: "#1f5f8b",
    Disposition.TERMINAL_REJECTED: "#e58a3c",
    Disposition.TERMINAL_UNAVAILABLE: "#8fb8d8",
    Disposition.NUMBER_FAULT: "#6b4c9a",
    Disposition.NETWORK_FAILURE: "#b3261e",
    Disposition.NOT_ATTEMPT: "#c9c9c9",
    Disposition.UNKNOWN: "#5f6368",
}

_CONFIG: Final = {
    "font": "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif",
    "background": "#ffffff",
    "axis": {
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelColor": _INK,
        "titleColor": _INK,
        "gridColor": "#e3e6ea",
        "labelLimit": 130,
    },
    "legend": {"labelFontSize": 12, "titleFontSize": 12, "labelColor": _INK, "titleColor": _INK},
    "view": {"stroke": None},
    "scale": {"bandPaddingInner": 0.15},
}


@dataclass(frozen=True)
class Picture:
    """One picture as data URIs, for a wide page and for a phone, and its alternative text."""

    wide: str
    narrow: str
    alt: str


def pictures(figures: Figures, words: Words) -> dict[str, Picture]:
    """Name -> picture, for every picture of the page; empty if there are no calls."""
    if not figures.now["calls"]:
        return {}
    return {
        name: Picture(
            wide=_svg(chart(figures, words, WIDE), words),
            narrow=_svg(chart(figures, words, NARROW), words),
            alt=describe(figures, words),
        )
        for name, (chart, describe) in _PICTURES.items()
    }


def thumbnail(figures: Figures, words: Words) -> bytes:
    """The curve as a small JPEG. Dagster's history keeps one for every day, and a PNG would be
    three times as large.
    """
    chart = _curve(figures, words, _THUMBNAIL).properties(height=70)
    small = _CONFIG | {"axis": {"labelFontSize": 9, "title": None, "grid": False}}
    return bytes(vl_convert.vegalite_to_jpeg(chart.to_dict(), config=small, quality=75))


def campaign_names(figures: Figures, words: Words) -> dict[str | None, str]:
    """UUID -> the name that the page shows: the beginning of the UUID, long enough to differ from
    all others. Characters that cannot be printed are replaced by their escape codes: a picture
    cannot hold them, and the drawing library would end the whole process.
    """
    shown = {*figures.campaigns["campaign_uuid"], *(figures.heat["row"] if figures.one_day else ())}
    uuids = shown - {None, OTHERS}
    lengths = itertools.count(_NAME)
    enough = next(end for end in lengths if len({one[:end] for one in uuids}) == len(uuids))
    short = {one: repr(one[:enough])[1:-1] for one in uuids}
    return {**short, None: words("outside"), OTHERS: words("others")}


def _svg(chart: Any, words: Words) -> str:
    signs = {"decimal": words.decimal, "thousands": words.thousands}
    locale = {**signs, "grouping": [3], "currency": ["", ""]}
    svg = vl_convert.vegalite_to_svg(chart.to_dict(), config=_CONFIG, format_locale=locale)
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


# ---- the day against the same weekday before


def _curve(figures: Figures, words: Words, width: int) -> Any:
    frame = figures.curve.with_columns(at=_labels(figures, words))
    x = (
        alt.X("at:O", title=words("hour") if figures.one_day else None)
        .axis(labelAngle=0 if figures.one_day else -60, labelOverlap=True)
        .scale(domain=frame["at"].to_list())  # also days that are not stored: gaps
    )
    kinds = [words("this"), words("that")]
    kind = alt.Color("kind:N", title=None).scale(domain=kinds, range=[_ACCENT, _BEFORE])
    kind = kind.legend(orient="top", symbolType="square") if figures.before else kind.legend(None)
    y = alt.Y("calls:Q", title=words("calls")).axis(tickMinStep=1)
    bars = (
        alt.Chart(frame.with_columns(kind=pl.lit(kinds[0]))).mark_bar().encode(x=x, y=y, color=kind)
    )
    layers: list[Any] = [bars]
    if figures.before:
        before = frame.select("at", calls="before", kind=pl.lit(kinds[1]))
        line = alt.Chart(before).mark_line(point=alt.OverlayMarkDef(size=28), strokeWidth=2)
        layers.append(line.encode(x=x, y=y, color=kind))
    return alt.layer(*layers).properties(width=width - 64, height=220)


def _labels(figures: Figures, words: Words) -> pl.Expr:
    if figures.one_day:
        return pl.col("at").cast(pl.String)
    one_year = figures.first.year == figures.last.year
    return pl.col("at").dt.to_string(words.short_day if one_year else words.day)


def _curve_alt(figures: Figures, words: Words) -> str:
    top = figures.curve.with_columns(at=_labels(figures, words)).sort("calls").row(-1, named=True)
    peak = f"{top['at']} h" if figures.one_day else top["at"]
    return words("curve_alt", most=top["calls"], peak=peak, total=figures.now["calls"])


# ---- hours


def _heat(figures: Figures, words: Words, width: int) -> Any:
    frame, order = _heat_rows(figures, words)
    gap = 150 if width == WIDE else 132
    hours = list(range(frame["hour"].min(), frame["hour"].max() + 1))  # type: ignore[arg-type, operator]
    return (
        alt.Chart(frame)
        .mark_rect()
        .encode(
            x=alt.X("hour:O", title=words("hour"))
            .axis(labelAngle=0, labelOverlap=True)
            .scale(domain=hours),
            y=alt.Y("row:N", title=None).axis(labelLimit=gap - 10).scale(domain=order),
            color=alt.Color("calls:Q", title=words("calls"))
            .scale(scheme="blues", domainMin=0)
            .legend(orient="top", gradientLength=160),
        )
        .properties(width=width - gap, height=max(60, 24 * len(order)))
    )


def _heat_rows(figures: Figures, words: Words) -> tuple[pl.DataFrame, list[str]]:
    """The cells, and the names of all rows in order, also of days or months that are not stored."""
    if figures.one_day:
        names = campaign_names(figures, words)
        named = figures.heat.with_columns(pl.col("row").replace_strict(names))
        return named, [names[one] for one in figures.campaigns["campaign_uuid"]]
    if figures.by_month:
        names = {f"{day:%Y-%m}": f"{day:{words.month}}" for day in figures.every}
    else:
        names = {f"{day}": f"{day:{words.short_day}}" for day in figures.every}
    return figures.heat.with_columns(pl.col("row").replace_strict(names)), list(names.values())


def _heat_alt(figures: Figures, words: Words) -> str:
    frame, _ = _heat_rows(figures, words)
    top = frame.sort("calls").row(-1, named=True)
    hour = str(top["hour"])
    return words("heat_alt", most=top["calls"], hour=hour, row=top["row"])


# ---- endings


def _mix(figures: Figures, words: Words, width: int) -> Any:
    labels = {one.label: words(f"disposition.{one.label}") for one in Disposition}
    names = campaign_names(figures, words)
    order = [names[one] for one in figures.campaigns["campaign_uuid"]]
    frame = (
        figures.campaigns.select(*labels, row=pl.col("campaign_uuid").replace_strict(names))
        .unpivot(list(labels), index="row", variable_name="label", value_name="calls")
        .filter(pl.col("calls") > 0)
        # Stacked here: Vega finds a function under the name of a campaign called toString.
        .with_columns(until=(pl.col("calls").cum_sum() / pl.col("calls").sum()).over("row"))
        .with_columns(
            since=pl.col("until").shift(fill_value=0.0).over("row"),
            ending=pl.col("label").replace_strict(labels),
        )
    )
    gap = 150 if width == WIDE else 132
    return (
        alt.Chart(frame)
        .mark_bar(stroke="#ffffff", strokeWidth=0.5)
        .encode(
            x=alt.X("since:Q", title=None).axis(format="%", tickCount=5).scale(domain=[0, 1]),
            x2="until",
            y=alt.Y("row:N", title=None).axis(labelLimit=gap - 10).scale(domain=order),
            color=alt.Color("ending:N", title=None)
            .scale(domain=list(labels.values()), range=[_COLOURS[one] for one in Disposition])
            .legend(orient="top", columns=5 if width == WIDE else 2, labelLimit=170),
        )
        .properties(width=width - gap, height=max(60, 26 * len(order)))
    )


def _mix_alt(figures: Figures, words: Words) -> str:
    counts = {one: figures.now[one.label] for one in Disposition}
    largest = max(counts, key=lambda one: counts[one])
    share = words.percent(counts[largest] / figures.now["calls"])
    return words("mix_alt", largest=words(f"disposition.{largest.label}"), share=share)


# ---- funnel


def _funnel(figures: Figures, words: Words, width: int) -> Any:
    calls = figures.now["calls"]
    frame = pl.DataFrame(
        {
            "step": [words(step) for step in figures.funnel],
            "calls": list(figures.funnel.values()),
            "told": [
                f"{words.number(count)}  ({words.percent(count / calls)})"
                for count in figures.funnel.values()
            ],
        }
    )
    gap = 170 if width == WIDE else 152
    y = alt.Y("step:N", title=None, sort=None).axis(labelLimit=gap - 10)
    x = (
        alt.X("calls:Q", title=None)
        .axis(None)
        .scale(domain=[0, calls * (1.2 if width == WIDE else 1.7)])
    )
    base = alt.Chart(frame).encode(x=x, y=y)
    text = base.mark_text(align="left", dx=5, fontSize=12, color=_INK).encode(text="told:N")
    bars = base.mark_bar(color=_ACCENT)
    return alt.layer(bars, text).properties(width=width - gap, height=190)


def _funnel_alt(figures: Figures, words: Words) -> str:
    steps = "; ".join(
        f"{words(step)}: {words.number(count)}" for step, count in figures.funnel.items()
    )
    return words("funnel_alt", steps=steps)


_Chart = Callable[[Figures, Words, int], Any]
_PICTURES: Final[dict[str, tuple[_Chart, Callable[[Figures, Words], str]]]] = {
    "curve": (_curve, _curve_alt),
    "heat": (_heat, _heat_alt),
    "mix": (_mix, _mix_alt),
    "funnel": (_funnel, _funnel_alt),
}
