"""Charts for a page, as SVG that takes its colours from the page: lines over epochs, dots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from ...plain_text import printable

WIDTH, HEIGHT = 400, 230
"""Of the drawing, in its own units: narrow, so that its text can be read on a telephone."""
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 14, 34


@dataclass(frozen=True)
class Line:
    """One series. points: (x, y). colour: of the page's style, 0 to 5. dashed: a level to compare with."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int
    dashed: bool = False


def line_chart(title: str, across: str, lines: Sequence[Line], from_zero: bool = False) -> str:
    """Lines with a dot for each point; the names stand in a legend of the page. "" where there is nothing to draw.

    Args:
        title: what a screen reader says. across: what x is.
    """
    points = [point for line in lines for point in line.points if all(map(math.isfinite, point))]
    if not points:
        return ""
    ys = [y for _, y in points] + ([0.0] if from_zero else [])
    plane = Plane((min(x for x, _ in points), max(x for x, _ in points)), (min(ys), max(ys)))
    parts = plane.grid(across)
    for line in lines:
        own = [(plane.x(x), plane.y(y)) for x, y in line.points if math.isfinite(y)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in own)
        dashed = ' stroke-dasharray="5 4"' if line.dashed else ""
        parts.append(f'<polyline class="line c{line.colour}" points="{path}"{dashed}/>')
        if not line.dashed and len(own) <= 60:
            parts += [
                f'<circle class="dot c{line.colour}" cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="3">'
                f"<title>{label(f'{line.name}: {across} {x:g}: {y:.4g}')}</title></circle>"
                for at, (x, y) in zip(own, line.points, strict=False)
            ]
    return picture(title, parts)


@dataclass(frozen=True)
class Steps:
    """A histogram. shares: of all values in each of the bins, which are alike in width. colour: as a line's."""

    name: str
    shares: Sequence[float]
    colour: int


def steps_chart(title: str, across: str, low: float, high: float, found: Sequence[Steps]) -> str:
    """Histograms over the same bins, as lines of steps on a ground of their colour. low, high: of the bins."""
    plane = Plane((low, high), (0.0, max(max(one.shares) for one in found)))
    base = plane.y(0.0)
    parts = plane.grid(across)
    for one in found:
        width = (high - low) / len(one.shares)
        path = [f"M{plane.x(low):.1f},{base:.1f}"]
        for place, share in enumerate(one.shares):
            path.append(f"V{plane.y(share):.1f}H{plane.x(low + (place + 1) * width):.1f}")
        path.append(f"V{base:.1f}")
        outline = "".join(path)
        parts.append(
            f'<path class="under fill-{one.colour}" d="{outline}Z"/>'
            f'<path class="line c{one.colour}" d="{outline}"><title>{label(one.name)}</title></path>'
        )
    return picture(title, parts)


def picture(title: str, parts: Sequence[str], width: int = WIDTH, height: int = HEIGHT) -> str:
    """An SVG element with a name that screen readers say."""
    body = "\n".join(parts)
    return f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{label(title)}">\n{body}\n</svg>'


def label(text: str) -> str:
    """Text of the user's, safe inside a tag and between tags."""
    return escape(printable(text), quote=True)


class Plane:
    """Two straight scales in the drawing, with a little room around what is drawn."""

    def __init__(self, across: tuple[float, float], up: tuple[float, float]) -> None:
        self.across, self.up = _widened(across, 0.0), _widened(up, 0.06)

    def x(self, value: float) -> float:
        low, high = self.across
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self.up
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def grid(self, across: str) -> list[str]:
        """Lines at round numbers, the numbers, and what x is."""
        parts = []
        for value in ticks(*self.up):
            y = self.y(value)
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
        for value in ticks(*self.across):
            x = self.x(value)
            parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{value:g}</text>')
        parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">{label(across)}</text>')
        return parts


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from ``low`` to ``high``, ``most`` or fewer, 1, 2 or 5 times a power of ten apart."""
    span = high - low
    power = 10 ** math.floor(math.log10(span / most))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if span / (power * factor) <= most - 1)
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    return [round((first + number) * step, 12) for number in range(count)]


def _widened(bounds: tuple[float, float], share: float) -> tuple[float, float]:
    low, high = bounds
    if high - low <= abs(high) * 1e-9:
        room = max(abs(high) * 0.1, 0.5 if high == int(high) else 1e-6)
        return low - room, high + room
    return low - share * (high - low), high + share * (high - low)
