"""What was seen of a few images, as a page shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ...plain_text import printable
from ...run.evidence import read_evidence
from ...run.summary import ROWS
from .panels import Panel, Picture, Shown, drawn, picture_of, shown_images
from .svg import Steps, label, steps_chart

WORST = 12
"""Quantizers that are listed without being asked for."""
COLOURS = {"teacher": 0, "student": 2, "student, aligned": 2}
UNALIGNED = 3
"""The colour of a student's queries before alignment."""


@dataclass(frozen=True)
class RoleNoise:
    """Quantizers of one role. strip: a stroke for each at its decibels, as SVG."""

    role: str
    strip: str
    words: str


@dataclass(frozen=True)
class Noise:
    """rows: (decibels, site, role, kind, bits), the worst first. low, high: ends of the strips, in decibels."""

    roles: tuple[RoleNoise, ...]
    rows: tuple[tuple[str, ...], ...]
    bits: tuple[int, ...]
    low: int
    high: int


@dataclass(frozen=True)
class Queries:
    """One decoder layer. chart: histograms as SVG. names: with colours. rows: (name, mean, deviation, overlap)."""

    title: str
    chart: str
    names: tuple[tuple[str, int], ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Attention:
    """One image: where the best query of each model looks."""

    picture: Picture
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Evidence:
    """student: what it is called. compared: of so many images those shown are the worst. looked_into: images that
    noise and queries are from. why_no_attention: a reason, "" where there is some."""

    student: str
    split: str
    compared: int
    looked_into: int
    score: float
    overlap: float
    images: tuple[Shown, ...]
    noise: Noise | None
    queries: tuple[Queries, ...]
    attention: tuple[Attention, ...]
    why_no_attention: str


def evidence_of(folder: Path, most: int) -> Evidence | None:
    """None where the run has none.

    Args:
        folder: the run. most: images that are shown.

    Raises:
        RunError: it is damaged.
    """
    found = read_evidence(folder)
    if found is None:
        return None
    return Evidence(
        student=ROWS[found["row"]],
        split=found["split"],
        compared=found["compared"],
        looked_into=found["looked_into"],
        score=found["score"],
        overlap=found["overlap"],
        images=shown_images(found, folder, most),
        noise=_noise(found["noise"]),
        queries=tuple(_queries(one) for one in reversed(found["queries"])),
        attention=tuple(_attention(one, folder) for one in found["attention"]["images"][:most]),
        why_no_attention=found["attention"]["reason"],
    )


def _noise(found: Sequence[Mapping[str, Any]]) -> Noise | None:
    known = [one for one in found if one["decibels"] is not None]
    if not known:
        return None
    low, high = int(known[0]["decibels"] // 1), int(-(-known[-1]["decibels"] // 1))
    high = max(high, low + 1)
    by_role: dict[str, list[Mapping[str, Any]]] = {}
    for one in known:
        by_role.setdefault(one["role"], []).append(one)
    medians = {role: median(one["decibels"] for one in own) for role, own in by_role.items()}
    roles = tuple(
        RoleNoise(role, _strip(role, by_role[role], low, high), _words(by_role[role], medians[role]))
        for role in sorted(by_role, key=medians.__getitem__)
    )
    rows = tuple(
        (
            "-" if one["decibels"] is None else f"{one['decibels']:.1f}",
            printable(one["site"]),
            one["role"],
            one["kind"],
            str(one["bits"]),
        )
        for one in found
    )
    return Noise(roles, rows, tuple(sorted({one["bits"] for one in known})), low, high)


def _words(own: Sequence[Mapping[str, Any]], middle: float) -> str:
    if len(own) == 1:
        return f"{middle:.1f} dB"
    return f"{len(own)}: worst {own[0]['decibels']:.1f}, median {middle:.1f} dB"


def _strip(role: str, own: Sequence[Mapping[str, Any]], low: int, high: int) -> str:
    parts = []
    for one in own:
        said = label(f"{one['site']}: {one['decibels']:.1f} dB, {one['bits']} bits")
        x = (one["decibels"] - low) / (high - low) * 994
        rect = f'<rect class="b{one["bits"]}" x="{x:.1f}" y="2" width="6" height="36">'
        parts.append(f"{rect}<title>{said}</title></rect>")
    title = label(f"{role}: signal to noise from {low} to {high} dB")
    return (
        '<svg class="strip noise" viewBox="0 0 1000 40" preserveAspectRatio="none" role="img" '
        f'aria-label="{title}">{"".join(parts)}</svg>'
    )


def _queries(found: Mapping[str, Any]) -> Queries:
    aligned = len(found["series"]) > 2
    series = []
    for one in found["series"]:
        before = aligned and one["name"] == "student"
        name = "student, before alignment" if before else one["name"]
        series.append((name, UNALIGNED if before else COLOURS[one["name"]], one))
    title = f"decoder layer {found['layer']}"
    steps = [Steps(name, one["shares"], colour) for name, colour, one in series]
    chart = steps_chart(f"Queries of {title}", "value of a query", found["low"], found["high"], steps)
    rows = tuple(
        (name, f"{one['mean']:.3g}", f"{one['deviation']:.3g}", "-" if at == 0 else f"{one['overlap']:.1%}")
        for at, (name, _, one) in enumerate(series)
    )
    return Queries(title, chart, tuple((name, colour) for name, colour, _ in series), rows)


def _attention(found: Mapping[str, Any], folder: Path) -> Attention:
    picture = picture_of(found, folder)
    panels = []
    for model in ("teacher", "student"):
        own = found[model]
        over = (
            f'<image href="data:image/png;base64,{own["map"]}" width="{picture.width}" height="{picture.height}" '
            'preserveAspectRatio="none"/>'
        )
        words = f"its best query, of a score of {own['score']:.2f}"
        svg = drawn(f"{model}: {words}", [("", own["box"], "truth", own["score"])], picture, over)
        panels.append(Panel(model, svg, words))
    return Attention(picture, tuple(panels))
