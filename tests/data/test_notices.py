"""What is told of images that a model does not see as other programs show them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qrecipe.data.images import read_header, read_rgb
from qrecipe.data.notices import LOOKED_AT, depth_lines, turned_line


def grey(path: Path, low: int, high: int) -> Path:
    values = np.linspace(low, high, 12).round().astype(np.uint16).reshape(3, 4)
    Image.fromarray(values).save(path)
    return path


def colour(path: Path, value: int) -> Path:
    """A PNG of 16 bits a channel, which Pillow cannot write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + struct.pack(">12H", *[0, value, value] * 4) for _ in range(3))
    head = struct.pack(">IIBBBBB", 4, 3, 16, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path


def told(*paths: Path, grey_range: tuple[int, int] | None = None) -> str:
    return "\n".join(depth_lines([(path, read_header(path)) for path in paths], grey_range))


def test_a_small_part_of_the_range(tmp_path: Path) -> None:
    twelve = grey(tmp_path / "a.png", 0, 4095)
    said = told(twelve)
    assert "values from 0 to 4095 in 1 images fill a small part of 0 to 65535" in said
    assert "model.input.grey_range: [0, 4095]" in said
    assert told(twelve, grey_range=(0, 4095)) == ""
    assert "[0, 255]" in told(grey(tmp_path / "b.png", 3, 200))
    assert "[0, 16383]" in told(grey(tmp_path / "c.png", 0, 16380))
    assert told(grey(tmp_path / "d.png", 24000, 35000)) == ""  # of low contrast, not dark
    assert "[0, 1023]" in told(grey(tmp_path / "e.png", 900, 900))
    assert told(grey(tmp_path / "f.png", 0, 65535)) == ""
    assert told(twelve, tmp_path / "f.png") == ""


def test_values_that_pass_the_range(tmp_path: Path) -> None:
    values = np.array([[-5, 0, 70_000]], dtype=np.int32)
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert "values from -5 to 70000 in 1 images pass 0 to 65535, and are cut off" in told(tmp_path / "a.tif")
    assert told(tmp_path / "a.tif", grey_range=(0, 70_000)) == ""
    assert "small part of 80000 to 90000" in told(tmp_path / "a.tif", grey_range=(80_000, 90_000))


def test_colour_of_sixteen_bits(tmp_path: Path) -> None:
    dark = colour(tmp_path / "a.png", 4095)
    assert read_header(dark).deep
    assert "colour images of 16 bits: values of at most 3855 in 1 images" in told(dark)
    assert told(colour(tmp_path / "b.png", 65535)) == ""


def test_eight_bits_are_not_looked_at(tmp_path: Path) -> None:
    Image.new("L", (4, 3), 5).save(tmp_path / "a.png")
    Image.new("RGB", (40, 30), 5).save(tmp_path / "b.jpg")
    Image.new("RGB", (40, 30), 5).save(tmp_path / "c.bmp")
    assert told(tmp_path / "a.png", tmp_path / "b.jpg", tmp_path / "c.bmp") == ""


def test_some_of_many_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [grey(tmp_path / f"{number}.png", 0, 100) for number in range(5)] * 20
    broken = tmp_path / "broken.png"
    broken.write_bytes(paths[0].read_bytes()[:60])
    assert f"in {LOOKED_AT} of 100 images" in told(*paths)
    assert "in 1 of 2 images" in told(broken, paths[1])
    assert told(broken) == ""


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 10))
def test_orientations(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (6, 4)).save(path, exif=exif)
    found = read_header(path).orientation
    assert found == (orientation if orientation <= 8 else 1)
    assert read_rgb(path).size == (6, 4)
    lines = turned_line([] if found == 1 else [("7", found)])
    assert lines == [] or lines[0].endswith(f"Images): 1 (7: orientation {orientation})")


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_a_tiff_is_turned_by_its_own_tag(tmp_path: Path, mode: str, compression: str) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)
    stored = {"L": pixels, "RGB": np.stack([pixels] * 3, -1), "I;16": pixels.astype(np.uint16) * 257}[mode]
    Image.fromarray(stored).save(tmp_path / "a.tif", tiffinfo={274: 6}, compression=compression)
    header = read_header(tmp_path / "a.tif")
    assert (header.height, header.width, header.orientation, header.mode) == (6, 4, 1, mode)
    np.testing.assert_array_equal(np.asarray(read_rgb(tmp_path / "a.tif"))[..., 0], np.rot90(pixels, -1))


def test_a_broken_orientation_is_none(tmp_path: Path) -> None:
    Image.new("RGB", (6, 4)).save(tmp_path / "a.jpg", exif=b"Exif\0\0nonsense")
    assert read_header(tmp_path / "a.jpg").orientation == 1
