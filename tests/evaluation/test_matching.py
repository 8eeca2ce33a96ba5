"""The matches are pycocotools' own, and take no longer for 20,000 boxes in an image than their sorting."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from qrecipe.evaluation.matching import Matcher

BOXES = st.tuples(*[st.integers(0, 6)] * 2, *[st.integers(1, 40)] * 2)  # coarse: equal overlaps, and equal areas
TRUTH = st.lists(st.tuples(BOXES, st.booleans(), st.integers(1, 2)), max_size=14)
FOUND = st.lists(st.tuples(BOXES, st.integers(0, 3), st.integers(1, 2)), max_size=14)
Box = tuple[int, int, int, int]


def index(annotations: Sequence[dict[str, Any]]) -> Any:
    made = COCO()
    made.dataset = {"images": [{"id": 1}, {"id": 2}], "categories": [{"id": 7}], "annotations": list(annotations)}
    made.createIndex()
    return made


def entries(boxes: Sequence[tuple[Box, Any, int]], key: str) -> list[dict[str, Any]]:
    return [
        {
            "id": number,
            "image_id": image,
            "category_id": 7,
            "bbox": list(box),
            "area": box[2] * box[3],
            "iscrowd": 0,
            key: int(value),
        }
        for number, (box, value, image) in enumerate(boxes, start=1)
    ]


def run(kind: Callable[..., Any], truth: Sequence[Any], found: Sequence[Any]) -> Any:
    made = kind(index(entries(truth, "iscrowd")), index(entries(found, "score")), "bbox")
    # Thresholds that boxes of whole pixels meet exactly, and areas in the middle of what is drawn.
    made.params.iouThrs = np.array([0.25, 0.5, 0.75, 1.0])
    made.params.areaRng = [[0, 1e10], [0, 100], [100, 1e10]]
    made.params.areaRngLbl = ["all", "small", "large"]
    made.params.maxDets = [1, 3, 5]
    made.evaluate()
    made.accumulate()
    return made


@settings(max_examples=150, deadline=None)
@given(TRUTH, FOUND)
def test_precision_and_recall_are_pycocotools_own(truth: Sequence[Any], found: Sequence[Any]) -> None:
    ours, theirs = run(Matcher, truth, found), run(COCOeval, truth, found)
    for key in ("precision", "recall", "scores"):
        np.testing.assert_array_equal(ours.eval[key], theirs.eval[key])


def lines_of(work: Callable[[], object]) -> int:
    """Lines of Python in this package that run: what grows with the boxes would be among them."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        if "qrecipe" not in frame.f_code.co_filename:
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("spread", [0, 3], ids=["all alike", "apart"])
def test_ten_times_the_boxes_are_not_ten_times_the_work(spread: int) -> None:
    def matching(boxes: int) -> Callable[[], object]:
        truth = [((spread * number, 0, 8, 8), number % 3 == 0, 1) for number in range(boxes)]
        found = [((number, 0, 8, 8), number, 1) for number in range(50)]
        made = Matcher(index(entries(truth, "iscrowd")), index(entries(found, "score")), "bbox")
        made.evaluate()  # the overlaps
        return lambda: made.evaluateImg(1, 7, [0, 1e10], 100)

    few, many = lines_of(matching(2_000)), lines_of(matching(20_000))
    # A line for each box, to read its area and whether it is a crowd, is all that grows.
    assert many - few <= 4 * 18_000
    assert many < 50 * 20_000 / 10
