"""Ranges of least squared error, by search: candidates that shrink the range, then least squares on what was rounded.

Deterministic, and vectorised over the scales: every tensor here has one row per scale.
Source of the objective: LSQ+ (Bhalgat et al.), section 3.4.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..kernels.affine import HIGHEST_ZERO_POINT, LOWEST_ZERO_POINT
from ..kernels.grid import Grid
from ..kernels.reference import quantize
from .sampling import spread_sample

# Shrinking by this factor from one candidate to the next; the last keeps 2% (symmetric) or 3% (either end) of the
# range.
_SYMMETRIC_STEP, _SYMMETRIC_CANDIDATES = 0.93, 54
_ASYMMETRIC_STEP, _ASYMMETRIC_CANDIDATES = 0.75, 13
# Then the best one's ends move by these parts of its range.
_MOVES = (0.12, 0.06, 0.03, 0.015, 0.0075)
_POLISHING_ROUNDS = 12
# Candidates are compared on so many values over all scales, at least so many per scale; the polish takes all.
_COMPARED, _COMPARED_PER_SCALE = 2**13, 1024


def least_squares_symmetric(sample: Tensor, widest: Tensor, grid: Grid) -> Tensor:
    """The scale (size,) of least squared error of x_hat = scale * integer; 0 for rows without a non-zero value.

    Args:
        sample: (size, K), finite.
        widest: (size,), the scale at which nothing is clipped.
    """
    unit = _unit(sample)
    sample, widest = sample / unit, widest[:, None] / unit
    few = _thin(sample)
    zero = torch.zeros_like(widest)
    best, error = widest, _error(few, widest, zero, grid, True)
    for power in range(1, _SYMMETRIC_CANDIDATES):
        candidate = widest * _SYMMETRIC_STEP**power
        best, error = _keep(candidate, _error(few, candidate, zero, grid, True), best, error)
    for move in _MOVES:
        for candidate in (best * (1 + move / 2), best * (1 - move / 2)):
            best, error = _keep(candidate, _error(few, candidate, zero, grid, True), best, error)
    error = _error(sample, best, zero, grid, True)
    for _ in range(_POLISHING_ROUNDS):
        integers = quantize(sample, _positive(best), zero, grid, True)
        candidate = _ratio((sample * integers).sum(1, True), integers.square().sum(1, True))
        best, error = _keep(candidate, _error(sample, candidate, zero, grid, True), best, error)
    return (best * unit).squeeze(1)


def least_squares_affine(
    sample: Tensor, minimum: Tensor, maximum: Tensor, grid: Grid, integer: bool
) -> tuple[Tensor, Tensor]:
    """Scale and offset (size,) of least squared error of x_hat = scale * integer + offset.

    The offset is -scale * zero point, with a whole zero point in -128 .. 127 where ``integer``. The scale is 0 for rows
    without a non-zero value.

    Args:
        sample: (size, K), finite.
        minimum, maximum: (size,), of all values.
    """
    unit = _unit(sample)
    sample, minimum, maximum = sample / unit, minimum[:, None] / unit, maximum[:, None] / unit
    few = _thin(sample)
    best = _from_range(minimum.clamp(max=0.0), maximum.clamp(min=0.0), grid, integer)
    error = _error(few, *best, grid, integer)
    centre = few.mean(1, keepdim=True)
    shrinking = _ASYMMETRIC_STEP ** torch.arange(_ASYMMETRIC_CANDIDATES, device=sample.device, dtype=sample.dtype)
    # Both ends shrink on their own, of a range with zero in it towards zero, and of the tight range towards the mean.
    for low, high, towards in (
        (minimum.clamp(max=0.0), maximum.clamp(min=0.0), torch.zeros_like(centre)),
        (minimum, maximum, centre),
    ):
        upper = towards + (high - towards) * shrinking
        for part in shrinking:
            lower = (towards + (low - towards) * part).expand_as(upper)
            best, error = _try_ranges(few, lower, upper, best, error, grid, integer)
    # Values of one sign keep zero at the grid's end: levels beyond it would be lost, and a runtime takes a ReLU into
    # the convolution in front of it only so.
    floor = torch.where(minimum >= 0, 0.0, -torch.inf)
    ceiling = torch.where(maximum <= 0, 0.0, torch.inf)
    moves = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0], device=sample.device, dtype=sample.dtype)] * 2)
    for move in _MOVES:
        scale, zero_point = best
        step = scale * move * (grid.hi - grid.lo)
        lower = scale * (grid.lo - zero_point) + step * moves[:, 0]
        upper = scale * (grid.hi - zero_point) + step * moves[:, 1]
        best, error = _try_ranges(few, lower.clamp(min=floor), upper.clamp(max=ceiling), best, error, grid, integer)
    error = _error(sample, *best, grid, integer)
    for _ in range(_POLISHING_ROUNDS):
        candidate = _regress(sample, *best, grid, integer)
        best, error = _keep_pair(candidate, _error(sample, *candidate, grid, integer), best, error)
    scale, zero_point = best
    return (scale * unit).squeeze(1), (-scale * zero_point * unit).squeeze(1)


def _try_ranges(
    sample: Tensor,
    lower: Tensor,
    upper: Tensor,
    best: tuple[Tensor, Tensor],
    least: Tensor,
    grid: Grid,
    integer: bool,
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """The best of so far (size, 1) and of candidates (size, C), all of a row's at once."""
    scale, zero_point = _from_range(lower, upper, grid, integer)
    errors = _error(sample[:, None, :], scale[..., None], zero_point[..., None], grid, integer).squeeze(-1)
    error, at = errors.min(1, keepdim=True)
    return _keep_pair((scale.gather(1, at), zero_point.gather(1, at)), error, best, least)


def _regress(sample: Tensor, scale: Tensor, zero_point: Tensor, grid: Grid, integer: bool) -> tuple[Tensor, Tensor]:
    """The line that fits best through what the integers are now; a whole zero point stays."""
    integers = quantize(sample, _positive(scale), zero_point, grid, integer)
    if integer:
        steps = integers - zero_point
        return _ratio((sample * steps).sum(1, True), steps.square().sum(1, True)), zero_point
    centred = integers - integers.mean(1, keepdim=True)
    fitted = _ratio((sample * centred).sum(1, True), centred.square().sum(1, True))
    offset = sample.mean(1, keepdim=True) - fitted * integers.mean(1, keepdim=True)
    return fitted, -offset / _positive(fitted)


def _from_range(low: Tensor, high: Tensor, grid: Grid, integer: bool) -> tuple[Tensor, Tensor]:
    """Scale and zero point that put lo at ``low`` and hi at ``high``."""
    scale = (high - low) / (grid.hi - grid.lo)
    zero_point = grid.lo - low / _positive(scale)
    if integer:
        zero_point = zero_point.round().clamp(LOWEST_ZERO_POINT, HIGHEST_ZERO_POINT)
    return scale, zero_point


def _error(sample: Tensor, scale: Tensor, zero_point: Tensor, grid: Grid, integer: bool) -> Tensor:
    """Mean squared error over the last dimension, which stays as 1; infinite where the scale is no scale."""
    used = _positive(scale)
    restored = used * (quantize(sample, used, zero_point, grid, integer) - zero_point)
    error = (restored - sample).square().mean(-1, keepdim=True)
    return torch.where((scale > 1e-9) & torch.isfinite(error), error, torch.inf)


def _keep(candidate: Tensor, error: Tensor, best: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
    better = error < least
    return torch.where(better, candidate, best), torch.where(better, error, least)


def _keep_pair(
    candidate: tuple[Tensor, Tensor], error: Tensor, best: tuple[Tensor, Tensor], least: Tensor
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    better = error < least
    pair = torch.where(better, candidate[0], best[0]), torch.where(better, candidate[1], best[1])
    return pair, torch.where(better, error, least)


def _unit(sample: Tensor) -> Tensor:
    """The largest magnitude of each row (size, 1), so that squares neither overflow nor vanish; 1 for zeros."""
    largest = sample.abs().amax(1, keepdim=True)
    return torch.where(largest > 0, largest, 1.0)


def _thin(sample: Tensor) -> Tensor:
    return spread_sample(sample, max(_COMPARED // sample.shape[0], _COMPARED_PER_SCALE))


def _positive(scale: Tensor) -> Tensor:
    return torch.where(scale > 1e-9, scale, 1.0)


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    return torch.where(below > 0, above / below, 0.0)
