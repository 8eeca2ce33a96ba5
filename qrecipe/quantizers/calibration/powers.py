"""First scales that are powers of two: the one below a range's scale or the one above, whichever errs less."""

from __future__ import annotations

import torch
from torch import Tensor

from ..kernels.power_of_two import power_candidates
from ..kernels.reference import quantize
from .observer import Observed
from .output import quadratic
from .ranges import Range, Target


def nearest_powers(scale: Tensor, offset: Tensor, seen: Observed, target: Target) -> Range:
    """Of each scale (size,) the neighbouring power of two of less squared error, with the zero point as it was.

    The error is that of the layer's output where what a weight multiplies was seen, else that of the tensor.
    """
    integer = target.offset != "real"
    zero_point = -offset / scale
    if integer:
        zero_point = zero_point.round()
    tried = []
    for candidate in power_candidates(scale):
        levels = quantize(seen.sample, candidate[:, None], zero_point[:, None], target.grid, integer)
        difference = candidate[:, None] * (levels - zero_point[:, None]) - seen.sample
        error = difference.square().sum(1) if seen.moment is None else quadratic(difference, seen.moment)[:, 0]
        tried.append((candidate, error))
    (below, low), (above, high) = tried
    best = torch.where(low <= high, below, above)
    return best, -zero_point * best
