from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageFont

from qrecipe.data.coco import read_coco
from qrecipe.recipe.definition import SplitSpec
from qrecipe.report import draw
from qrecipe.report.draw import class_colour, draw_detections
from qrecipe.report.pictures import save_detections
from qrecipe.report.sheet import Panel, contact_sheet

NAMES = {1: "cat", 2: "a very long name of a thing that no small picture can hold", 3: "two\nlines"}


def result(x: float, y: float, width: float, height: float, category: int = 1, score: float = 0.9) -> dict[str, Any]:
    return {"image_id": 1, "category_id": category, "bbox": [x, y, width, height], "score": score}


def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[int, int, int, int]]]:
    """The labels that are drawn, and the places that their ink takes."""
    seen: list[tuple[str, tuple[int, int, int, int]]] = []
    real = draw.write_label

    def write(pen: Any, label: str, place: Any, font: Any, line: int, colour: Any) -> None:
        seen.append((label, place))
        before = pen._image.copy()
        real(pen, label, place, font, line, colour)
        changed = ImageChops.difference(before, pen._image).getbbox()
        assert changed is None or (
            changed[0] >= place[0] and changed[1] >= place[1] and changed[2] <= place[2] and changed[3] <= place[3]
        )

    monkeypatch.setattr(draw, "write_label", write)
    return seen


@pytest.mark.parametrize("side", [100, 4000])
def test_text_is_readable_and_within(monkeypatch: pytest.MonkeyPatch, side: int) -> None:
    seen = written(monkeypatch)
    image = Image.new("RGB", (side, side * 3 // 4), "grey")
    corners = [(0.0, 0.0), (0.8, 0.0), (0.0, 0.8), (0.8, 0.8), (0.4, 0.4)]
    boxes = [result(x * side, y * side * 3 / 4, side / 5, side / 7) for x, y in corners]
    picture = draw_detections(image, boxes, NAMES)
    assert picture.size == image.size
    assert len(seen) == 5
    for label, (left, top, right, bottom) in seen:
        assert label == "cat 0.90"
        assert 0 <= left < right <= image.width
        assert 0 <= top < bottom <= image.height
        assert (bottom - top) >= max(9, side / 60)
        assert (bottom - top) <= side / 8
    places = [place for _, place in seen]
    assert not any(draw.overlap(a, b) for i, a in enumerate(places) for b in places[:i])


@settings(max_examples=60)
@given(
    size=st.tuples(st.integers(1, 260), st.integers(1, 260)),
    boxes=st.lists(
        st.tuples(
            st.floats(-400, 400), st.floats(-400, 400), st.floats(-5, 600), st.floats(-5, 600), st.integers(1, 4)
        ),
        max_size=5,
    ),
)
def test_any_boxes_on_any_image(size: tuple[int, int], boxes: list[tuple[float, float, float, float, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        seen = written(patch)
        image = Image.new("L", size)
        picture = draw_detections(image, [result(*box) for box in boxes], NAMES)
    assert (picture.mode, picture.size) == ("RGB", size)
    for _, (left, top, right, bottom) in seen:
        assert 0 <= left < right <= size[0]
        assert 0 <= top < bottom <= size[1]


def test_boxes_are_where_they_should_be() -> None:
    image = Image.new("RGB", (200, 200))
    picture = draw_detections(image, [result(50, 60, 100, 80)], NAMES)
    assert picture.getpixel((50, 100)) == picture.getpixel((150, 100)) == class_colour(1)
    assert picture.getpixel((100, 60)) == picture.getpixel((100, 140)) == class_colour(1)
    assert picture.getpixel((100, 100)) == (0, 0, 0)
    assert picture.getpixel((45, 100)) == (0, 0, 0)
    assert image.getextrema() == ((0, 0),) * 3  # the one that was given is untouched


def test_the_higher_score_is_on_top() -> None:
    image = Image.new("RGB", (200, 200))
    low, high = result(50, 50, 100, 100, 1, 0.2), result(50, 50, 100, 100, 2, 0.8)
    for boxes in ([low, high], [high, low]):
        assert draw_detections(image, boxes, NAMES).getpixel((50, 100)) == class_colour(2)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_cannot_be_drawn_is_left_out(bad: float) -> None:
    image = Image.new("RGB", (50, 50))
    for box in (result(bad, 0, 1, 1), result(0, 0, bad, 1), result(60, 0, 5, 5), result(-9, 0, 5, 5)):
        assert draw_detections(image, [box], NAMES).tobytes() == image.tobytes()


def test_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = written(monkeypatch)
    truth = {"category_id": 3, "bbox": [10, 100, 50, 50]}
    draw_detections(Image.new("RGB", (300, 300)), [truth, result(10, 200, 50, 50, 77, 0.123)], NAMES)
    assert sorted(label for label, _ in seen) == ["77 0.12", "two lines"]
    seen.clear()
    draw_detections(Image.new("RGB", (120, 100)), [result(10, 40, 50, 50, 2)], NAMES)
    assert seen[0][0].startswith("a very long")
    assert seen[0][0].endswith("…")
    assert ImageFont.load_default(11).getlength(seen[0][0]) <= 120


def test_colours_differ() -> None:
    colours = [class_colour(number) for number in range(1, 91)]
    assert len(set(colours)) == 90
    for a, b in pairwise(colours):
        assert sum(abs(x - y) for x, y in zip(a, b, strict=True)) > 100


def test_a_sheet_with_truth() -> None:
    wide, high = Image.new("RGB", (400, 100), "red"), Image.new("RGB", (10, 20), "blue")
    panels = [
        Panel(wide, [result(0, 0, 400, 100, 2)], [{"category_id": 1, "bbox": [0, 0, 200, 100]}], "one"),
        Panel(high, [], title="a title that is far too long for a cell of this width"),
        Panel(high, [result(2, 2, 5, 5)]),
    ]
    sheet = contact_sheet(panels, NAMES, columns=2, cell=80)
    assert sheet.width == 6 + 2 * (160 + 6)
    left, right = sheet.crop((6, 20, 86, 40)), sheet.crop((86, 20, 166, 40))
    assert (class_colour(1) in pixels(left), class_colour(2) in pixels(left)) == (True, False)
    assert (class_colour(1) in pixels(right), class_colour(2) in pixels(right)) == (False, True)
    assert contact_sheet([], NAMES).size == (332, 6)
    alone = contact_sheet([Panel(wide, [])], NAMES, cell=80)
    assert alone.size == (92, 6 + 20 + 14 + 6 + 6)


def pixels(image: Image.Image) -> set[Any]:
    counted = image.getcolors(image.width * image.height)
    assert counted is not None
    return {colour for _, colour in counted}


def test_a_splits_picture(tmp_path: Path) -> None:
    import json

    (tmp_path / "images").mkdir()
    for number in (1, 2):
        Image.new("RGB", (64, 48), "white").save(tmp_path / "images" / f"{number}.png")
    document = {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 64, "height": 48} for n in (1, 2)],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [4, 4, 20, 20], "area": 400, "iscrowd": 0}],
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    index = read_coco(SplitSpec(tmp_path / "images", tmp_path / "a.json"))
    path = save_detections(index, [result(4, 4, 20, 20), result(30, 5, 9, 9, 1, 0.1)], tmp_path / "out.png")
    with Image.open(path) as sheet:
        assert sheet.width == 6 + 2 * (640 + 6)
        assert class_colour(1) in pixels(sheet.convert("RGB"))


def test_so_many_boxes_that_no_label_could_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """All have a box, the highest scores a label; ids may be negative or of 64 bits."""
    written: list[str] = []
    monkeypatch.setattr(draw, "write_label", lambda pen, label, *rest: written.append(label))
    boxes = [
        {"bbox": [one % 90, one % 80, 9, 9], "category_id": (-5, 2**63 - 1)[one % 2], "score": one / 20_000}
        for one in range(20_000)
    ]
    picture = draw.draw_detections(Image.new("RGB", (100, 100)), boxes, {})
    assert len(written) == draw.MOST_LABELS
    assert np.asarray(picture).any(-1).mean() > 0.8
