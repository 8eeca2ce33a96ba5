"""Fake quantization with kernels that torch compiles: one pass forward, one backward, only the inputs kept in between.

For what :mod:`native` does not take: CUDA, bfloat16, scales that are powers of two. Equal to the reference bit for bit
forward, and to rounding of the sums backward. The reference runs instead for tensors that the kernels do not take
(float64) or that are small, while a graph is traced or exported, under a dispatch mode (counting operations, fake
tensors), without a C++ compiler, and where the environment says QRECIPE_FUSED=0.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import reference
from .compiled import DEVICES, DTYPES, backward_kernel, backward_rows, forward_kernel, forward_rows, grid_tensor
from .grid import Grid
from .layout import Rows, rows_of

# Below so many values the compiled call's own cost, about 0.1 ms, is more than it saves.
SMALLEST = 2**15

Result = TypeVar("Result")


def fake_quantize(
    x: Tensor, scale: Tensor, zero_point: Tensor, grid: Grid, integer: bool, axis: int | None = None
) -> Tensor:
    """x_hat in x's shape and dtype; gradients for x, scale and zero point.

    Args:
        x: any shape and strides, floating point.
        scale: (size,), > 0.
        zero_point: (size,), whole numbers where ``integer``.
        axis: the dimension of x that has its own scales, x.shape[axis] = size; None where size is 1.

    Source: see :mod:`qrecipe.quantizers.kernels.reference`.
    """
    rows = rows_of(x, scale.numel(), axis) if _supported(x, scale) else None
    if rows is None or forward_kernel(x.dtype, x.device) is None:
        return reference.fake_quantize(x, along(scale, x, axis), along(zero_point, x, axis), grid, integer)
    if torch.is_grad_enabled() and (x.requires_grad or scale.requires_grad or zero_point.requires_grad):
        result: Tensor = _FakeQuantize.apply(x, scale, zero_point, grid, integer, rows)  # type: ignore[no-untyped-call]
        return result
    with torch.no_grad():
        return _forward(x, scale, zero_point, grid, integer, rows)


def along(values: Tensor, x: Tensor, axis: int | None) -> Tensor:
    """(size,) shaped to broadcast against x along ``axis``."""
    if axis is None or values.numel() == 1:
        return values.view([1] * x.dim())
    return values.view([-1 if dim == axis % x.dim() else 1 for dim in range(x.dim())])


def _supported(x: Tensor, scale: Tensor) -> bool:
    return (
        type(x) in (Tensor, torch.nn.Parameter)
        and x.numel() >= SMALLEST
        and x.dtype in DTYPES
        and scale.dtype == torch.float32
        and x.device.type in DEVICES
        and os.environ.get("QRECIPE_FUSED") != "0"
        and not torch.compiler.is_compiling()
        and torch._C._get_tracing_state() is None
        and torch._C._len_torch_dispatch_stack() == 0
    )


def _run(kernel: Callable[..., Result], *tensors: Tensor) -> Result:
    """Call a kernel in the one state that it is compiled for: gradients are off already, autocast must be."""
    if not torch.is_autocast_enabled(tensors[0].device.type):
        return kernel(*tensors)
    with torch.autocast(tensors[0].device.type, enabled=False):
        return kernel(*tensors)


def _forward(x: Tensor, scale: Tensor, zero_point: Tensor, grid: Grid, integer: bool, rows: Rows) -> Tensor:
    kernel = forward_kernel(x.dtype, x.device) or forward_rows
    limits = grid_tensor(grid, integer, x.device)
    return rows.write(_run(kernel, rows.read(x), rows.spread(scale), rows.spread(zero_point), limits))


class _FakeQuantize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, zero_point: Tensor, grid: Grid, integer: bool, rows: Rows
    ) -> Tensor:
        ctx.save_for_backward(x, scale, zero_point)
        ctx.grid, ctx.integer, ctx.rows = grid, integer, rows
        return _forward(x, scale, zero_point, grid, integer, rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, zero_point = ctx.saved_tensors
        rows: Rows = ctx.rows
        kernel = backward_kernel(x.dtype, x.device) or backward_rows
        limits = grid_tensor(ctx.grid, ctx.integer, x.device)
        to_x, to_scale, to_zero_point = _run(
            kernel, rows.read(gradient), rows.read(x), rows.spread(scale), rows.spread(zero_point), limits
        )
        needs = ctx.needs_input_grad
        return (
            rows.write(to_x) if needs[0] else None,
            rows.gather(to_scale) if needs[1] else None,
            rows.gather(to_zero_point) if needs[2] else None,
            None,
            None,
            None,
        )
