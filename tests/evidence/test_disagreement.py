"""What of a truth a model finds, against a walk over all boxes; and how far two models are apart."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as some

from qrecipe.evidence import OVERLAP, THRESHOLD, disagreement, judge

Box = tuple[float, float, float, float]


def result(category: int, box: Box, score: float) -> dict[str, Any]:
    return {"image_id": 1, "category_id": category, "bbox": list(box), "score": score}


def iou(a: Box, b: Box) -> float:
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    both = max(wide, 0) * max(high, 0)
    return both / (a[2] * a[3] + b[2] * b[3] - both)


sides = some.integers(1, 6).map(float)
boxes = some.tuples(some.integers(0, 6).map(float), some.integers(0, 6).map(float), sides, sides)
truths = some.lists(some.tuples(boxes, some.integers(1, 2)), max_size=6)
found = some.lists(some.tuples(boxes, some.integers(1, 2), some.floats(0, 1)), max_size=6, unique_by=lambda one: one[2])


@given(truths, found)
def test_the_best_score_chooses_first(truth: list[tuple[Box, int]], detected: list[tuple[Box, int, float]]) -> None:
    free, expected = set(range(len(truth))), []
    for box, category, score in sorted(detected, key=lambda one: -one[2]):
        if score < THRESHOLD:
            continue
        best = None
        for place in sorted(free):
            if truth[place][1] == category and iou(box, truth[place][0]) >= OVERLAP:
                best = place if best is None or iou(box, truth[place][0]) > iou(box, truth[best][0]) else best
        free -= {best}
        expected.append(best)
    made = judge(
        np.array([box for box, _ in truth], dtype=np.float64).reshape(-1, 4),
        [category for _, category in truth],
        [False] * len(truth),
        [result(category, box, score) for box, category, score in detected],
    )
    assert list(made.finds) == expected
    assert made.found == set(range(len(truth))) - free
    assert made.false == expected.count(None)


def test_what_lies_in_a_crowd_is_neither_right_nor_wrong() -> None:
    crowd = np.array([[0.0, 0.0, 50.0, 50.0], [60.0, 0.0, 10.0, 10.0]])
    inside, outside = result(1, (5, 5, 10, 10), 0.9), result(1, (80, 0, 10, 10), 0.8)
    other = result(2, (5, 5, 10, 10), 0.7)
    made = judge(crowd, [1, 1], [True, False], [inside, outside, other])
    assert made.detections == (outside, other)
    assert made.finds == (None, None)


def test_a_disagreement_is_counted() -> None:
    truth = np.array([[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 10.0, 10.0], [40.0, 0.0, 10.0, 10.0]])
    hits = [result(1, (left, 0, 10, 10), 0.9) for left in (0.0, 20.0, 40.0)]
    false = [result(1, (left, 50, 10, 10), 0.5) for left in (0.0, 20.0)]

    def judged(*own: dict[str, Any]) -> Any:
        return judge(truth, [1, 1, 1], [False] * 3, own)

    assert disagreement(judged(*hits), judged(*hits)) == 0
    assert disagreement(judged(hits[0], hits[1]), judged(hits[1], hits[2])) == 2
    assert disagreement(judged(*hits, *false), judged(hits[0])) == 4
    assert disagreement(judged(false[0]), judged(false[1])) == 0
