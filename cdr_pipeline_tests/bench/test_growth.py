"""How cost grows with size: the sizes, the table and the plot."""

from pathlib import Path

from cdr_pipeline.bench.contest import Cost
from cdr_pipeline.bench.growth import Point, Size, axes, plot, table


def point(records: int, cpu: float) -> Point:
    cost = Cost(cpu=cpu, start_cpu=1, wall=cpu, peak=10**8, written=10**6)
    return Point("calls a day", records, Size(records), cost)


def test_no_size_is_larger_than_the_top() -> None:
    known = axes(30_000)
    assert [at for at, _ in known["calls a day"]] == [10_000, 30_000]
    assert max(size.calls for sizes in known.values() for _, size in sizes) == 30_000


def test_the_table_shows_the_cost_of_a_thousand_more_calls() -> None:
    shown = table([point(1000, 2), point(3000, 3)])
    each, between = (list(column.cells) for column in shown.columns[-2:])
    assert each == ["1000.0", "666.7"]
    assert between == ["", "500.0"]


def test_the_plot_is_a_file_that_shows_every_axis(tmp_path: Path) -> None:
    plot([point(1000, 2), point(3000, 3)], tmp_path / "growth.html")
    assert "calls a day" in (tmp_path / "growth.html").read_text()
