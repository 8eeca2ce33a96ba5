"""Image files to RGB.

EXIF orientation is not applied: COCO's boxes, widths and heights are for the pixels as they are stored.
Transparency is dropped, not composed. 16-bit grey is scaled to 8 bits.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import DataError

UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
"""What Pillow raises for files that are truncated, broken, of unknown format, or absurdly large."""

DEEP_GREY = ("I;16", "I;16L", "I;16B", "I;16N", "I")


def read_size(path: Path) -> tuple[int, int]:
    """(height, width) in pixels from the file's header; the pixels are not decoded. Raises: one of UNREADABLE."""
    with Image.open(path) as image:
        return image.height, image.width


def read_rgb(path: Path, where: str | None = None) -> Image.Image:
    """Decode a file to RGB.

    Raises: DataError, located at ``where`` or else at the path, when the file cannot be decoded.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return _to_rgb(image)
    except UNREADABLE as error:
        raise DataError(
            f"the image cannot be decoded: {error}",
            where=where or str(path),
            remedy="replace the file, or take the image out of the json",
        ) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image.copy()
    if image.mode in DEEP_GREY:
        # Pillow's own conversion clips at 255. 65535 / 257 is 255.
        grey = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined range")
    if image.mode == "P" and "transparency" in image.info:
        # Straight to RGB Pillow warns about transparency given as bytes.
        image = image.convert("RGBA")
    return image.convert("RGB")
