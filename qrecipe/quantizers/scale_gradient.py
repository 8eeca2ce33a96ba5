"""LSQ's gradient scale: the value stays, the gradient is multiplied.

A scale's gradient sums over all the values that share it, a weight's does not; g = 1 / sqrt(N Q_p) brings their
steps to the same size. Source: Esser et al., LSQ, section 2.2.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.factor, None


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """x, bit for bit; its gradient times ``factor``."""
    if factor == 1.0 or not x.requires_grad:
        return x
    scaled: Tensor = _ScaleGradient.apply(x, factor)  # type: ignore[no-untyped-call]
    return scaled


def lsq_factor(count: int, highest: int) -> float:
    """g = 1 / sqrt(N Q_p).

    Args:
        count: N, the weights that share a scale, or the features of one sample that do (never the batch).
        highest: Q_p, the grid's largest integer.
    """
    return 1.0 / math.sqrt(max(count, 1) * highest)
