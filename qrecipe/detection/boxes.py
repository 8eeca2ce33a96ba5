"""Box geometry on tensors, in DETR's conventions. All boxes are (..., 4)."""

from __future__ import annotations

import torch
from torch import Tensor


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """(..., 4) centre and size to corners; same units."""
    cx, cy, w, h = boxes.unbind(-1)
    return torch.stack((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), dim=-1)


def pairwise_giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU of every pair of corner boxes: (..., n, 4) and (..., m, 4) to (..., n, m), in -1..1.

    Boxes of no area are allowed: where the union or the hull has no area the ratio counts as 0, never NaN.
    A box with negative width or height is read as having none.
    Source: Rezatofighi et al., CVPR 2019, algorithm 1.
    """
    left, right = a.unsqueeze(-2), b.unsqueeze(-3)
    area_a = _area(left[..., :2], left[..., 2:])
    area_b = _area(right[..., :2], right[..., 2:])
    overlap = _area(torch.maximum(left[..., :2], right[..., :2]), torch.minimum(left[..., 2:], right[..., 2:]))
    union = area_a + area_b - overlap
    hull = _area(torch.minimum(left[..., :2], right[..., :2]), torch.maximum(left[..., 2:], right[..., 2:]))
    return _ratio(overlap, union) - _ratio(hull - union, hull)


def _area(low: Tensor, high: Tensor) -> Tensor:
    side = (high - low).clamp(min=0)
    return side[..., 0] * side[..., 1]


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    positive = whole > 0
    return torch.where(positive, part / torch.where(positive, whole, torch.ones_like(whole)), torch.zeros_like(whole))
