from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from qrecipe.data.transforms import (
    Sample,
    augment,
    crop,
    fit,
    flip,
    normalised,
    resize,
    shortest_longest,
    to_tensor,
)
from qrecipe.recipe.definition import InputSpec, TransformSpec

DETR = TransformSpec(flip=0.5, multiscale=tuple(range(480, 801, 32)), crop=True)
DETR_INPUT = InputSpec(shortest=800, longest=1333)


def rectangle(width: int, height: int, box: tuple[int, int, int, int]) -> Sample:
    """A white rectangle on black, and its box."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    x0, y0, x1, y1 = box
    pixels[y0:y1, x0:x1] = 255
    return Sample(Image.fromarray(pixels), np.array([box], dtype=np.float64), np.array([3]))


def found(image: Image.Image) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Corners of what is brighter than half: the slow way back from pixels to a box."""
    bright = np.asarray(image)[..., 0] > 127
    ys, xs = np.nonzero(bright)
    return np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], dtype=np.float64)


def test_flip_moves_box_and_pixels_together() -> None:
    sample = flip(rectangle(40, 20, (3, 4, 15, 9)))
    np.testing.assert_array_equal(found(sample.image), sample.boxes[0])
    np.testing.assert_array_equal(sample.boxes[0], [25, 4, 37, 9])
    np.testing.assert_array_equal(flip(sample).boxes[0], [3, 4, 15, 9])


def test_crop_moves_box_and_pixels_together() -> None:
    sample = crop(rectangle(40, 20, (3, 4, 15, 9)), (5, 2, 30, 18))
    np.testing.assert_array_equal(found(sample.image), sample.boxes[0])
    np.testing.assert_array_equal(sample.boxes[0], [0, 2, 10, 7])


def test_crop_drops_boxes_without_area() -> None:
    sample = crop(rectangle(40, 20, (3, 4, 15, 9)), (15, 0, 40, 20))
    assert sample.boxes.shape == (0, 4)
    assert sample.classes.shape == (0,)


def test_resize_moves_box_and_pixels_together() -> None:
    sample = resize(rectangle(40, 20, (4, 4, 20, 12)), 60, 80)
    np.testing.assert_array_equal(sample.boxes[0], [8, 12, 40, 36])
    np.testing.assert_allclose(found(sample.image), sample.boxes[0], atol=1)
    assert sample.image.size == (80, 60)


@settings(max_examples=40)
@given(
    st.integers(60, 300),
    st.integers(60, 300),
    st.tuples(*[st.floats(0, 1)] * 4),
    st.integers(0, 10_000),
    st.sampled_from(["detr", "fixed"]),
)
def test_augmented_box_is_where_its_pixels_are(
    width: int, height: int, corners: tuple[float, float, float, float], seed: int, kind: str
) -> None:
    x0, x1 = sorted((int(corners[0] * width), int(corners[1] * width)))
    y0, y1 = sorted((int(corners[2] * height), int(corners[3] * height)))
    assume(x1 - x0 >= 8 and y1 - y0 >= 8)
    sample = rectangle(width, height, (x0, y0, x1, y1))
    rng = np.random.default_rng(seed)
    if kind == "detr":
        spec, inputs = TransformSpec(flip=0.5, multiscale=(200, 240), crop=True), InputSpec(shortest=240, longest=400)
    else:
        spec, inputs = TransformSpec(flip=0.5, crop=True), InputSpec(size=(160, 192))
    out = augment(sample, spec, inputs, rng)
    assert len(out.boxes) <= 1
    if len(out.boxes) == 0 or np.min(out.boxes[0, 2:] - out.boxes[0, :2]) < 6:
        return
    # One source pixel may be up to a few target pixels wide; its edge is where the blend passes one half.
    ratio = max(out.image.width / (0.5 * width), out.image.height / (0.5 * height), 1.0)
    np.testing.assert_allclose(found(out.image), out.boxes[0], atol=1.0 + ratio)
    boxes = normalised(out)
    assert boxes.dtype == np.float32
    assert (boxes >= 0).all()
    assert (boxes <= 1).all()


def detr_rule(width: int, height: int, size: int, longest: int | None) -> tuple[int, int]:
    """The published rule, step by step."""
    if longest is not None:
        low, high = float(min(width, height)), float(max(width, height))
        if high / low * size > longest:
            size = round(longest * low / high)
    if (width <= height and width == size) or (height <= width and height == size):
        return height, width
    if width < height:
        return int(size * height / width), size
    return size, int(size * width / height)


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(16, 1000), st.none() | st.integers(16, 2000))
def test_shortest_longest_is_detr_s(width: int, height: int, size: int, longest: int | None) -> None:
    out = shortest_longest(height, width, size, longest)
    expected = detr_rule(width, height, size, longest)
    if 0 not in expected:
        assert out == expected
    assert min(out) >= 1


@pytest.mark.parametrize(
    ("size", "expected"),
    [((480, 640), (800, 1066)), ((640, 480), (1066, 800)), ((500, 500), (800, 800)), ((426, 640), (800, 1201))],
)
def test_known_sizes(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert shortest_longest(*size, 800, 1333) == expected


def test_the_longest_side_limits() -> None:
    assert shortest_longest(100, 1000, 800, 1333) == (133, 1330)


def test_one_pixel_wide_image_goes_through_everything() -> None:
    sample = Sample(Image.new("RGB", (1, 3000), (9, 9, 9)), np.array([[0.0, 10, 1, 500]]), np.array([0]))
    assert fit(sample, DETR_INPUT).image.size == (1, 1333)
    assert fit(sample, InputSpec(size=(64, 48))).image.size == (48, 64)
    for seed in range(12):
        out = augment(sample, DETR, InputSpec(shortest=64, longest=128), np.random.default_rng(seed))
        assert max(out.image.size) <= 900
        out = augment(sample, TransformSpec(crop=True), InputSpec(size=(32, 32)), np.random.default_rng(seed))
        assert out.image.size == (32, 32)


def test_huge_thin_image() -> None:
    sample = Sample(Image.new("RGB", (6000, 30)), np.zeros((0, 4)), np.zeros(0, dtype=np.int64))
    out = fit(sample, DETR_INPUT)
    assert out.image.size == (1400, 7)  # DETR's own rounding passes the limit here
    assert out.boxes.shape == (0, 4)


def test_detr_sizes_come_from_the_list() -> None:
    sample = rectangle(64, 48, (10, 10, 30, 30))
    spec = TransformSpec(multiscale=(32, 40, 48))
    sides = {
        min(augment(sample, spec, InputSpec(shortest=48, longest=100), np.random.default_rng(seed)).image.size)
        for seed in range(40)
    }
    assert sides == {32, 40, 48}


def test_random_size_crop_stays_in_detr_s_range() -> None:
    """Before the last resize a crop has sides of 384 to 600: its aspect cannot leave their ratio."""
    sample = rectangle(300, 100, (0, 0, 300, 100))
    aspects = []
    for seed in range(60):
        out = augment(
            sample, TransformSpec(flip=0, crop=True), InputSpec(shortest=50, longest=400), np.random.default_rng(seed)
        )
        aspects.append(out.image.width / out.image.height)
    cropped = [aspect for aspect in aspects if abs(aspect - 3) > 0.1]
    assert 15 <= len(cropped) <= 45
    assert all(384 / 600 - 0.03 <= aspect <= 600 / 384 + 0.03 for aspect in cropped)


def test_region_resampling_equals_resize_then_crop_inside() -> None:
    """The short way of DETR's crop against the long one, away from the region's border."""
    pixels = np.random.default_rng(1).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    left, top, w, h = 37, 21, 400, 390
    long = np.asarray(image.resize((533, 400 + 33), Image.Resampling.BILINEAR).crop((left, top, left + w, top + h)))
    x, y = 120 / 533, 90 / 433
    box = (left * x, top * y, (left + w) * x, (top + h) * y)
    short = np.asarray(image.resize((w, h), Image.Resampling.BILINEAR, box=box))
    difference = np.abs(long.astype(int) - short.astype(int))[8:-8, 8:-8]
    assert difference.max() <= 1


def test_fixed_crop_keeps_a_centre_and_sixty_percent() -> None:
    sample = rectangle(100, 80, (0, 0, 8, 8))
    cropped = 0
    for seed in range(60):
        out = augment(sample, TransformSpec(flip=0, crop=True), InputSpec(size=(80, 100)), np.random.default_rng(seed))
        assert len(out.boxes) == 1
        x0, y0, x1, y1 = out.boxes[0]
        # The centre stayed, so at least half of each side did, enlarged at most by 1 / 0.6.
        assert 4 <= x1 - x0 <= 8 / 0.6 + 0.5
        assert 4 <= y1 - y0 <= 8 / 0.6 + 0.5
        cropped += not np.allclose(out.boxes[0], [0, 0, 8, 8])
    assert 0 < cropped < 60


def test_the_same_generator_gives_the_same_sample() -> None:
    sample = rectangle(64, 48, (10, 10, 30, 30))
    inputs = InputSpec(shortest=64, longest=100)
    a, b = (augment(sample, DETR, inputs, np.random.default_rng((5, 2, 9))) for _ in range(2))
    np.testing.assert_array_equal(np.asarray(a.image), np.asarray(b.image))
    np.testing.assert_array_equal(a.boxes, b.boxes)


def test_to_tensor_normalises_by_channel() -> None:
    image = Image.new("RGB", (3, 2), (255, 51, 0))
    plain = to_tensor(image, InputSpec())
    assert plain.shape == (3, 2, 3)
    assert plain.dtype == torch.float32
    torch.testing.assert_close(plain[:, 0, 0], torch.tensor([1.0, 0.2, 0.0]))
    scaled = to_tensor(image, InputSpec(mean=(0.5, 0.2, 0.1), std=(0.5, 1.0, 0.2)))
    torch.testing.assert_close(scaled[:, 1, 2], torch.tensor([1.0, 0.0, -0.5]))


def test_a_drawn_side_stays_within_the_bound() -> None:
    inputs = InputSpec(within=(64, 64))
    drawn = TransformSpec(flip=0, multiscale=(48,))
    for height, width in ((20, 200), (100, 90), (200, 20)):
        sample = augment(rectangle(width, height, (1, 1, 9, 9)), drawn, inputs, np.random.default_rng(0))
        assert max(sample.image.size) <= 64
        assert min(sample.image.size) == min(48, min(fit(rectangle(width, height, (1, 1, 9, 9)), inputs).image.size))
