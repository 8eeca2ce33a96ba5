"""Fake quantization of float32 on a CPU in C++: one function for a whole quantizer, from its parameters on.

A detector has hundreds of quantizers, most of them small: what a call costs counts more than what it computes. Here
that is one autograd function and one call each way, which keeps the input and nothing else. Values equal the
reference's bit for bit, gradients to rounding of the sums, whatever the number of threads.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .grid import Grid
from .layout import cut_of
from .library import library

PIECE = 4096
"""Values that are summed in float32 before sums become float64; also the smallest part of a thread's work."""
ALONE = 2**15
"""Fewer values are not worth a second thread."""

Offset = Literal["none", "integer", "real"]
_KINDS: dict[Offset, int] = {"none": 0, "integer": 1, "real": 2}


@dataclass(frozen=True)
class Rounding:
    """What of a quantizer does not train. axis: the dimension with scales of its own. factor: of the gradients."""

    grid: Grid
    offset: Offset
    axis: int | None
    factor: float


def supports(x: Tensor, scale: Tensor) -> bool:
    """Whether :func:`fake_quantize` takes these; what else there is runs elsewhere."""
    return (
        not torch.compiler.is_compiling()  # first: a tracer makes guards of the other questions
        and x.dtype == torch.float32
        and scale.dtype == torch.float32
        and x.device.type == scale.device.type == "cpu"
        and type(x) in (Tensor, torch.nn.Parameter)
        and torch._C._get_tracing_state() is None
        and torch._C._len_torch_dispatch_stack() == 0
        and x.numel() > 0
        and os.environ.get("QRECIPE_FUSED") != "0"
        and library() is not None
    )


def fake_quantize(x: Tensor, scale: Tensor, offset: Tensor | None, rounding: Rounding) -> Tensor:
    """x_hat in x's shape; gradients for x, scale and offset.

    Its memory is laid out as x's where that is dense, else by rows.

    Args:
        x: that :func:`supports`.
        scale: (size,), any values; max(|scale|, 1e-8) is used. offset: (size,) in x's units, None for ``none``.
    """
    scale, offset = scale.contiguous(), None if offset is None else offset.contiguous()
    if torch.is_grad_enabled() and (
        x.requires_grad or scale.requires_grad or (offset is not None and offset.requires_grad)
    ):
        result: Tensor = _FakeQuantize.apply(x, scale, offset, rounding)  # type: ignore[no-untyped-call]
        return result
    return _forward(x.detach(), scale, offset, rounding)[0]


def _forward(x: Tensor, scale: Tensor, offset: Tensor | None, rounding: Rounding) -> tuple[Tensor, Tensor]:
    """The result, and x with the same memory order."""
    cut = _cut(x, scale, rounding)
    if cut is None:
        x = x.contiguous()
        cut = _cut(x, scale, rounding)
        assert cut is not None
    result = torch.empty_like(x)
    kernels = library()
    assert kernels is not None
    kernels.fake_quantize_forward(
        x.data_ptr(),
        scale.data_ptr(),
        None if offset is None else offset.data_ptr(),
        result.data_ptr(),
        *cut,
        PIECE,
        rounding.grid.lo,
        rounding.grid.hi,
        _KINDS[rounding.offset],
        _threads(x),
    )
    return result, x


def _cut(x: Tensor, scale: Tensor, rounding: Rounding) -> tuple[int, int, int] | None:
    return cut_of(tuple(x.shape), None if x.is_contiguous() else x.stride(), scale.numel(), rounding.axis)


def _threads(x: Tensor) -> int:
    return torch.get_num_threads() if x.numel() >= ALONE else 1


class _FakeQuantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, offset: Tensor | None, rounding: Rounding) -> Tensor:
        result, x = _forward(x, scale, offset, rounding)
        ctx.save_for_backward(x, scale, offset)
        ctx.rounding = rounding
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, offset = ctx.saved_tensors
        rounding: Rounding = ctx.rounding
        cut = _cut(x, scale, rounding)
        assert cut is not None
        to_x = torch.empty_like(x)
        if gradient.stride() != x.stride():
            gradient = to_x.copy_(gradient)  # read and written place by place
        _, wants_scale, wants_offset, _ = ctx.needs_input_grad
        wants = wants_scale or wants_offset
        to_scale = torch.empty_like(scale) if wants else None
        to_offset = torch.empty_like(offset) if wants and offset is not None else None
        kernels = library()
        assert kernels is not None
        outer, size, inner = cut
        sums = torch.empty(2 * outer * size * -(-inner // PIECE), dtype=torch.float64)
        kernels.fake_quantize_backward(
            gradient.data_ptr(),
            x.data_ptr(),
            scale.data_ptr(),
            None if offset is None else offset.data_ptr(),
            to_x.data_ptr(),
            None if to_scale is None else to_scale.data_ptr(),
            None if to_offset is None else to_offset.data_ptr(),
            sums.data_ptr(),
            outer,
            size,
            inner,
            PIECE,
            rounding.grid.lo,
            rounding.grid.hi,
            _KINDS[rounding.offset],
            rounding.factor,
            _threads(x),
        )
        return to_x, to_scale if wants_scale else None, to_offset if wants_offset else None, None
