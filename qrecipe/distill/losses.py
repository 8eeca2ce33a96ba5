"""Distances between matched features, and the sum over the kept pairs (Q-DETR eq. 2.37)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..named_code import load
from ..recipe.distill_table import LOSSES
from .matching import Match


def l2(student: Tensor, teacher: Tensor) -> Tensor:
    """Euclidean distance, (..., width) to (...). At distance zero its gradient is zero."""
    square = (student - teacher).square().sum(-1)
    zero = square == 0
    # The root of 1 in place of 0 keeps sqrt's infinite slope out of the backward pass; NaN still comes through.
    return torch.where(zero, 0.0, torch.where(zero, 1.0, square).sqrt())


def relative(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance divided by the teacher's squared norm, its mean over the image's queries that are compared:
    (..., queries, width) to (..., queries); 0 where all of the teacher's are 0.

    By each query's own norm, one that looks past the image, whose feature is nearly nothing, would outweigh all others.
    """
    norm = teacher.square().sum(-1)
    there = norm > 0
    mean = norm.sum(-1, keepdim=True) / there.sum(-1, keepdim=True).clamp_min(1)
    empty = mean == 0
    return torch.where(empty, 0.0, (student - teacher).square().sum(-1) / torch.where(empty, 1.0, mean))


def mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean of the squared differences, (..., width) to (...)."""
    return (student - teacher).square().mean(-1)


def cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """1 less the cosine of the angle, (..., width) to (...); 1 where one of the two is zero."""
    return 1 - F.cosine_similarity(student, teacher, dim=-1)


def distill_loss(student: Tensor, teacher: Tensor, match: Match, loss: str = "l2") -> tuple[Tensor, Tensor]:
    """Sum of the distances of all kept pairs, each as it weighs, and what they weigh together.

    Args:
        student: (batch, student queries, width) features; the gradient goes here only.
        teacher: (batch, teacher queries, width).
        match: from the final boxes; the same one serves every layer.
        loss: a row of LOSSES.

    Returns:
        The sum (scalar, in float32 at least) and the count (scalar, int64 where pairs weigh 1): :func:`global_mean` of
        both is the loss.
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
    if match.weight is not None:
        distance = distance * match.weight.to(distance)
    return torch.where(match.keep, distance, 0.0).sum(), match.total
