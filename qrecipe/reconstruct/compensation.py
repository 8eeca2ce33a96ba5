"""Rounds a layer's weights so that the errors of some make up for those of others, in what the layer puts out.

Of a row w and its rounded form w_hat the error is E[((w - w_hat) x)^2] = (w - w_hat) H (w - w_hat)^T, H = E[x x^T].
Columns are rounded one after the other, and the ones to come move by what makes up best for it (Frantar et al., "GPTQ",
ICLR 2023, arXiv 2210.17323, equations 2 and 3); then each is put where it does best beside all others, in turns, until
nothing moves (coordinate descent, as in Zhang et al., "COMQ", arXiv 2403.07134).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

DAMPING = 1e-2
"""Added to H's diagonal, relative to its mean."""
TURNS = 6


@torch.no_grad()
def compensated(weight: Tensor, moment: Tensor, nearest: Callable[[Tensor], Tensor]) -> Tensor:
    """The rows on their grid, of no greater error than those rounded to nearest.

    Args:
        weight: (groups, rows, K) float64. moment: H, (groups, K, K) float64.
        nearest: rounds columns (groups, rows, n) to the grid, in the weight's units; rows keep their scales.
    """
    diagonal = moment.diagonal(dim1=-2, dim2=-1)
    damping = DAMPING * diagonal.mean(-1).clamp_min(torch.finfo(moment.dtype).tiny ** 0.5)
    form = moment + torch.diag_embed(damping[:, None].expand_as(diagonal))
    order = diagonal.argsort(dim=-1, descending=True)
    groups = torch.arange(len(moment))[:, None, None]
    form = form[groups, order[:, :, None], order[:, None, :]]
    rows = weight.gather(2, order[:, None].expand_as(weight))
    simple, found = nearest(rows), _in_order(rows, form, nearest)
    rounded = torch.where(_error(simple, rows, form) < _error(found, rows, form), simple, found)
    back = order.argsort(-1)[:, None].expand_as(weight)
    return _in_turns(rounded, rows, form, nearest).gather(2, back)


def _in_order(weight: Tensor, form: Tensor, nearest: Callable[[Tensor], Tensor]) -> Tensor:
    """GPTQ's pass over the columns, those of the largest inputs first."""
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(form))
    upper = torch.linalg.cholesky(inverse, upper=True)
    left, found = weight.clone(), torch.empty_like(weight)
    for column in range(weight.shape[-1]):
        found[..., column] = nearest(left[..., column : column + 1])[..., 0]
        error = (left[..., column] - found[..., column]) / upper[:, None, column, column]
        left[..., column + 1 :] -= error[..., None] * upper[:, None, column, column + 1 :]
    return found


def _in_turns(start: Tensor, weight: Tensor, form: Tensor, nearest: Callable[[Tensor], Tensor]) -> Tensor:
    """Coordinate descent: no turn makes the error greater."""
    found = start.clone()
    slope = (found - weight) @ form
    for _ in range(TURNS):
        moved = False
        for column in range(weight.shape[-1]):
            best = nearest((found[..., column] - slope[..., column] / form[:, None, column, column])[..., None])[..., 0]
            change = best - found[..., column]
            if bool(change.any()):
                moved = True
                found[..., column] = best
                slope += change[..., None] * form[:, None, column]
        if not moved:
            break
    return found


def _error(found: Tensor, weight: Tensor, form: Tensor) -> Tensor:
    """(groups, rows, 1)."""
    difference = found - weight
    return ((difference @ form) * difference).sum(-1, keepdim=True)
