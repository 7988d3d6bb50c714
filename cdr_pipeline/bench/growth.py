"""How loading grows: with the calls of a day, with days, with keys and with campaigns."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from cdr_pipeline.bench import calls
from cdr_pipeline.bench.contest import Cost, measure
from cdr_pipeline.bench.contestants import Job
from cdr_pipeline.bench.load import empty_table, first_days, fresh, warm
from cdr_pipeline.bench.server import serving


@dataclass(frozen=True)
class Size:
    """What is loaded: calls a day, days, more keys in each lead list, campaigns a lead list."""

    calls: int
    days: int = 1
    keys: int = 0
    copies: int = 1


@dataclass(frozen=True)
class Point:
    """What loading one size cost. `at`: its position on the axis."""

    axis: str
    at: int
    size: Size
    cost: Cost

    @property
    def calls(self) -> int:
        """The number of calls over all days."""
        return self.size.calls * self.size.days


_RECORDS: Final = (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000)


def axes(top: int) -> dict[str, list[tuple[int, Size]]]:
    """Axis -> its positions and sizes, smallest first. `top`: the most calls a day."""
    part = max(1, min(top, 50_000))
    return {
        "calls a day": [(n, Size(n)) for n in _RECORDS if n <= top] or [(top, Size(top))],
        "days": [(n, Size(part // 5 or 1, days=n)) for n in (1, 3, 10, 30)],
        "more keys in each lead list": [(n, Size(part, keys=n)) for n in (0, 30, 100, 200)],
        "campaigns": [(5 * n, Size(part, copies=n)) for n in (1, 10, 100, 1000)],
    }


def grow(
    folder: Path, axis: str, sizes: Sequence[tuple[int, Size]], seed: int, latency_ms: float = 0
) -> Iterator[Point]:
    """Load each size once."""
    warm(folder, ["ours"])
    for at, size in sizes:
        corpus = calls.make(fresh(folder / "corpus"), seed=seed, **asdict(size))
        with serving(corpus, latency_ms / 1000) as server:
            cost = measure("ours", Job(server.url, fresh(folder / "run"), first_days(size.days)))
        yield Point(axis, at, size, cost)


def table(points: Sequence[Point]) -> Table:
    """One line a size. Cost grows in a straight line if the last two columns stay the same."""
    shown = empty_table(
        *("", "", "calls", "CPU s", "wall s", "peak MB", "written MB"),
        *("CPU ms a thousand calls, after the start", "and between this size and the one before"),
        title="Growth",
    )
    before: Point | None = None
    for point in points:
        if before and before.axis != point.axis:
            before = None
            shown.add_section()
        cost = point.cost
        shown.add_row(
            "" if before else point.axis,
            f"{point.at:,}",
            f"{point.calls:,}",
            f"{cost.cpu:.1f}",
            f"{cost.wall:.1f}",
            f"{cost.peak / 1e6:.0f}",
            f"{cost.written / 1e6:.1f}",
            f"{1e6 * (cost.cpu - cost.start_cpu) / point.calls:.1f}",
            _slope(before, point),
        )
        before = point
    return shown


def _slope(before: Point | None, point: Point) -> str:
    if before is None or point.calls == before.calls:
        return ""
    return f"{1e6 * (point.cost.cpu - before.cost.cpu) / (point.calls - before.calls):.1f}"


def plot(points: Sequence[Point], path: Path) -> None:
    """Two rows of panels, seconds and memory, one column an axis; PNG, SVG or HTML by the name."""
    import altair as alt  # noqa: PLC0415  of the group bench; the table does without

    measures: dict[str, Callable[[Point], float]] = {
        "CPU s": lambda point: point.cost.cpu,
        "wall s": lambda point: point.cost.wall,
        "peak MB": lambda point: point.cost.peak / 1e6,
    }
    rows = [
        {"axis": point.axis, "at": point.at, "measure": name, "value": measure(point)}
        for point in points
        for name, measure in measures.items()
    ]

    def panel(axis: str, names: Sequence[str], title: str) -> Any:
        values = [row for row in rows if row["axis"] == axis and row["measure"] in names]
        return (
            alt.Chart({"values": values}, width=220, height=160)
            .mark_line(point=True)
            .encode(
                alt.X("at:Q", title=axis),
                alt.Y("value:Q", title=title, scale=alt.Scale(zero=True)),
                alt.Color("measure:N", title=None),
            )
        )

    known = list(dict.fromkeys(point.axis for point in points))
    seconds = alt.hconcat(*(panel(axis, ("CPU s", "wall s"), "seconds") for axis in known))
    memory = alt.hconcat(*(panel(axis, ("peak MB",), "MB") for axis in known))
    alt.vconcat(seconds, memory).save(str(path))
