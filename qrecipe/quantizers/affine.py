"""From the trained numbers to those in use: a positive scale, and the zero point that an offset means.

    scale in use = max(|scale|, 1e-8)
    zero point   = -offset / scale in use, and where it is an integer: rounded, then clipped to -128 .. 127

The offset is in real units (LSQ+'s z): x_hat = scale * x_q + offset. Gradients are those of autograd with
straight-through rounding, written out because a detector has hundreds of quantizers and these tensors are tiny.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Below this a scale would make gradients of the zero point (offset / scale^2) overflow; no trained tensor needs it.
SMALLEST_SCALE = 1e-8
# Integer zero points are stored in 8 bits, whatever the grid.
LOWEST_ZERO_POINT = -128
HIGHEST_ZERO_POINT = 127


class _Affine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scale: Tensor, offset: Tensor, integer: bool) -> tuple[Tensor, Tensor]:
        used = scale.abs().clamp_min(SMALLEST_SCALE)
        zero_point = offset / -used
        if integer:
            zero_point = torch.round(zero_point)
        ctx.save_for_backward(scale, offset)
        ctx.integer = integer
        if integer:
            zero_point = zero_point.clamp(LOWEST_ZERO_POINT, HIGHEST_ZERO_POINT)
        return used, zero_point

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, to_used: Tensor, to_zero_point: Tensor) -> tuple[Tensor, Tensor, None]:
        scale, offset = ctx.saved_tensors
        used = scale.abs().clamp_min(SMALLEST_SCALE)
        ratio = offset / used
        if ctx.integer:
            rounded = torch.round(-ratio)
            inside = (rounded >= LOWEST_ZERO_POINT) & (rounded <= HIGHEST_ZERO_POINT)
            to_zero_point = torch.where(inside, to_zero_point, 0.0)
        to_offset = to_zero_point / -used
        to_scale = _signed(to_used - to_offset * ratio, scale)
        return to_scale, to_offset, None


class _Positive(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scale: Tensor) -> Tensor:
        ctx.save_for_backward(scale)
        return scale.abs().clamp_min(SMALLEST_SCALE)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, to_used: Tensor) -> Tensor:
        return _signed(to_used, *ctx.saved_tensors)


def _signed(gradient: Tensor, scale: Tensor) -> Tensor:
    """The gradient of |scale|, also at zero and below the smallest scale: a scale that fell there can come back."""
    return torch.where(scale < 0, -gradient, gradient)


def affine(scale: Tensor, offset: Tensor | None, integer: bool) -> tuple[Tensor, Tensor]:
    """(scale in use, zero point), each of scale's shape (size,).

    Args:
        scale: (size,), any finite values.
        offset: (size,) in the quantized tensor's own units, or None for a symmetric quantizer: zero points of 0.
        integer: whether the zero point is a whole number.
    """
    if offset is None:
        used: Tensor = _Positive.apply(scale)  # type: ignore[no-untyped-call]
        return used, torch.zeros_like(used)
    pair: tuple[Tensor, Tensor] = _Affine.apply(scale, offset, integer)  # type: ignore[no-untyped-call]
    return pair
