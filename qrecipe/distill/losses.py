"""Distances between matched features, and their sum over the kept pairs (Q-DETR eq. 2.37)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..named_code import load
from ..recipe.distill_table import LOSSES
from .matching import Match


def l2(student: Tensor, teacher: Tensor) -> Tensor:
    """Euclidean distance, (..., width) to (...). At distance zero its gradient is zero."""
    square = (student - teacher).square().sum(-1)
    zero = square == 0
    # The root of 1 in place of 0 keeps sqrt's infinite slope out of the backward pass; NaN still comes through.
    return torch.where(zero, 0.0, torch.where(zero, 1.0, square).sqrt())


def distill_loss(student: Tensor, teacher: Tensor, match: Match, loss: str = "l2") -> tuple[Tensor, Tensor]:
    """Sum of the distances of all kept pairs, and how many they are.

    Args:
        student: (batch, student queries, width) features; the gradient goes here only.
        teacher: (batch, teacher queries, width).
        match: from the final boxes; the same one serves every layer.
        loss: a row of LOSSES.

    Returns:
        The sum (scalar, in float32 at least) and the count (scalar int64): :func:`global_mean` of both is the loss.
        With no kept pair the sum is a zero with a graph, so that backward and DDP work.

    Source: Q-DETR (arXiv 2304.00253), eq. 2.37.
    """
    width = teacher.shape[-1]
    if student.dtype in (torch.float16, torch.bfloat16):
        student = student.float()
    chosen = teacher.detach().to(student).gather(1, match.teacher_index[..., None].expand(-1, -1, width))
    # Masked before the distance, not after it: a query that is not kept sends back zero even where it is not finite.
    kept = match.keep[..., None]
    distance = load(LOSSES[loss].code)(torch.where(kept, student, 0.0), torch.where(kept, chosen, 0.0))
    return torch.where(match.keep, distance, 0.0).sum(), match.keep.sum()
