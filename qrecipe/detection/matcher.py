"""One prediction for every object: DETR's bipartite matching."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from ..errors import TrainError
from ..placement import fitted_labels
from ..recipe.definition import LossSpec
from .boxes import cxcywh_to_xyxy, pairwise_giou
from .prediction import Scores

CLASS_WEIGHT: dict[Scores, float] = {"softmax": 1.0, "sigmoid": 2.0}
"""Where ``train.loss.class_weight`` says nothing."""


@dataclass(frozen=True)
class Targets:
    """The objects of a batch, padded to the most that one image has.

    classes: (batch, objects) int64. boxes: (batch, objects, 4), cxcywh in 0..1. counts: objects of each image.
    """

    classes: Tensor
    boxes: Tensor
    counts: tuple[int, ...]

    @staticmethod
    def of(labels: Sequence[Mapping[str, Tensor]], like: Tensor) -> Targets:
        """Labels in DETR's convention, on the device of ``like`` and with boxes of its dtype."""
        fitted = fitted_labels(labels, like)
        return Targets(
            pad_sequence([label["class_labels"] for label in fitted], batch_first=True),
            pad_sequence([label["boxes"] for label in fitted], batch_first=True),
            tuple(len(label["class_labels"]) for label in fitted),
        )


@dataclass(frozen=True)
class Assignment:
    """Matched pairs of the whole batch: three int64 tensors (pairs,): image, query, and object within its image."""

    image: Tensor
    query: Tensor
    object: Tensor


@torch.no_grad()
def hungarian_match(
    logits: Tensor,
    boxes: Tensor,
    targets: Targets,
    scores: Scores,
    spec: LossSpec,
) -> Assignment:
    """The assignment of least cost, min(queries, objects) pairs an image; costs are weighted as the loss is.

    ``class_weight class + l1 |b - b'|_1 - giou GIoU``, where the class cost is ``-probability``, or for sigmoid scores
    the focal loss as an object less the focal loss as background.

    Args:
        logits: (batch, queries, columns). boxes: (batch, queries, 4), cxcywh in 0..1. Float32 at least.

    Raises:
        TrainError: a cost is not finite; it names the images by their place in the batch.

    Source: DETR (Carion et al., ECCV 2020), section 3.1; focal cost: Deformable DETR.
    """
    cost = _class_cost(logits, targets.classes, scores, spec) * class_weight(scores, spec)
    cost = cost + spec.l1 * torch.cdist(boxes, targets.boxes, p=1)
    cost = cost - spec.giou * pairwise_giou(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(targets.boxes))
    # One transfer for the batch: (batch, queries, objects).
    table = cost.cpu()
    broken = (~table.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
    if broken:
        places = ", ".join(str(place) for place in broken)
        raise TrainError(
            "the predictions (or the boxes of the labels) are not finite",
            where=f"image {places} of the batch, counted from 0",
            remedy="lower the learning rate, or look at these images' annotations",
        )
    images: list[int] = []
    queries: list[int] = []
    objects: list[int] = []
    for image, count in enumerate(targets.counts):
        rows, columns = linear_sum_assignment(table[image, :, :count].numpy())
        images += [image] * len(rows)
        queries += rows.tolist()
        objects += columns.tolist()
    image_t, query_t, object_t = torch.tensor([images, queries, objects], dtype=torch.int64, device=boxes.device)
    return Assignment(image_t, query_t, object_t)


def class_weight(scores: Scores, spec: LossSpec) -> float:
    """The weight of classification, in the loss and in the cost of a pair."""
    return CLASS_WEIGHT[scores] if spec.class_weight is None else spec.class_weight


def _class_cost(logits: Tensor, classes: Tensor, scores: Scores, spec: LossSpec) -> Tensor:
    """(batch, queries, objects)."""
    alpha, gamma = spec.focal_alpha, spec.focal_gamma
    wanted = classes[:, None, :].expand(-1, logits.shape[1], -1)
    if scores == "softmax":
        return -logits.softmax(-1).gather(2, wanted)
    picked = logits.gather(2, wanted)
    probability = picked.sigmoid()
    as_object = -alpha * (1 - probability) ** gamma * F.logsigmoid(picked)
    as_background = -(1 - alpha) * probability**gamma * F.logsigmoid(-picked)
    return as_object - as_background
