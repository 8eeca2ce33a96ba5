"""Boxes, class names and scores on an image."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

GOLDEN = 0.618033988749895
MOST_LABELS = 500
"""Labels in one image. More cover each other, and each is held against all before it."""
SMALLEST_TEXT = 11
"""Pixels: below it letters cannot be told apart."""


def draw_detections(image: Image.Image, results: Sequence[Mapping[str, Any]], names: Mapping[int, str]) -> Image.Image:
    """A copy of the image in RGB with a box and a label per result.

    Labels stand above their box, else below it, else inside, always within the image and where they cover no other
    label if there is such a place; beyond MOST_LABELS the lower scores have a box alone. Text and lines grow with the
    image. The highest score is drawn last.

    Args:
        results: COCO results, ``bbox`` = [x, y, width, height] in pixels; without ``score`` they are ground truth.
        names: category id to name; an id that lacks one is shown as a number.
    """
    picture = image.convert("RGB").copy()
    size = max(SMALLEST_TEXT, round(max(picture.size) / 40))
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size)
    line = max(1, round(size / 6))
    shown = [
        (result, box)
        for result in sorted(results, key=lambda result: result.get("score", 1.0))
        if (box := _visible(result["bbox"], picture.size)) is not None
    ]
    for result, box in shown:
        pen.rectangle(box, outline=class_colour(result["category_id"]), width=line)
    taken: list[Rectangle] = []
    for result, box in shown[: -MOST_LABELS - 1 : -1]:  # the highest score has the first choice of a place
        label = _fitting(_label(result, names), font, picture.width - 2 * line)
        place = _place(label, box, font, line, picture.size, taken)
        if place is not None:
            taken.append(place)
            write_label(pen, label, place, font, line, class_colour(result["category_id"]))
    return picture


def class_colour(category_id: int) -> Colour:
    """A strong colour per category id, far from that of the next ids."""
    hue = (category_id * GOLDEN) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 0.95 if category_id % 2 else 0.75)
    return round(red * 255), round(green * 255), round(blue * 255)


def _visible(bbox: Sequence[float], size: tuple[int, int]) -> Rectangle | None:
    """Corners in whole pixels within the image; None for a box outside it or that is not finite."""
    if not all(math.isfinite(value) for value in bbox):
        return None
    x, y, width, height = bbox
    if x >= size[0] or y >= size[1] or x + width < 0 or y + height < 0 or width < 0 or height < 0:
        return None
    left, top = max(0, round(x)), max(0, round(y))
    right, bottom = min(size[0] - 1, round(x + width)), min(size[1] - 1, round(y + height))
    return min(left, size[0] - 1), min(top, size[1] - 1), max(left, right), max(top, bottom)


def _label(result: Mapping[str, Any], names: Mapping[int, str]) -> str:
    name = " ".join(str(names.get(result["category_id"], result["category_id"])).split())
    return f"{name} {result['score']:.2f}" if "score" in result else name


def _fitting(label: str, font: Font, width: int) -> str:
    """The label, cut short where it is wider than ``width``; empty where nothing fits."""
    if font.getlength(label) <= width:
        return label
    for length in range(len(label) - 1, 0, -1):
        cut = label[:length].rstrip() + "…"
        if font.getlength(cut) <= width:
            return cut
    return ""


def _place(
    label: str, box: Rectangle, font: Font, line: int, size: tuple[int, int], taken: Sequence[Rectangle]
) -> Rectangle | None:
    """(left, top, right, bottom) of the label's ground; None where it cannot stand within the image."""
    left, top, right, bottom = font.getbbox(label)
    width, height = math.ceil(right - left) + 2 * line, math.ceil(bottom - top) + 2 * line
    if not label or width > size[0] or height > size[1]:
        return None
    x = max(0, min(box[0], size[0] - width))
    end = max(0, min(box[2] - width + 1, size[0] - width))
    tops = [box[1] - height, box[3] + 1, box[1], box[3] - height + 1]
    places = [
        (start, at, start + width, at + height)
        for at in tops
        for start in dict.fromkeys((x, end))
        if at >= 0 and at + height <= size[1]
    ]
    if not places:
        at = max(0, min(box[1], size[1] - height))
        places = [(x, at, x + width, at + height)]
    free = [place for place in places if not any(overlap(place, other) for other in taken)]
    return (free or places)[0]


def overlap(a: Rectangle, b: Rectangle) -> bool:
    """Whether two rectangles share a pixel."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def write_label(pen: ImageDraw.ImageDraw, label: str, place: Rectangle, font: Font, line: int, colour: Colour) -> None:
    """A label on its ground of the class's colour, within ``place``; ``line`` pixels are left around the text."""
    left, top, right, bottom = place
    pen.rectangle((left, top, right - 1, bottom - 1), fill=colour)
    ink = font.getbbox(label)
    brightness = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    fill = "black" if brightness > 140 else "white"
    pen.text((left + line - ink[0], top + line - ink[1]), label, fill=fill, font=font)
