"""Image files to RGB.

Pixels are taken as they are stored: COCO's boxes, widths and heights are for these, and an EXIF orientation is not
applied. TIFF's own orientation tag, which is part of the format, is. Transparency is dropped, not composed. Grey of
more than 8 bits is scaled to 8, a range of values to black and white; colour of 16 bits keeps its upper 8.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile

from ..errors import DataError, ImageError
from .json_file import unreadable

UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    NotImplementedError,  # of formats that Pillow knows in part, as DDS
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow raises for files that are truncated, broken, of unknown format, or absurdly large."""

MOST_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 0)
"""Of an image: Pillow refuses to decode one with more, and warns of half as many."""

GREY_RANGE = (0, 65535)
"""Values of grey images of more than 8 bits that become black and white, where the recipe gives none."""

NOT_RGB = {"F": "floating-point", "La": "grey multiplied by its transparency"}
"""Pillow's modes of pixels that have no defined RGB, in words."""

DEEP_GREY = ("I;16", "I;16L", "I;16B", "I;16N", "I")


@dataclass(frozen=True)
class Header:
    """What a file says of its image before any pixel is decoded; sizes in pixels.

    orientation: EXIF's, 1 (as stored) to 8. deep: whether its values have more than 8 bits.
    """

    height: int
    width: int
    mode: str
    orientation: int
    deep: bool


def read_header(path: Path) -> Header:
    """Read a file's header.

    Raises: DataError that says what is wrong with the file: "is missing", "is no image".
    """
    reason = unreadable(path)
    if reason is not None:
        raise DataError(reason, where=str(path))
    try:
        with _opened(path) as image:
            return Header(image.height, image.width, image.mode, _orientation(image), _is_deep(image))
    except Image.DecompressionBombError as error:
        raise DataError(f"has more than the {MOST_PIXELS:,} pixels that are decoded", where=str(path)) from error
    except UNREADABLE as error:
        refused = isinstance(error, OSError) and error.errno is not None
        raise DataError(f"cannot be read: {error}" if refused else "is no image", where=str(path)) from error


def read_rgb(path: Path, where: str | None = None, grey_range: tuple[int, int] | None = None) -> Image.Image:
    """Decode a file to RGB.

    Args:
        grey_range: values of grey of more than 8 bits that become black and white; GREY_RANGE by default.

    Raises: ImageError, located at ``where`` or else at the path, when the file is gone or cannot be decoded.
    """
    try:
        with _opened(path) as image:
            image.load()
            return _to_rgb(image, grey_range or GREY_RANGE)
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the system, not of Pillow
            what, remedy = f"the image cannot be read: {error.strerror}", "put the file back"
        else:
            what, remedy = (
                f"the image cannot be decoded: {error}",
                "replace the file, or take the image out of the json",
            )
        raise ImageError(what, where=where or str(path), remedy=remedy) from error


def read_values(path: Path) -> tuple[int, int] | None:
    """Least and largest value of grey of more than 8 bits, or of the upper 8 bits of any other image times 257; None
    for a file that cannot be decoded."""
    try:
        with _opened(path) as image:
            is_grey = image.mode in DEEP_GREY
            values: NDArray[np.generic] = np.asarray(image if is_grey else image.convert("RGB"))
            scale = 1 if is_grey else 257
            return int(values.min()) * scale, int(values.max()) * scale
    except UNREADABLE:
        return None


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image by its stream: by its name Pillow 13 maps some TIFF files into memory, and garbles those it turns."""
    with path.open("rb") as stream, Image.open(stream) as image:
        yield image


def _is_deep(image: Image.Image) -> bool:
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else []
    raw = [tile.args if isinstance(tile.args, str) else str((tile.args or ("",))[0]) for tile in tiles]
    return image.mode in DEEP_GREY or any(";16" in mode and not mode.startswith("BGR") for mode in raw)


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":  # Pillow has turned it
        return 1
    try:
        # A PNG's own getexif decodes the pixels to look behind them too.
        found = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except UNREADABLE:
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _to_rgb(image: Image.Image, grey_range: tuple[int, int]) -> Image.Image:
    if image.mode == "RGB":
        return image.copy()
    if image.mode in DEEP_GREY:
        low, high = grey_range
        grey = np.clip(np.asarray(image).astype(np.int64), low, high) - low
        # Rounded: Pillow's own conversion clips at 255.
        scaled = (2 * 255 * grey + (high - low)) // (2 * (high - low))
        return Image.fromarray(scaled.astype(np.uint8)).convert("RGB")
    if image.mode in NOT_RGB:
        raise ValueError(f"{NOT_RGB[image.mode]} pixels have no defined RGB")
    if image.mode == "P" and "transparency" in image.info:
        # Straight to RGB Pillow warns about transparency given as bytes.
        image = image.convert("RGBA")
    return image.convert("RGB")
