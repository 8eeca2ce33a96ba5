from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qrecipe.data.images import read_header, read_rgb
from qrecipe.errors import DataError


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_png_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    image.save(tmp_path / "a.png")
    read = read_rgb(tmp_path / "a.png")
    assert read.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(read), np.asarray(image.convert("RGB")))
    header = read_header(tmp_path / "a.png")
    assert (header.height, header.width, header.orientation, header.deep) == (5, 7, 1, False)


def test_cmyk(tmp_path: Path) -> None:
    Image.new("CMYK", (4, 4), (255, 0, 0, 0)).save(tmp_path / "a.tif")
    assert read_rgb(tmp_path / "a.tif").getpixel((0, 0)) == (0, 255, 255)


def test_alpha_is_dropped(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (10, 20, 30, 0)).save(tmp_path / "a.png")
    assert read_rgb(tmp_path / "a.png").getpixel((0, 0)) == (10, 20, 30)


def test_palette_with_transparency_as_bytes(tmp_path: Path) -> None:
    image = Image.new("RGB", (2, 1), (200, 0, 0)).convert("P")
    image.save(tmp_path / "a.png", transparency=bytes([0, 128, 255]))
    assert read_rgb(tmp_path / "a.png").getpixel((0, 0)) == image.convert("RGB").getpixel((0, 0))


def test_sixteen_bit_grey_is_scaled_not_cut(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 257, 32896, 65535]], dtype=np.uint16)).save(tmp_path / "a.png")
    read = np.asarray(read_rgb(tmp_path / "a.png"))
    assert read[0, :, 0].tolist() == [0, 1, 128, 255]


def test_exif_orientation_is_not_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (6, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    image.save(tmp_path / "a.jpg", exif=exif)
    assert read_rgb(tmp_path / "a.jpg").size == (6, 4)
    header = read_header(tmp_path / "a.jpg")
    assert (header.height, header.width, header.orientation) == (4, 6, 6)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_truncated_files_name_the_image(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:1500])
    assert read_header(path).height == 64
    with pytest.raises(DataError, match="cannot be decoded") as caught:
        read_rgb(path, where="image 12")
    assert caught.value.where == "image 12"


def test_broken_png_stream(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (64, 64)).save(path)
    content = bytearray(path.read_bytes())
    content[45:60] = b"x" * 15
    path.write_bytes(bytes(content))
    with pytest.raises(DataError):
        read_rgb(path)


def test_a_format_that_pillow_knows_in_part_is_no_image(tmp_path: Path) -> None:
    """By its content, whatever its name says: a texture of an unknown compression."""
    path = tmp_path / "a.jpg"
    header = struct.pack("<7I", 124, 0x1007, 4, 4, 16, 0, 0) + bytes(44) + struct.pack("<2I", 32, 4) + b"ZZZZ"
    path.write_bytes((b"DDS " + header).ljust(160, b"\0"))
    with pytest.raises(NotImplementedError):
        Image.open(path)
    with pytest.raises(DataError, match="is no image"):
        read_header(path)


def test_float_pixels_are_refused(tmp_path: Path) -> None:
    Image.new("F", (2, 2)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match="no defined RGB"):
        read_rgb(tmp_path / "a.tif")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        read_rgb(tmp_path / "none.png")


def test_more_pixels_than_are_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (4, 4)).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">2I", 20000, 20000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"has more than the 178,956,97\d pixels that are decoded"):
        read_header(path)
