"""How far what a file predicts is from what its student predicts, query by query.

A detector that chooses its queries by top-k may choose them in another order, or others, for a difference of float
rounding. So queries are paired by nearness, not by place.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from ..detection.prediction import Prediction

SAME = 0.02
"""Largest distance of two boxes (in shares of the image) of one query."""


@dataclass
class Differences:
    """Of all the queries that were added. logits, boxes: the largest absolute difference of every pair.

    moved: pairs at different places. other: pairs farther apart than SAME: other queries were chosen.
    """

    logits: list[NDArray[np.float32]] = field(default_factory=list)
    boxes: list[NDArray[np.float32]] = field(default_factory=list)
    moved: int = 0
    other: int = 0

    def add(self, expected: Prediction, found: Prediction) -> None:
        """Both of one batch."""
        for own in range(len(expected.boxes)):
            given = (one.detach().float().cpu().numpy() for one in (expected.logits[own], expected.boxes[own]))
            shown = (one.detach().float().cpu().numpy() for one in (found.logits[own], found.boxes[own]))
            self._image(*given, *shown)

    def _image(
        self,
        logits: NDArray[np.float32],
        boxes: NDArray[np.float32],
        own_logits: NDArray[np.float32],
        own_boxes: NDArray[np.float32],
    ) -> None:
        apart = np.abs(boxes[:, None] - own_boxes[None]).max(-1)
        likely, own_likely = _sigmoid(logits), _sigmoid(own_logits)
        cost = apart + np.abs(likely[:, None] - own_likely[None]).max(-1)
        rows, columns = linear_sum_assignment(cost)
        far = apart[rows, columns]
        self.logits.append(np.abs(logits[rows] - own_logits[columns]).max(-1))
        self.boxes.append(far)
        self.moved += int((rows != columns).sum())
        self.other += int((far > SAME).sum())

    @property
    def queries(self) -> int:
        return sum(len(one) for one in self.boxes)

    def to_dict(self) -> dict[str, float | int]:
        """Medians and 95th percentiles of the pairs, shares of the queries."""
        logits, boxes = np.concatenate(self.logits), np.concatenate(self.boxes)
        return {
            "queries": self.queries,
            "logits_median": float(np.median(logits)),
            "logits_95": float(np.quantile(logits, 0.95)),
            "boxes_median": float(np.median(boxes)),
            "boxes_95": float(np.quantile(boxes, 0.95)),
            "moved": self.moved / self.queries,
            "other": self.other / self.queries,
        }


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return (1 / (1 + np.exp(-np.clip(logits, -30, 30)))).astype(np.float32)
