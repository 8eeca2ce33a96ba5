"""Records that lie in arrays are the records."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrecipe.data.columns import Box, Boxes, ImageRecord, Images

KEYS = st.integers(-(1 << 63), (1 << 63) - 1)
NAMES = st.text(min_size=1, max_size=12)
ENTRIES = st.lists(st.tuples(KEYS, NAMES, st.integers(1, 1 << 40), st.integers(1, 1 << 40)), max_size=8)
CORNERS = st.tuples(*[st.floats(-1e5, 1e5)] * 4)
FOUND = st.lists(st.tuples(st.integers(0, 4), KEYS, KEYS, CORNERS), max_size=20)


@given(ENTRIES)
def test_images(entries: list[tuple[int, str, int, int]]) -> None:
    """Whatever their names: also those with half characters."""
    folder = Path("some/folder")
    images = pickle.loads(pickle.dumps(Images(folder, entries)))
    expected = [ImageRecord(key, folder / name, width, height, name) for key, name, width, height in entries]
    assert list(images) == expected
    assert images[1:4] == tuple(expected[1:4])
    assert [images[-1 - place] for place in range(len(entries))] == expected[::-1]


@given(FOUND)
def test_boxes(found: list[tuple[int, int, int, tuple[float, float, float, float]]]) -> None:
    images, keys, categories = (np.array([one[place] for one in found], dtype=np.int64) for place in range(3))
    boxes = Boxes(5, images, keys, categories, np.array([one[3] for one in found], dtype=np.float64).reshape(-1, 4))
    expected = [tuple(Box(key, kind, box) for image, key, kind, box in found if image == own) for own in range(5)]
    assert list(boxes) == expected
    assert boxes[3:] == tuple(expected[3:])
    assert (len(boxes), boxes.total) == (5, len(found))
    assert boxes.counts.tolist() == [len(own) for own in expected]


@pytest.mark.parametrize("place", [2, -3])
def test_places_that_are_none(place: int) -> None:
    images = Images(Path("a"), [(1, "1.png", 2, 3), (2, "2.png", 2, 3)])
    with pytest.raises(IndexError):
        images[place]
