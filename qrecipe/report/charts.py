"""Charts as SVG: bars of sensitivities, and the front of a search. Readable on a light and on a dark page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from ..experiment.search_bits import Found, Point
from ..plain_text import printable
from ..sensitivity_analysis import Measured, Sensitivity

COLOURS = ("#2563eb", "#f97316", "#059669", "#a855f7", "#dc2626", "#0891b2", "#ca8a04")
"""By series; each can be told from the others, and from both grounds."""
STYLE = """<style>
 text { font-family: system-ui, "DejaVu Sans", sans-serif; font-size: 12px; fill: #1f2937; }
 .title { font-size: 14px; font-weight: 600; } .quiet { fill: #6b7280; } .grid { stroke: #d1d5db; }
 .ground { fill: #ffffff; }
 @media (prefers-color-scheme: dark) {
  text { fill: #e5e7eb; } .quiet { fill: #9ca3af; } .grid { stroke: #374151; } .ground { fill: #111827; }
 }
</style>"""
WIDTH, LETTER = 760, 6.6
ROWS = 40
"""Bars of a chart at most: those of the largest values."""


def sensitivity_chart(found: Sensitivity) -> str:
    """A bar for every part and width: what it costs alone, on a scale of powers of ten, the costliest part first."""
    widths = sorted({row.bits for row in found.rows}, reverse=True)
    order = [row.part for row in found.at(widths[-1])][:ROWS]
    by_key = {(row.part, row.bits): row for row in found.rows}
    left = min(300.0, 24 + LETTER * max(len(printable(name)) for name in order))
    scale = _Log([row.alone.distance for row in found.rows], left, WIDTH - 70)
    bar, gap, top = 11, 8, 78
    height = top + len(order) * (len(widths) * bar + gap) + 16
    parts = [_text(16, 24, "What each part costs when it alone is quantized", "title")]
    parts.append(_text(16, 42, f"distance to the real-valued predictions on {found.images} images", "quiet"))
    for index, bits in enumerate(widths):
        x = WIDTH - 70 - 90 * (len(widths) - index)
        parts.append(f'<rect x="{x}" y="33" width="11" height="11" fill="{COLOURS[index % len(COLOURS)]}"/>')
        parts.append(_text(x + 17, 43, f"{bits} bits"))
    parts += _grid_x(scale, top - 6, height - 12)
    y = float(top)
    for name in order:
        shown = printable(name)
        cut = int((left - 24) / LETTER)
        label = shown if len(shown) <= cut else f"…{shown[1 - cut :]}"
        parts.append(_text(left - 8, y + len(widths) * bar / 2 + 4, label, anchor="end"))
        for index, bits in enumerate(widths):
            row: Measured = by_key[name, bits]
            value, end = row.alone.distance, scale(row.alone.distance)
            colour = COLOURS[index % len(COLOURS)]
            parts.append(
                f'<rect x="{left:.1f}" y="{y:.1f}" width="{max(end - left, 0.5):.1f}" height="{bar - 2}" '
                f'fill="{colour}"><title>{escape(f"{shown}, {bits} bits: {value:.3g}")}</title></rect>'
            )
            parts.append(_text(end + 5, y + bar - 2.5, f"{value:.2g}", "quiet"))
            y += bar
        y += gap
    return _page(WIDTH, height, parts)


def front_chart(found: Found) -> str:
    """Distance against cost: what the search finds at several budgets, beside uniform widths."""
    points = [*found.front, *found.uniform, found.chosen]
    left, right, top, bottom = 70.0, WIDTH - 30.0, 78.0, 400.0
    across = _Log([point.share for point in points], left, right)
    up = _Log([point.distance for point in points], bottom, top)
    parts = [_text(16, 24, f"Bits under a budget of {found.budget.kind.replace('_', ' ')}", "title")]
    parts.append(_text(16, 42, f"distance to the real-valued predictions on {found.images} images", "quiet"))
    parts += _grid_x(across, top, bottom, as_share=True)
    parts += _grid_y(up, left, right)
    parts.append(_text((left + right) / 2, bottom + 42, "share of the real-valued model", "quiet", "middle"))
    limit = across(found.budget.limit)
    if left <= limit <= right:
        parts.append(
            f'<line class="grid" x1="{limit:.1f}" x2="{limit:.1f}" y1="{top}" y2="{bottom}" stroke-width="2"/>'
        )
        parts.append(_text(limit + 4, top + 12, str(found.budget), "quiet"))
    line = " ".join(f"{across(p.share):.1f},{up(p.distance):.1f}" for p in sorted(found.front, key=lambda p: p.share))
    parts.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS[0]}" stroke-width="2"/>')
    parts += [_dot(point, across, up, COLOURS[0], 4) for point in found.front]
    parts.append(_dot(found.chosen, across, up, COLOURS[0], 7))
    for point in found.uniform:
        parts.append(_dot(point, across, up, COLOURS[1], 6))
        parts.append(_text(across(point.share) + 9, up(point.distance) - 7, point.name))
    for index, name in enumerate(("searched", "uniform widths")):
        x = right - 190 + 85 * index
        parts.append(f'<circle cx="{x}" cy="38" r="5" fill="{COLOURS[index]}"/>')
        parts.append(_text(x + 10, 42, name))
    return _page(WIDTH, bottom + 60, parts)


class _Log:
    """Values on a scale of powers of ten, from ``start`` to ``end`` pixels; zero is at the start."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        positive = [value for value in values if value > 0] or [1.0]
        # Beyond five powers of ten nobody compares.
        low, high = math.log10(max(min(positive), max(positive) * 1e-5)), math.log10(max(positive))
        margin = max((high - low) * 0.06, 0.05)
        self.low, self.high, self.start, self.end = low - margin, high + margin, start, end

    def __call__(self, value: float) -> float:
        if value <= 0:
            return self.start
        place = (math.log10(value) - self.low) / (self.high - self.low)
        return self.start + min(max(place, 0.0), 1.0) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Powers of ten; 1, 2 and 5 times them where there are few."""
        powers = range(math.floor(self.low), math.ceil(self.high) + 1)
        for steps in ((1,), (1, 3), (1, 2, 5), tuple(range(1, 10))):
            found = [step * 10.0**power for power in powers for step in steps]
            within = [value for value in found if self.low <= math.log10(value) <= self.high]
            if len(within) >= 4:
                return within
        return within


def _grid_x(scale: _Log, top: float, bottom: float, as_share: bool = False) -> list[str]:
    parts = []
    for value in scale.ticks():
        x = scale(value)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/>')
        where = (bottom + 18) if as_share else (top - 4)
        parts.append(_text(x, where, f"{value:.3g}", "quiet", "middle"))
    return parts


def _grid_y(scale: _Log, left: float, right: float) -> list[str]:
    parts = []
    for value in scale.ticks():
        y = scale(value)
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(left - 8, y + 4, f"{value:.3g}", "quiet", "end"))
    return parts


def _dot(point: Point, across: _Log, up: _Log, colour: str, radius: int) -> str:
    text = escape(f"{point.name}: share {point.share:.4f}, distance {point.distance:.4g}")
    x, y = across(point.share), up(point.distance)
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"><title>{text}</title></circle>'


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{escape(text)}</text>'


def _page(width: float, height: float, parts: Sequence[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img">\n{STYLE}\n'
        f'<rect class="ground" width="100%" height="100%"/>\n{body}\n</svg>\n'
    )
