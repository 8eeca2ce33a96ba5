"""What a user is told once of images that a model does not see as other programs show them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .images import DEEP_GREY, GREY_RANGE, Header, read_values
from .problems import listing

LOOKED_AT = 32
"""Images whose values are looked at, spread evenly over all that have more than 8 bits."""

SMALL_PART = 0.25
"""Of the range of values: 14 bits in a 16-bit file."""


def turned_line(images: Sequence[tuple[str, int]]) -> list[str]:
    """Images, by a name for the user, with an EXIF orientation other than 1."""
    if not images:
        return []
    items = [f"{name}: orientation {orientation}" for name, orientation in images]
    return [f"images with an EXIF orientation, which is not applied (docs/recipe.md, Images): {listing(items)}"]


def depth_lines(images: Sequence[tuple[Path, Header]], grey_range: tuple[int, int] | None) -> list[str]:
    """Images of more than 8 bits whose values fill a small part of what becomes black to white, or pass it.

    grey_range: the recipe's; where it gives one, values that pass it are meant to be cut off.
    """
    lines = []
    deep = [(path, header) for path, header in images if header.deep]
    grey = _extremes([path for path, header in deep if header.mode in DEEP_GREY])
    low, high = grey_range or GREY_RANGE
    if grey is not None:
        least, most, seen = grey
        values = f"grey images of more than 8 bits: values from {least} to {most} in {seen}"
        if most - low < SMALL_PART * (high - low):
            fitting = [0, (1 << max(most, 1).bit_length()) - 1]
            lines.append(
                f"{values} fill a small part of {low} to {high}, which becomes black to white: the model sees little "
                f"of them (model.input.grey_range: {fitting} takes that range)"
            )
        elif grey_range is None and (least < low or most > high):
            lines.append(
                f"{values} pass {low} to {high}, and are cut off there (model.input.grey_range sets the range)"
            )
    colour = _extremes([path for path, header in deep if header.mode not in DEEP_GREY])
    if colour is not None and colour[1] < SMALL_PART * GREY_RANGE[1]:
        lines.append(
            f"colour images of 16 bits: values of at most {colour[1]} in {colour[2]} fill a small part of 0 to "
            f"{GREY_RANGE[1]}, and only their upper 8 bits are used (convert them to 8 bits a channel)"
        )
    return lines


def _extremes(paths: Sequence[Path]) -> tuple[int, int, str] | None:
    """Least and largest value of some images that can be decoded, and how many of how many these were."""
    count = min(LOOKED_AT, len(paths))
    chosen = [paths[place * len(paths) // count] for place in range(count)]
    found = [values for path in chosen if (values := read_values(path)) is not None]
    if not found:
        return None
    seen = f"{len(paths)} images" if len(found) == len(paths) else f"{len(found)} of {len(paths)} images"
    return min(least for least, _ in found), max(most for _, most in found), seen
