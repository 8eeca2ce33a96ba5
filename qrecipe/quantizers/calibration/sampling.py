"""A deterministic sample that no regular layout can fool."""

from __future__ import annotations

from math import gcd

import torch
from torch import Tensor


def spread_sample(values: Tensor, limit: int) -> Tensor:
    """At most ``limit`` values of each row, evenly spread, the same ones each time: (size, total) -> (size, K)."""
    total = values.shape[1]
    if total <= limit:
        return values.clone()
    # A stride that shares a factor with the row's length would hit the same channels over and over.
    stride = -(-total // limit)
    while gcd(stride, total) != 1:
        stride += 1
    return values[:, torch.arange(limit, device=values.device) * stride % total]
