"""Ranges of weights by what comes out: least squared error of the operation's output on calibration data.

Source of the objective: Nagel et al., AdaRound (arXiv 2004.10568), equation 13, here over scales instead of rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..kernels.grid import Grid
from ..kernels.reference import quantize
from .observer import Observed
from .ranges import Range, Target, mse

# Candidates are the scale of least squared error of the weight itself times these, then finer ones around the best.
_COARSE = tuple(1.07**power for power in range(-18, 19))
_FINE = (0.97, 0.98, 0.99, 1.01, 1.02, 1.03)
_POLISHING_ROUNDS = 4


def output(seen: Observed, target: Target) -> Range:
    """The scale of least E[((W - W_hat) x)^2], each output channel by itself where it has its own.

    The zero point is that of :func:`mse`, and so is the range where what the weight multiplies was not seen: that of
    an activation, a transposed convolution, or a site that only training has.
    """
    scale, offset = mse(seen, target)
    if seen.moment is None:
        return scale, offset
    zero_point = -offset / torch.where(scale > 0, scale, 1.0)
    best = _search(seen.sample, scale, zero_point, seen.moment, target.grid, target.offset != "real")
    return best, -zero_point * best


def _search(weight: Tensor, scale: Tensor, zero_point: Tensor, moment: Tensor, grid: Grid, integer: bool) -> Tensor:
    """The best scale (size,). weight: (size, values); moment: (groups, K, K)."""
    zero_point = zero_point[:, None]

    def tried(candidate: Tensor) -> tuple[Tensor, Tensor]:
        """A candidate's error (size, 1), and what the scale is multiplied by."""
        used = torch.where(candidate > 0, candidate, 1.0)
        levels = quantize(weight, used, zero_point, grid, integer) - zero_point
        return quadratic(used * levels - weight, moment), levels

    best = scale[:, None]
    error, levels = tried(best)
    for factors in (_COARSE, _FINE):
        centre = best
        for factor in factors:
            candidate = centre * factor
            found, own = tried(candidate)
            better = found < error
            best, error = torch.where(better, candidate, best), torch.where(better, found, error)
            levels = torch.where(better, own, levels)
    for _ in range(_POLISHING_ROUNDS):
        # With the integers as they are the best scale is a ratio of two forms.
        above, below = _form(levels, weight, moment), _form(levels, levels, moment)
        candidate = torch.where((below > 0) & (above > 0), above / torch.where(below > 0, below, 1.0), best)
        found, own = tried(candidate)
        better = found < error
        best, error = torch.where(better, candidate, best), torch.where(better, found, error)
        levels = torch.where(better, own, levels)
    return best[:, 0]


def quadratic(difference: Tensor, moment: Tensor) -> Tensor:
    """The mean squared error of the output, (size, 1), summed over the channels that share a scale."""
    return _form(difference, difference, moment).clamp_min(0.0)


def _form(left: Tensor, right: Tensor, moment: Tensor) -> Tensor:
    """left E[x x^T] right^T of each output channel, summed over those of one row: (size, values) twice to (size, 1)."""
    groups, width, _ = moment.shape
    rows = left.reshape(groups, -1, width) @ moment.to(left.dtype)
    products = (rows * right.reshape(groups, -1, width)).sum(-1)
    return products.reshape(left.shape[0], -1).sum(1, keepdim=True)
