"""The matches are pycocotools' own, and take no longer for 20,000 boxes in an image than their sorting."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval, Params

from qrecipe.data.document import Category
from qrecipe.data.truth import Truth
from qrecipe.evaluation.matching import match, overlap
from qrecipe.evaluation.outcome import accumulated, outcome_of

BOXES = st.tuples(*[st.integers(0, 6)] * 2, *[st.integers(1, 40)] * 2)  # coarse: equal overlaps, and equal areas
TRUTH = st.lists(st.tuples(BOXES, st.booleans(), st.integers(1, 2)), max_size=14)
FOUND = st.lists(st.tuples(BOXES, st.integers(0, 3), st.integers(1, 2)), max_size=14)
Box = tuple[int, int, int, int]


def theirs(truth: Sequence[Any], found: Sequence[Any], params: Params) -> dict[str, Any]:
    """pycocotools itself."""
    made = []
    for boxes, key in ((truth, "iscrowd"), (found, "score")):
        index = COCO()
        annotations = [
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
        index.dataset = {"images": [{"id": 1}, {"id": 2}], "categories": [{"id": 7}], "annotations": annotations}
        index.createIndex()
        made.append(index)
    run = COCOeval(*made, "bbox")
    run.params = params
    run.evaluate()
    run.accumulate()
    return dict(run.eval)


def ours(truth: Sequence[Any], found: Sequence[Any], params: Params) -> dict[str, Any]:
    box = np.array([box for box, _, _ in truth], dtype=np.float64).reshape(-1, 4)
    columns = Truth(
        annotations=Path("made"),
        images=(1, 2),
        categories=(Category(7, "thing"),),
        image_id=np.array([image for _, _, image in truth], dtype=np.int64),
        category_id=np.full(len(truth), 7),
        bbox=box,
        area=box[:, 2] * box[:, 3],
        iscrowd=np.array([crowd for _, crowd, _ in truth], dtype=bool),
    )
    results = [{"image_id": image, "category_id": 7, "bbox": box, "score": score} for box, score, image in found]
    return accumulated(outcome_of(columns, results, params), params)


@settings(max_examples=150)
@given(TRUTH, FOUND)
def test_precision_and_recall_are_pycocotools_own(truth: Sequence[Any], found: Sequence[Any]) -> None:
    params = Params("bbox")
    params.imgIds, params.catIds = [1, 2], [7]
    # Thresholds that boxes of whole pixels meet exactly, and areas in the middle of what is drawn.
    params.iouThrs = np.array([0.25, 0.5, 0.75, 1.0])
    params.areaRng, params.areaRngLbl = [[0, 1e10], [0, 100], [100, 1e10]], ["all", "small", "large"]
    params.maxDets = [1, 3, 5]
    mine, expected = ours(truth, found, params), theirs(truth, found, params)
    for key in ("precision", "recall"):
        np.testing.assert_array_equal(mine[key], expected[key])


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
        corners = np.array([(spread * number, 0, 8, 8) for number in range(boxes)], dtype=np.float64)
        crowds = np.arange(boxes) % 3 == 0
        ious = np.stack([overlap([number, 0, 8, 8], corners, crowds) for number in range(50)])
        return lambda: match(ious, crowds, crowds, [0.5, 0.75])

    few, many = lines_of(matching(2_000)), lines_of(matching(20_000))
    assert many <= few + 50
    assert many < 50 * 20_000 / 10
