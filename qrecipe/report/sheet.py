"""Several pictures on one sheet, ground truth beside the detections where it is given."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from .draw import draw_detections

GAP = 6
TITLE = 14
GROUND = (255, 255, 255)


@dataclass(frozen=True)
class Panel:
    """One image. results: COCO results in its pixels. truth: the same without scores, or None to leave it out."""

    image: Image.Image
    results: Sequence[Mapping[str, Any]]
    truth: Sequence[Mapping[str, Any]] | None = None
    title: str = ""


def contact_sheet(
    panels: Sequence[Panel], names: Mapping[int, str], *, columns: int = 4, cell: int = 320
) -> Image.Image:
    """A white sheet, ``columns`` panels a row, each image's longer side ``cell`` pixels.

    Boxes are drawn after scaling, so that text has one size all over. Where any panel has truth, every panel is two
    pictures wide: ground truth left, detections right.
    """
    paired = any(panel.truth is not None for panel in panels)
    columns = max(1, min(columns, len(panels)))
    drawn = [_pictures(panel, names, cell, paired) for panel in panels]
    width = cell * (2 if paired else 1)
    rows = [drawn[start : start + columns] for start in range(0, len(drawn), columns)]
    heights = [max(picture.height for pictures in row for picture in pictures) + TITLE + GAP for row in rows]
    sheet = Image.new("RGB", (GAP + columns * (width + GAP), GAP + sum(heights) + GAP * len(rows)), GROUND)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(TITLE - 2)
    titles = iter(panel.title for panel in panels)
    top = GAP
    for row, height in zip(rows, heights, strict=True):
        for column, pictures in enumerate(row):
            left = GAP + column * (width + GAP)
            title = next(titles)
            while title and font.getlength(title) > width:
                title = title[:-1]
            pen.text((left, top), title, fill="black", font=font)
            for index, picture in enumerate(pictures):
                sheet.paste(picture, (left + index * cell, top + TITLE))
        top += height + GAP
    return sheet


def _pictures(panel: Panel, names: Mapping[int, str], cell: int, paired: bool) -> list[Image.Image]:
    scale = cell / max(panel.image.size)
    size = (max(1, math.floor(panel.image.width * scale)), max(1, math.floor(panel.image.height * scale)))
    small = panel.image.convert("RGB").resize(size)
    found = draw_detections(small, _scaled(panel.results, scale), names)
    return [draw_detections(small, _scaled(panel.truth or (), scale), names), found] if paired else [found]


def _scaled(results: Sequence[Mapping[str, Any]], scale: float) -> list[dict[str, Any]]:
    return [{**result, "bbox": [value * scale for value in result["bbox"]]} for result in results]
