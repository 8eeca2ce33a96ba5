"""LSQ's gradient scale: the value stays, the gradient is multiplied.

A scale's gradient sums over all the values that share it, a weight's does not; g = 1 / sqrt(N Q_p) brings their
steps to the same size. Source: Esser et al., LSQ, section 2.2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """x, bit for bit (x - x is 0 for all that is finite); its gradient times ``factor``."""
    return x.detach() + (x - x.detach()) * factor if torch.is_grad_enabled() else x


def lsq_factor(count: int, highest: int) -> float:
    """g = 1 / sqrt(N Q_p).

    Args:
        count: N, the weights that share a scale, or the features of one sample that do (never the batch).
        highest: Q_p, the grid's largest integer.
    """
    return 1.0 / math.sqrt(max(count, 1) * highest)
