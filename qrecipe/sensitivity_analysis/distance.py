"""How far one detector's predictions are from another's, without labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from ..detection.boxes import cxcywh_to_xyxy, pairwise_giou
from ..detection.prediction import Prediction, Scores, best_scores
from ..errors import EvaluateError

QUERIES = 100
"""Queries of an image that are compared: those of the highest scores, as many as COCO counts detections."""


@dataclass(frozen=True)
class Distance:
    """Over the matched queries of some images, each weighted by its score.

    classes: divergence KL(reference || other) of class probabilities, in nats; the classes of a sigmoid are summed.
    boxes: L1 of (cx, cy, w, h) in image sides, plus 1 - GIoU.
    """

    classes: float
    boxes: float

    @property
    def total(self) -> float:
        return self.classes + self.boxes

    def to_dict(self) -> dict[str, Any]:
        return {"classes": self.classes, "boxes": self.boxes, "total": self.total}


@torch.no_grad()
def prediction_distance(reference: list[Prediction], other: list[Prediction], scores: Scores) -> Distance:
    """The distance of predictions for the same images.

    In each image the queries of the highest scores are matched one to one, as detectors that choose their queries among
    places may order them in another way: the assignment of least difference in class probabilities and boxes. A pair
    counts by the higher of its two scores, so that what is lost and what is made up both count; the sum is divided by
    the sum of the reference's scores.

    Args:
        reference, other: one prediction for each batch: logits (batch, queries, classes), boxes (batch, queries, 4).

    Raises:
        EvaluateError: predictions are not finite.
    """
    sums = torch.zeros(3, dtype=torch.float64)
    for one, two in zip(reference, other, strict=True):
        for image in range(len(one.logits)):
            sums += _of_image(*_top(one, image, scores), *_top(two, image, scores), scores)
    classes, boxes, weight = sums.tolist()
    weight = max(weight, torch.finfo(torch.float32).tiny)
    return Distance(classes / weight, boxes / weight)


def _top(prediction: Prediction, image: int, scores: Scores) -> tuple[Tensor, Tensor]:
    """The logits and boxes of one image's highest queries, in float64 on the CPU."""
    logits, boxes = prediction.logits[image].double().cpu(), prediction.boxes[image].double().cpu()
    if not (logits.isfinite().all() and boxes.isfinite().all()):
        raise EvaluateError("predictions are not finite", remedy="give this part more bits, or leave it real-valued")
    chosen = best_scores(logits, scores).topk(min(QUERIES, len(logits))).indices
    return logits[chosen], boxes[chosen]


def _of_image(logits: Tensor, boxes: Tensor, other: Tensor, other_boxes: Tensor, scores: Scores) -> Tensor:
    """Weighted sums of the divergence and of the boxes' distance, and the reference's own weight."""
    apart = torch.cdist(_probabilities(logits, scores), _probabilities(other, scores), p=1)
    between = torch.cdist(boxes, other_boxes, p=1)
    between = between + 1 - pairwise_giou(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(other_boxes))
    mine, theirs = (torch.as_tensor(index) for index in linear_sum_assignment((apart + between).numpy()))
    score, other_score = best_scores(logits, scores), best_scores(other, scores)
    weight = torch.maximum(score[mine], other_score[theirs])
    divergence = _divergence(logits[mine], other[theirs], scores)
    return torch.stack([(weight * divergence).sum(), (weight * between[mine, theirs]).sum(), score.sum()])


def _probabilities(logits: Tensor, scores: Scores) -> Tensor:
    return logits.softmax(-1) if scores == "softmax" else logits.sigmoid()


def _divergence(logits: Tensor, other: Tensor, scores: Scores) -> Tensor:
    """KL(logits || other) of each query, (queries,)."""
    if scores == "softmax":
        ours, theirs = logits.log_softmax(-1), other.log_softmax(-1)
        return (ours.exp() * (ours - theirs)).sum(-1)
    probability = logits.sigmoid()
    found = probability * (F.logsigmoid(logits) - F.logsigmoid(other))
    return (found + (1 - probability) * (F.logsigmoid(-logits) - F.logsigmoid(-other))).sum(-1)
