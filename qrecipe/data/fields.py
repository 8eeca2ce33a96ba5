"""Single fields of a COCO json: what each may be, and how a message shows what it is."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from ..plain_text import LONGEST, short
from .json_file import Unheld

ABSENT = object()
"""Stands for a field that an entry does not have."""

LARGEST_SIDE = 1e5
"""Pixels. COCO's evaluation leaves out what has more than this squared, without a word."""

Numbers = tuple[float, float, float, float]


def whole(value: object) -> int | None:
    """A whole number of 64 bits; table libraries write 1.0 for 1."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63:
        return value
    return None


def positive(value: object) -> int | None:
    number = whole(value)
    return number if number is not None and number > 0 else None


def text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def name(value: object) -> str | None:
    """Text that any file and terminal takes: no half characters."""
    return value if isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value) else None


def crowd(value: object) -> bool | None:
    """0 and 1 as whole numbers, floats or truth values; null is as if it were absent, and that is 0."""
    if value is None or value is ABSENT:
        return False
    return bool(value) if isinstance(value, int | float) and value in (0, 1) else None


def bbox(value: object) -> Numbers | None:
    """x, y, width, height: four finite numbers, no side longer than LARGEST_SIDE."""
    if not isinstance(value, list) or len(value) != 4:
        return None
    x, y, width, height = (_finite(number) for number in value)
    if x is None or y is None or width is None or height is None:
        return None
    return (x, y, width, height) if max(abs(width), abs(height)) <= LARGEST_SIDE else None


def area(value: object) -> float | None:
    """A number that COCO's evaluation has a range for; NaN where it is null or absent."""
    if value is None or value is ABSENT:
        return math.nan
    number = _finite(value)
    return number if number is not None and 0 <= number <= LARGEST_SIDE**2 else None


_WHOLE = "is not a whole number of 64 bits"
_POSITIVE = "is not a whole number above 0"

Field = tuple[Callable[[object], Any], str]
FIELDS: dict[str, dict[str, Field]] = {
    "images": {
        "id": (whole, _WHOLE),
        "file_name": (text, "is not text"),
        "width": (positive, _POSITIVE),
        "height": (positive, _POSITIVE),
    },
    "annotations": {
        "id": (whole, _WHOLE),
        "image_id": (whole, _WHOLE),
        "category_id": (whole, _WHOLE),
        "bbox": (bbox, "is not four finite numbers, width and height at most 100000"),
        "area": (area, "is not a number from 0 to 10^10"),
        "iscrowd": (crowd, "is neither 0 nor 1"),
    },
    "categories": {"id": (whole, _WHOLE), "name": (name, "is not text of whole characters")},
}
"""Every field that anything reads, with what reads it and what is wrong where that gives None."""


def shown(value: object, depth: int = 1) -> str:
    """A value as the json has it, short and on one line."""
    if value is ABSENT:
        return "absent"
    if isinstance(value, Unheld):
        written = value.text[: LONGEST + 1]
    elif isinstance(value, str):
        written = json.dumps(value[: LONGEST + 1], ensure_ascii=False)
    elif isinstance(value, dict):
        written = "{...}" if value else "{}"
    elif isinstance(value, list):
        inner = ", ".join(shown(item, depth - 1) for item in value[:8]) if depth else "..."
        written = f"[{inner}, ...]" if depth and len(value) > 8 else f"[{inner}]" if value else "[]"
    else:
        written = json.dumps(value)
    return short(written)


def _finite(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        return None
    return number if math.isfinite(number) else None
