"""First scales and offsets from what calibration saw: the initialisers, each a row of ``INITIALISERS``.

Whatever the data, the result is defined: a row of zeros (a dead output channel) takes the median of the other rows'
scales, or 1 / Q_p where all are zero; other constants are covered. Nothing below SMALLEST_SCALE is returned.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from ...errors import CalibrationError, RecipeError
from ...named_code import load
from ...recipe.names import Offset
from ...recipe.quantizer_table import INITIALISERS
from ..kernels.affine import SMALLEST_SCALE
from ..kernels.grid import Grid
from .observer import Observed
from .search import least_squares_affine, least_squares_symmetric


@dataclass(frozen=True)
class Target:
    """What the range is for."""

    grid: Grid
    offset: Offset
    is_weight: bool


KEPT = 0.9999
"""The share of values that ``percentile`` keeps below the range's upper end, and as many above its lower end."""

# Scale and offset, (size,) each; the offset is in the tensor's own units, and 0 for a symmetric quantizer.
Range = tuple[Tensor, Tensor]
Initialiser = Callable[[Observed, Target], Range]


def lsq(seen: Observed, target: Target) -> Range:
    """2 mean|v| / sqrt(Q_p), offset 0.

    With an offset and data that is never negative the grid is LSQ's unsigned one, from zero up: Q_p = 2^bits - 1.
    Source: LSQ, section 2.1.
    """
    grid = target.grid
    scale = 2 * seen.mean_magnitude / sqrt(grid.hi)
    offset = torch.zeros_like(scale)
    if target.offset != "none":
        unsigned = seen.minimum >= 0
        levels = grid.hi - grid.lo
        scale = torch.where(unsigned, 2 * seen.mean_magnitude / sqrt(levels), scale)
        offset = torch.where(unsigned, -grid.lo * scale, offset)
    return scale, offset


def lsq_plus(seen: Observed, target: Target) -> Range:
    """Weights: max(|mean - 3 std|, |mean + 3 std|) / 2^(bits - 1), offset 0. Activations: least squares.

    Source: LSQ+, sections 3.3 and 3.4.
    """
    if not target.is_weight:
        return mse(seen, target)
    reach = torch.maximum((seen.mean - 3 * seen.std).abs(), (seen.mean + 3 * seen.std).abs())
    scale = reach / -target.grid.lo
    return scale, torch.zeros_like(scale)


def minmax(seen: Observed, target: Target) -> Range:
    """All values within the range. With an integer zero point the range holds zero, as runtimes want it."""
    grid = target.grid
    if target.offset == "none":
        scale = torch.maximum(seen.maximum / grid.hi, seen.minimum / grid.lo)
        return scale, torch.zeros_like(scale)
    low, high = seen.minimum, seen.maximum
    hold_zero = (high == low) if target.offset == "real" else torch.ones_like(low, dtype=torch.bool)
    low = torch.where(hold_zero, low.clamp(max=0.0), low)
    high = torch.where(hold_zero, high.clamp(min=0.0), high)
    scale = high / (grid.hi - grid.lo) - low / (grid.hi - grid.lo)
    offset = low - scale * grid.lo
    if target.offset == "integer":
        safe = torch.where(scale > 0, scale, 1.0)
        offset = (offset / safe).round() * scale
    return scale, offset


def mse(seen: Observed, target: Target) -> Range:
    """Least squared error over the scale, and over the offset where there is one."""
    if target.offset == "none":
        widest, offset = minmax(seen, target)
        return least_squares_symmetric(seen.sample, widest, target.grid), offset
    return least_squares_affine(
        seen.sample, seen.minimum, seen.maximum, target.grid, integer=target.offset == "integer"
    )


def percentile(seen: Observed, target: Target) -> Range:
    """The range of all but one in ten thousand values at either end, of the sample; then as :func:`minmax`.

    Source: the fraction is that of integer toolkits' calibrators (Wu et al. 2020, arXiv 2004.09602, section 5.2).
    """
    low, high = _quantile(seen.sample, 1 - KEPT), _quantile(seen.sample, KEPT)
    return minmax(dataclasses.replace(seen, minimum=low, maximum=high), target)


def _quantile(rows: Tensor, share: float) -> Tensor:
    """The value of each row, (size,), that this share of its values does not pass. rows: (size, K)."""
    place = round(share * (rows.shape[1] - 1))
    return rows.kthvalue(place + 1, dim=1).values


@torch.no_grad()
def first_range(init: str, seen: Observed, target: Target, name: str) -> Range:
    """Scale (> 0) and offset of one site, (size,) each, by a row of INITIALISERS.

    Raises:
        RecipeError: no such initialiser.
        CalibrationError: the values are not finite, or too large for a range of them to be.
    """
    if init not in INITIALISERS:
        raise RecipeError(
            f'there is no initialiser "{init}"', where=name, remedy=f"take one of {', '.join(INITIALISERS)}"
        )
    chosen: Initialiser = load(INITIALISERS[init])
    scale, offset = chosen(seen, target)
    if not bool((torch.isfinite(scale) & torch.isfinite(offset)).all()):
        raise CalibrationError(
            "the values are infinite, NaN or too large for a range",
            where=name,
            remedy="check the weights and the input's normalisation, or keep this site float",
        )
    alive = scale > 0
    stand_in = scale[alive].median() if bool(alive.any()) else scale.new_tensor(1 / target.grid.hi)
    scale = torch.where(alive, scale, stand_in).clamp_min(SMALLEST_SCALE)
    return scale, torch.where(alive, offset, 0.0)
