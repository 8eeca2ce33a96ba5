"""Runs beside one another as a page: the table, differences with their intervals, cost against AP, curves, keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from ...plain_text import printable
from ...run.files import write_atomically
from ...study.compared import Group, Table
from ..amounts import ABSENT, amount, size
from ..compare import by_value, difference_text, explained
from ..sweep import spread
from .contents import Chart, Row
from .render import beside, filled
from .svg import BOTTOM, RIGHT, TOP, WIDTH, Line, Plane, label, line_chart, picture, ticks

COLOURS = 6
"""Lines that can be told apart."""
ROW = 40


@dataclass(frozen=True)
class Contents:
    """All that stands on the page about one kind of data. keys: key, value, groups that have it."""

    data: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]
    explained: tuple[str, ...]
    charts: tuple[Chart, ...]
    keys: tuple[tuple[str, str, str], ...]


def write_compared(path: Path, tables: Sequence[Table], notes: Sequence[str]) -> None:
    """Raises: RunError: jinja2 is missing, or the file cannot be written."""
    write_atomically(path, render_compared(tables, notes).encode())


def render_compared(tables: Sequence[Table], notes: Sequence[str]) -> str:
    """HTML. Raises: RunError: jinja2 is missing."""
    return filled(
        "compared.html",
        tables=[_contents(table) for table in tables],
        notes=[printable(note) for note in notes],
        title="runs compared",
        style=beside("page.css"),
        script=beside("page.js"),
    )


def _contents(table: Table) -> Contents:
    rows = tuple(
        Row(
            f"{number}  {printable(group.name)}",
            (
                str(len(group.runs)),
                spread(group.score()),
                difference_text(group),
                spread(group.score("AP50")),
                ABSENT if group.bytes is None else size(group.bytes),
                ABSENT if group.operations is None else amount(group.operations),
            ),
        )
        for number, group in enumerate(table.groups, start=1)
    )
    keys = tuple(
        (printable(key), printable(text), "; ".join(map(printable, names)))
        for key, values in table.keys.items()
        for text, names in by_value(values).items()
    )
    return Contents(
        data=printable(table.data),
        heads=("runs", "AP", "difference", "AP50", "size", "operations"),
        rows=rows,
        explained=tuple(line.strip() for line in explained(table).splitlines()),
        charts=tuple(_charts(table)),
        keys=keys,
    )


def _charts(table: Table) -> Iterator[Chart]:
    forest = difference_chart(table.groups)
    if forest:
        yield "Differences of AP", forest, ()
    for title, costs in (
        ("AP against operations", [group.operations for group in table.groups]),
        ("AP against size", [group.bytes for group in table.groups]),
    ):
        chart = cost_chart(title, table.groups, costs)
        if chart:
            yield title, chart, ()
    lines = _curves(table.groups)
    if lines:
        names = tuple((line.name, line.colour) for line in lines)
        yield "AP on the validation split", line_chart("AP on the validation split", "epoch", lines), names


def difference_chart(groups: Sequence[Group]) -> str:
    """A row for each group with a difference: its name, below it the interval, and where 0 is. "" where none has."""
    shown = [(number, group) for number, group in enumerate(groups, start=1) if group.difference is not None]
    if not shown:
        return ""
    values = [0.0]
    for _, group in shown:
        found = group.difference
        assert found is not None
        values += [value for value in (found.mean, found.low, found.high) if value is not None]
    plane = Plane((min(values), max(values)), (0.0, 1.0))
    left = 12
    span = plane.across[1] - plane.across[0]

    def x(value: float) -> float:
        return left + (value - plane.across[0]) / span * (WIDTH - left - RIGHT)

    height = TOP + ROW * len(shown) + BOTTOM
    parts = [f'<line class="grid" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>']
    for value in ticks(*plane.across, most=5):
        text = f"{value:+g}" if value else "0"
        parts.append(f'<text x="{x(value):.1f}" y="{height - BOTTOM + 18}" text-anchor="middle">{text}</text>')
    for place, (number, group) in enumerate(shown):
        found = group.difference
        assert found is not None
        top = TOP + ROW * place
        parts.append(f'<text x="{left}" y="{top + 12}">{number}  {label(group.name)}</text>')
        if found.low is not None and found.high is not None:
            ends = f'x1="{x(found.low):.1f}" x2="{x(found.high):.1f}" y1="{top + 24}" y2="{top + 24}"'
            parts.append(f'<line class="between" {ends}/>')
        title = label(f"{group.name}: {difference_text(group)} to {group.beside}")
        colour = 2 if found.is_clear else 0
        place_of = f'cx="{x(found.mean):.1f}" cy="{top + 24}" r="5"'
        parts.append(f'<circle class="dot c{colour}" {place_of}><title>{title}</title></circle>')
    return picture("Differences of AP with their intervals", parts, height=height)


def cost_chart(title: str, groups: Sequence[Group], costs: Sequence[float | None]) -> str:
    """A dot for each group, numbered as in the table; bars are a standard deviation over seeds. "" of one cost."""
    points = [
        (number, cost, mean)
        for number, (group, cost) in enumerate(zip(groups, costs, strict=True), start=1)
        if cost is not None and (mean := group.score()) is not None
    ]
    if len({cost for _, cost, _ in points}) < 2:
        return ""
    scale = 1e9 if max(cost for _, cost, _ in points) >= 1e9 else 1e6
    unit = {1e9: "G", 1e6: "M"}[scale]
    bars = [mean.deviation or 0.0 for _, _, mean in points]
    ups = [mean.mean + sign * bar for (_, _, mean), bar in zip(points, bars, strict=True) for sign in (-1, 1)]
    acrosses = [cost / scale for _, cost, _ in points]
    room = 0.05 * (max(acrosses) - min(acrosses))
    plane = Plane((min(acrosses) - room, max(acrosses) + room), (min(ups), max(ups)))
    parts = plane.grid(f"{'operations' if 'operations' in title else 'bytes'}, {unit}")
    for (number, cost, mean), bar in zip(points, bars, strict=True):
        x, y = plane.x(cost / scale), plane.y(mean.mean)
        if bar:
            low, high = plane.y(mean.mean - bar), plane.y(mean.mean + bar)
            parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>')
        told = label(f"{groups[number - 1].name}: AP {spread(mean)}")
        parts.append(f'<circle class="dot c0" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{told}</title></circle>')
        parts.append(f'<text x="{min(x + 6, WIDTH - RIGHT):.1f}" y="{y - 5:.1f}">{number}</text>')
    return picture(title, parts)


def _curves(groups: Sequence[Group]) -> list[Line]:
    """The mean over seeds by epoch, of a few groups; [] where there are too many, or no epochs to see."""
    if len(groups) > COLOURS:
        return []
    lines = []
    for place, group in enumerate(groups):
        curves = [dict(run.curve) for run in group.runs]
        epochs = sorted(set.intersection(*(set(curve) for curve in curves)))
        if len(epochs) > 1:
            points = [(epoch, fmean(curve[epoch] for curve in curves)) for epoch in epochs]
            lines.append(Line(printable(group.name), points, place))
    return lines
