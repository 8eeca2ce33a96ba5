"""Logits and boxes to COCO results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ..data.labels import LabelMap
from ..detection.boxes import cxcywh_to_xyxy
from ..detection.prediction import Scores
from ..errors import EvaluateError

TOP_K = 100

Result = dict[str, Any]
"""{"image_id": int, "category_id": int, "bbox": [x, y, width, height] in original pixels, "score": float}"""


class Outputs(Protocol):
    """logits: (B, Q, C); boxes: (B, Q, 4) cxcywh in 0..1 of the image without its padding."""

    @property
    def logits(self) -> Tensor: ...

    @property
    def boxes(self) -> Tensor: ...


def detections(
    prediction: Outputs,
    *,
    image_ids: Sequence[int],
    sizes: Tensor,
    label_map: LabelMap,
    scores: Scores,
    top_k: int = TOP_K,
) -> list[Result]:
    """COCO results of a batch, best first within an image.

    softmax: every query gives one result, the best class that has a category; the probabilities are taken over all
    classes, the no-object class included. ``top_k`` plays no part, as in DETR.
    sigmoid: the ``top_k`` best pairs of query and class, among the classes that have a category.
    As in DETR, boxes are not clipped to the image.

    sizes: (B, 2) height and width in pixels of the original images.

    Raises: EvaluateError for scores or boxes that are not finite, with their image ids, or for a head of another
        size than the label map's.
    Source: DETR's PostProcess; Deformable DETR's for the sigmoid.
    """
    logits, boxes = prediction.logits.detach().float().cpu(), prediction.boxes.detach().float().cpu()
    expected = label_map.classes + (scores == "softmax")
    if logits.shape[-1] != expected:
        raise EvaluateError(
            f"the head gives {logits.shape[-1]} logits; a {scores} head of {label_map.classes} classes has {expected}",
            remedy="check the model's family and its labels",
        )
    classes = torch.tensor(sorted(label_map.class_to_category), dtype=torch.int64)
    categories = torch.tensor([label_map.class_to_category[int(c)] for c in classes], dtype=torch.int64)
    likely = (logits.softmax(-1) if scores == "softmax" else logits.sigmoid())[..., classes]
    _check_finite(likely, boxes, image_ids)

    scale = sizes.cpu().flip(-1).repeat(1, 2).float()  # (B, 4): width, height, width, height
    corners = cxcywh_to_xyxy(boxes) * scale[:, None]
    corners[..., 2:] -= corners[..., :2]

    results: list[Result] = []
    for row, image_id in enumerate(image_ids):
        value, query, column = _best(likely[row], scores, top_k)
        found = zip(value.tolist(), categories[column].tolist(), corners[row, query].tolist(), strict=True)
        results.extend(
            {"image_id": int(image_id), "category_id": category, "bbox": box, "score": score}
            for score, category, box in found
        )
    return results


def _best(likely: Tensor, scores: Scores, top_k: int) -> tuple[Tensor, Tensor, Tensor]:
    """(Q, classes) probabilities of one image to the scores, queries and columns of its results, best first."""
    if scores == "softmax":
        best, column = likely.max(-1)
        value, query = best.sort(descending=True, stable=True)
        return value, query, column[query]
    value, place = likely.flatten().topk(min(top_k, likely.numel()))
    return value, place // likely.shape[1], place % likely.shape[1]


def _check_finite(likely: Tensor, boxes: Tensor, image_ids: Sequence[int]) -> None:
    finite = likely.isfinite().flatten(1).all(-1) & boxes.isfinite().flatten(1).all(-1)
    bad = [int(image_id) for image_id, fine in zip(image_ids, finite.tolist(), strict=True) if not fine]
    if bad:
        raise EvaluateError(
            f"scores or boxes are not finite for image {', '.join(map(str, bad))}",
            remedy="the weights or the input hold infinities or NaN",
        )
