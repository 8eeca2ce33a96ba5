"""Scales that are powers of two: what multiplies and shifts of many NPUs need."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .affine import SMALLEST_SCALE


class _PowerOfTwo(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scale: Tensor) -> Tensor:
        power = nearest_power(scale)
        ctx.save_for_backward(power / scale)
        return power

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (ratio,) = ctx.saved_tensors
        return gradient * ratio  # type: ignore[no-any-return]


def power_of_two(scale: Tensor) -> Tensor:
    """2^round(log2 scale); the gradient passes straight through the rounding of the exponent.

    scale: > 0. By log(scale), in which training steps, the derivative is the power itself.
    """
    if torch.compiler.is_compiling():
        return scale * (nearest_power(scale.detach()) / scale.detach())
    power: Tensor = _PowerOfTwo.apply(scale)  # type: ignore[no-untyped-call]
    return power


def nearest_power(scale: Tensor) -> Tensor:
    """The power of two nearest to a scale > 0 by its exponent, exactly; at least that of the smallest scale."""
    mantissa, exponent = torch.frexp(scale.detach())
    exponent = torch.where(mantissa < math.sqrt(0.5), exponent - 1, exponent)
    least = math.ceil(math.log2(SMALLEST_SCALE))
    return torch.ldexp(torch.ones_like(scale), exponent.clamp_min(least))


def power_candidates(scale: Tensor) -> tuple[Tensor, Tensor]:
    """The powers of two at or below a scale, and at or above it."""
    mantissa, exponent = torch.frexp(scale.detach())
    below = torch.ldexp(torch.ones_like(scale), exponent - 1)
    return below, torch.where(mantissa == 0.5, below, below * 2)
