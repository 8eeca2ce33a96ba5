"""What of an image's boxes a model finds, and on which images two models disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..evaluation.detections import Result
from ..evaluation.matching import overlap

THRESHOLD = 0.3
"""Detections of a lower score are not looked at."""
OVERLAP = 0.5
"""The IoU from which on a detection finds a box of its category."""


@dataclass(frozen=True)
class Judged:
    """detections: of one image, of THRESHOLD or more, best first. finds: of each the box that it finds, by its place in
    the truth; None where there is none, or a better one has found it."""

    detections: tuple[Result, ...]
    finds: tuple[int | None, ...]

    @property
    def found(self) -> set[int]:
        return {box for box in self.finds if box is not None}

    @property
    def false(self) -> int:
        """Detections that find nothing."""
        return self.finds.count(None)


def judge(
    boxes: NDArray[np.float64], categories: Sequence[int], crowd: Sequence[bool], found: Sequence[Result]
) -> Judged:
    """Hold one image's detections against its truth.

    The best score chooses first: of the boxes of its category that are free and overlap enough, the one that overlaps
    most. What lies by half of its own area in a crowd of its category is neither right nor wrong, and left out.

    Args:
        boxes: (n, 4) x, y, width, height. categories, crowd: of each. found: the image's COCO results.
    """
    own, crowds = np.array(categories, dtype=np.int64), np.array(crowd, dtype=bool)
    free = ~crowds
    kept: list[Result] = []
    finds: list[int | None] = []
    for one in sorted((one for one in found if one["score"] >= THRESHOLD), key=lambda one: -float(one["score"])):
        same = own == one["category_id"]
        ious = overlap(one["bbox"], boxes, crowds)
        overlaps = np.where(same & free, ious, 0.0)
        best = int(overlaps.argmax()) if len(boxes) else 0
        right = bool(len(boxes)) and overlaps[best] >= OVERLAP
        if not right and bool((same & crowds & (ious >= 0.5)).any()):
            continue
        if right:
            free[best] = False
        kept.append(one)
        finds.append(best if right else None)
    return Judged(tuple(kept), tuple(finds))


def disagreement(first: Judged, second: Judged) -> int:
    """Boxes that one finds and the other does not, and how many more false detections one has than the other."""
    return len(first.found ^ second.found) + abs(first.false - second.false)
