from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from qrecipe.data.coco import clip, read_coco
from qrecipe.data.columns import ImageRecord
from qrecipe.data.document import Category
from qrecipe.errors import DataError
from qrecipe.recipe.definition import SplitSpec

WriteCoco = Callable[..., SplitSpec]


def box(image: int, xywh: list[float], category: int = 7, **more: object) -> dict[str, object]:
    return {"image_id": image, "category_id": category, "bbox": xywh, **more}


def test_reads_sparse_ids_and_keeps_images_without_boxes(write_coco: WriteCoco) -> None:
    split = write_coco({30: (40, 20), 4: (10, 50)}, [box(30, [1, 2, 3, 4]), box(30, [5, 5, 10, 10], category=90)])
    index = read_coco(split)
    assert index.categories == (Category(2, "dog"), Category(7, "cat"), Category(90, "owl"))
    assert [image.id for image in index.images] == [30, 4]
    assert index.images[0] == ImageRecord(30, split.images / "30.png", 40, 20, "30.png")
    assert [b.xyxy for b in index.boxes[0]] == [(1, 2, 4, 6), (5, 5, 15, 15)]
    assert [b.category_id for b in index.boxes[0]] == [7, 90]
    assert index.boxes[1] == ()
    assert index.report.empty == (4,)
    assert len(index) == 2


def test_index_is_immutable(write_coco: WriteCoco) -> None:
    index = read_coco(write_coco({1: (8, 8)}))
    with pytest.raises(dataclasses.FrozenInstanceError):
        index.images = ()  # type: ignore[misc]


def test_clips_drops_and_reports(write_coco: WriteCoco) -> None:
    split = write_coco(
        {1: (40, 20)},
        [
            box(1, [-5, -5, 10, 10]),  # partly outside
            box(1, [50, 5, 10, 10]),  # wholly outside
            box(1, [5, 5, 0, 10]),  # no width
            box(1, [5, 5, 10, -3]),  # negative height
            box(1, [5, 5, 10, 10], iscrowd=1),
            box(1, [30, 10, 10.0000001, 10]),  # outside by rounding
        ],
    )
    index = read_coco(split)
    assert [b.annotation_id for b in index.boxes[0]] == [1, 6]
    assert index.boxes[0][0].xyxy == (0.0, 0.0, 5.0, 5.0)
    assert index.boxes[0][1].xyxy == (30.0, 10.0, 40.0, 20.0)
    assert index.report.clipped == (1,)
    assert index.report.dropped == (2, 3, 4)
    assert index.report.crowd == (5,)
    lines = index.report.lines()
    assert len(lines) == 3
    assert "3 (2, 3, 4)" in lines[1]


@given(st.lists(st.floats(-100, 200), min_size=4, max_size=4), st.integers(1, 80), st.integers(1, 80))
def test_clipped_boxes_are_inside(corners: list[float], width: int, height: int) -> None:
    x0, y0, x1, y1 = clip(np.array([corners]), np.array([[width, height]]))[0]
    assert all(0 <= x <= width for x in (x0, x1))
    assert all(0 <= y <= height for y in (y0, y1))


def test_all_problems_at_once(write_coco: WriteCoco) -> None:
    split = write_coco(
        {1: (8, 8), 2: (8, 8), 3: (8, 8)},
        [
            box(99, [0, 0, 1, 1]),
            box(1, [0, 0, 1, 1], category=5),
            box(1, [0, 0, float("nan"), 1]),
            box(1, [0, 0, 1]),
            box(1, [0, 0, 1, 1], id=2),
            box(1, [0, 0, float("inf"), 1], id=40),
        ],
        missing=(2,),
    )
    Image.new("RGB", (9, 8)).save(split.images / "3.png")
    with pytest.raises(DataError) as caught:
        read_coco(split)
    text = str(caught.value)
    assert f"missing images: 1 (2: {split.images / '2.png'})" in text
    assert "3: 9x8, json 8x8" in text
    assert "unknown image: 1 (1: image_id 99)" in text
    assert "unknown category: 1 (2: category_id 5)" in text
    assert "at most 100000: 3 (3: [0, 0, NaN, 1], 4: [0, 0, 1], 40: [0, 0, Infinity, 1])" in text
    assert "annotation ids used twice: 1 (2)" in text
    assert str(split.annotations) in text


def test_names_ten_and_counts_the_rest(write_coco: WriteCoco) -> None:
    split = write_coco({1: (8, 8)}, [box(50 + n, [0, 0, 1, 1]) for n in range(13)])
    with pytest.raises(
        DataError, match=r"unknown image: 13 \(1: image_id 50, .*, 10: image_id 59, \.\.\. and 3 more\)"
    ):
        read_coco(split)


def test_duplicate_image_and_category_ids(write_coco: WriteCoco) -> None:
    split = write_coco({1: (8, 8)}, categories=[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}, {"id": "x"}])
    document = json.loads(split.annotations.read_text())
    document["images"] *= 2
    document["images"].append({"id": 5, "file_name": "5.png"})
    split.annotations.write_text(json.dumps(document))
    with pytest.raises(DataError) as caught:
        read_coco(split)
    text = str(caught.value)
    assert "image ids used twice: 1 (1)" in text
    assert "category ids used twice: 1 (1)" in text
    assert 'categories whose id is not a whole number of 64 bits: 1 (categories[2]: "x")' in text
    assert "categories whose name is not text of whole characters: 1 (categories[2]: absent)" in text
    assert "images whose width is not a whole number above 0: 1 (5: absent)" in text
    assert "images whose height is not a whole number above 0: 1 (5: absent)" in text


def test_turned_image_is_named_as_such(write_coco: WriteCoco) -> None:
    split = write_coco({1: (8, 4)})
    Image.new("RGB", (4, 8)).save(split.images / "1.png")
    with pytest.raises(DataError, match=r"the json has turned .*: 1 \(1: 4x8, json 8x4\)"):
        read_coco(split)


def test_a_file_that_is_no_image(write_coco: WriteCoco) -> None:
    split = write_coco({1: (8, 4)})
    (split.images / "1.png").write_text("hello")
    with pytest.raises(DataError, match="files that are no image: 1"):
        read_coco(split)


def test_empty_lists(write_coco: WriteCoco) -> None:
    with pytest.raises(DataError, match=r"(?s)no images.*no categories"):
        read_coco(write_coco({}, categories=[]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "missing"),
        (b"{", "not json"),
        (b"\xff\xfe\x00", "not json"),
        (b"[1]", r"it is \[1\], not an object"),
        (b'{"images": [], "categories": []}', "annotations is absent, not a list of objects"),
        (b'{"images": [{}, 1], "annotations": [], "categories": []}', r"images\[1\] is 1, not an object"),
    ],
)
def test_files_that_are_not_coco(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_coco(SplitSpec(tmp_path, path))
    assert caught.value.where == str(path)
