"""Draws one image of the synthetic set: discs, squares and triangles on textured grounds.

Whole numbers wherever it matters, so that the pixels are the same on every machine with one Pillow and numpy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

CLASSES = ("disc", "square", "triangle")
SUPERSAMPLING = 4
SIDES = (0.12, 0.50)
MOST_FIGURES = 4
NO_FIGURE = 0.08
MOST_COVERED = 0.25
TRIES = 30
LEAST_CONTRAST = 36.0

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Figure:
    """One object: an index into CLASSES, and x, y, width, height in whole pixels, tight around what was drawn."""

    kind: int
    bbox: tuple[int, int, int, int]


def draw(size: int, rng: np.random.Generator) -> tuple[Image.Image, tuple[Figure, ...]]:
    """An RGB image of size x size pixels and its objects; sometimes there are none."""
    canvas = _ground(size, rng)
    _lines(canvas, rng, int(rng.integers(0, 4)))
    figures: list[Figure] = []
    count = 0 if rng.random() < NO_FIGURE else int(rng.integers(1, MOST_FIGURES, endpoint=True))
    for _ in range(count):
        placed = _place(size, figures, rng)
        if placed is not None:
            kind, mask, left, top = placed
            canvas.paste(_colour(canvas, mask, left, top, rng), (left, top), mask)
            figures.append(Figure(kind, (left, top, mask.width, mask.height)))
    return _noise(canvas, rng), tuple(figures)


def _ground(size: int, rng: np.random.Generator) -> Image.Image:
    """One of a gradient, stripes, or coarse noise between two colours."""
    first, second = rng.integers(30, 226, (2, 3))
    second = first + (second - first) // 2
    y, x = np.mgrid[0:size, 0:size]
    dx, dy = (int(step) for step in rng.integers(-4, 5, 2))
    kind = int(rng.integers(0, 3))
    if kind == 0:
        ramp = x * dx + y * dy
        share = (ramp - ramp.min()) * 256 // max(1, int(np.ptp(ramp)))
    elif kind == 1:
        period = int(rng.integers(6, 33)) * max(1, abs(dx) + abs(dy))
        phase = (x * dx + y * dy) % period
        share = np.abs(2 * phase - period) * 256 // period
    else:
        cells = int(rng.integers(4, 17))
        coarse = Image.fromarray(rng.integers(0, 256, (cells, cells), dtype=np.uint8))
        share = np.asarray(coarse.resize((size, size), Image.Resampling.BILINEAR)).astype(np.int64)
    mixed = first + (second - first) * share[..., None] // 256
    return Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8))


def _lines(canvas: Image.Image, rng: np.random.Generator, count: int) -> None:
    """Distractors: strokes without a label."""
    pen = ImageDraw.Draw(canvas)
    for _ in range(count):
        ends = [int(v) for v in rng.integers(0, canvas.width, 4)]
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        pen.line(ends, fill=colour, width=int(rng.integers(1, max(2, canvas.width // 40), endpoint=True)))


def _place(size: int, figures: list[Figure], rng: np.random.Generator) -> tuple[int, Image.Image, int, int] | None:
    """A class, its mask, and where it covers little of the others; None if no place was found."""
    kind = int(rng.integers(0, len(CLASSES)))
    low, high = SIDES
    # The power makes small objects more frequent than large ones.
    side = round(size * (low + (high - low) * float(rng.random()) ** 1.5))
    mask = _mask(kind, side, rng)
    for _ in range(TRIES):
        left = int(rng.integers(0, size - mask.width, endpoint=True))
        top = int(rng.integers(0, size - mask.height, endpoint=True))
        box = (left, top, mask.width, mask.height)
        if all(_covered(box, other.bbox) <= MOST_COVERED for other in figures):
            return kind, mask, left, top
    return None


def _mask(kind: int, side: int, rng: np.random.Generator) -> Image.Image:
    """Coverage 0..255 of one figure, cut tight, at most side x side pixels."""
    big = side * SUPERSAMPLING
    mask = Image.new("L", (big, big))
    pen = ImageDraw.Draw(mask)
    squeeze = 0.75 + 0.25 * float(rng.random())
    turn = (float(rng.random()) - 0.5) * math.pi / 3
    if kind == 0:
        pen.ellipse((0, 0, big - 1, int((big - 1) * squeeze)), fill=255)
    else:
        corners = 4 if kind == 1 else 3
        start = turn + (math.pi / 4 if kind == 1 else -math.pi / 2)
        angles = [start + 2 * math.pi * corner / corners for corner in range(corners)]
        points = [(math.cos(angle), math.sin(angle) * squeeze) for angle in angles]
        left, right = min(x for x, _ in points), max(x for x, _ in points)
        top, bottom = min(y for _, y in points), max(y for _, y in points)
        scale = (big - 1) / max(right - left, bottom - top)
        pen.polygon([(round((x - left) * scale), round((y - top) * scale)) for x, y in points], fill=255)
    mask = mask.resize((side, side), Image.Resampling.BOX)
    # A border pixel counts from half coverage on: the box is what one sees.
    solid = mask.point([0] * 128 + [255] * 128)
    return mask.crop(solid.getbbox())


def _covered(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """Overlap of two boxes as a share of the smaller."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(0, width) * max(0, height) / min(a[2] * a[3], b[2] * b[3])


def _colour(canvas: Image.Image, mask: Image.Image, left: int, top: int, rng: np.random.Generator) -> Image.Image:
    """A plain fill, shaded from top to bottom, that differs from the ground under it, at times only just."""
    under = np.asarray(canvas.crop((left, top, left + mask.width, top + mask.height))).reshape(-1, 3).mean(0)
    colour = rng.integers(0, 256, 3)
    for _ in range(TRIES):
        if float(np.abs(colour - under).max()) >= LEAST_CONTRAST:
            break
        colour = rng.integers(0, 256, 3)
    shade = int(rng.integers(-24, 25))
    rows = colour + shade * np.arange(mask.height)[:, None] // mask.height
    fill = np.repeat(np.clip(rows, 0, 255).astype(np.uint8)[:, None], mask.width, axis=1)
    return Image.fromarray(fill)


def _noise(canvas: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Sensor-like noise, its strength drawn per image: four uniform draws a pixel are near enough to a normal one."""
    strength = int(rng.integers(1, 17))
    shape = (4, canvas.height, canvas.width, 3)
    noise = rng.integers(-strength, strength, shape, dtype=np.int16, endpoint=True).sum(0) // 2
    return Image.fromarray(np.clip(np.asarray(canvas) + noise, 0, 255).astype(np.uint8))
