"""Fake quantization in plain tensor code: what the fused kernels must equal, and what runs where they cannot.

Integer zero point, as runtimes compute it: x_q = clip(round(x / scale) + zero_point, lo, hi).
Real zero point, LSQ+ as published:         x_q = clip(round(x / scale + zero_point), lo, hi).
Both: x_hat = scale * (x_q - zero_point). Rounding is half to even, and autograd passes straight through it.

Source: Esser et al., LSQ (ICLR 2020); Bhalgat et al., LSQ+ (CVPRW 2020), whose offset z is -scale * zero_point.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .grid import Grid


class _Round(torch.autograd.Function):
    """Half to even; the gradient passes as if nothing had been rounded."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.round(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def round_straight_through(x: Tensor) -> Tensor:
    """Round half to even; the gradient is the identity's."""
    if torch.compiler.is_compiling():
        # Tracers warn about autograd functions. x - x is 0 for all that is finite.
        return torch.round(x).detach() + (x - x.detach()) if torch.is_grad_enabled() else torch.round(x)
    rounded: Tensor = _Round.apply(x)  # type: ignore[no-untyped-call]
    return rounded


def quantize(x: Tensor, scale: Tensor, zero_point: Tensor, grid: Grid, integer: bool) -> Tensor:
    """The grid's integers x_q, as floating-point numbers; differentiable straight through the rounding.

    Args:
        x: any shape, floating point.
        scale: > 0, broadcasts against x.
        zero_point: broadcasts against x; whole numbers where ``integer``.
    """
    # A narrow x is computed in the scale's dtype; torch would not promote it by a scale without dimensions.
    ratio = (x.to(scale.dtype) if x.dtype in (torch.bfloat16, torch.float16) else x) / scale
    rounded = round_straight_through(ratio) + zero_point if integer else round_straight_through(ratio + zero_point)
    return torch.clamp(rounded, grid.lo, grid.hi)


def fake_quantize(x: Tensor, scale: Tensor, zero_point: Tensor, grid: Grid, integer: bool) -> Tensor:
    """x_hat in x's shape and dtype. Arguments as for :func:`quantize`."""
    restored = scale * (quantize(x, scale, zero_point, grid, integer) - zero_point)
    return restored if restored.dtype == x.dtype else restored.to(x.dtype)
