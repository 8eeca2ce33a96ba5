"""From the trained numbers to those in use: a positive scale, and the zero point that an offset means.

    scale in use = max(|scale|, 1e-8)
    zero point   = -offset / scale in use, and where it is an integer: rounded, then clipped to -128 .. 127

The offset is in real units (LSQ+'s z): x_hat = scale * x_q + offset. Gradients pass straight through the rounding and
through the floor of the scale (one that fell below it can come back), and are multiplied by LSQ's factor.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .reference import round_straight_through
from .scale_gradient import scale_gradient

# Below this a scale would make gradients of the zero point (offset / scale^2) overflow; no trained tensor needs it.
SMALLEST_SCALE = 1e-8
# Integer zero points are stored in 8 bits, whatever the grid.
LOWEST_ZERO_POINT = -128
HIGHEST_ZERO_POINT = 127


def affine(scale: Tensor, offset: Tensor | None, integer: bool, factor: float = 1.0) -> tuple[Tensor, Tensor]:
    """(scale in use, zero point), each of scale's shape (size,).

    Args:
        scale: (size,), any finite values.
        offset: (size,) in the quantized tensor's own units, or None for a symmetric quantizer: zero points of 0.
        integer: whether the zero point is a whole number.
        factor: multiplies the gradients of scale and offset.
    """
    if torch.compiler.is_compiling():
        return affine_plain(scale, offset, integer, factor)
    pair: tuple[Tensor, Tensor] = _Affine.apply(scale, offset, integer, factor)  # type: ignore[no-untyped-call]
    return pair


def affine_plain(scale: Tensor, offset: Tensor | None, integer: bool, factor: float = 1.0) -> tuple[Tensor, Tensor]:
    """:func:`affine` in plain tensor code: what the written-out gradients must equal, and what tracers see."""
    scale = scale_gradient(scale, factor)
    magnitude = torch.where(scale < 0, -scale, scale)
    used = magnitude.detach().clamp_min(SMALLEST_SCALE) + (magnitude - magnitude.detach())
    if offset is None:
        return used, torch.zeros_like(used)
    zero_point = scale_gradient(offset, factor) / -used
    if integer:
        zero_point = round_straight_through(zero_point).clamp(LOWEST_ZERO_POINT, HIGHEST_ZERO_POINT)
    return used, zero_point


class _Affine(torch.autograd.Function):
    """Written out, because a detector has hundreds of quantizers, and dozens of operations on tiny tensors add up."""

    @staticmethod
    def forward(ctx: Any, scale: Tensor, offset: Tensor | None, integer: bool, factor: float) -> tuple[Tensor, Tensor]:
        used = scale.abs().clamp_min_(SMALLEST_SCALE)
        ctx.factor = factor
        if offset is None:
            zero_point = torch.zeros_like(used)
            ctx.mark_non_differentiable(zero_point)
            ctx.save_for_backward(scale)
            return used, zero_point
        ratio = offset / -used
        zero_point = torch.round(ratio) if integer else ratio
        inside = None
        if integer:
            inside = (zero_point >= LOWEST_ZERO_POINT) & (zero_point <= HIGHEST_ZERO_POINT)
            zero_point = zero_point.clamp_(LOWEST_ZERO_POINT, HIGHEST_ZERO_POINT)
        ctx.save_for_backward(scale, used, ratio, inside)
        return used, zero_point

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_used: Tensor, to_zero_point: Tensor) -> tuple[Tensor | None, ...]:
        scale, *rest = ctx.saved_tensors
        to_offset = None
        if rest:
            used, ratio, inside = rest
            if inside is not None:
                to_zero_point = to_zero_point * inside
            # zero point = -offset / used: by the offset -1 / used, by the scale offset / used^2 = -ratio / used.
            per_scale = to_zero_point / used
            to_used = to_used - per_scale * ratio
            to_offset = per_scale * -ctx.factor
        to_used = to_used * ctx.factor
        return torch.where(scale < 0, -to_used, to_used), to_offset, None, None
