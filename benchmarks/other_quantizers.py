"""Other people's fake quantizers at the sites of a student, to compare what a training step costs.

Each row of ``OTHERS`` makes a module from one of ours, with its range, or returns None where its library has none of
that kind: the site then passes values as they are. A library that is not installed makes no modules at all.

- plain tensor code: LSQ+ as it is usually published, a dozen tensor operations, autograd keeps what they need.
- torch: ``_fake_quantize_learnable_per_tensor_affine`` and ``..._per_channel_affine``, LSQ in C++.
- Brevitas: ``RescalingIntQuant`` with a learned scale and zero point, without the layers around it.
- torchao: ``IntxFakeQuantizer``; weights of linear layers with learned ranges, activations of (..., tokens, channels)
  with a range per token that is found anew at every step. It has none for convolutions and none per head.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from qrecipe.quantizers import Quantizer
from qrecipe.quantizers.kernels.fused import along
from qrecipe.student import Student
from qrecipe.vocabulary import FAKE_QUANTIZERS

Make = Callable[[Quantizer], nn.Module | None]


class _RoundThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class _Ranged(nn.Module):
    """Scale and zero point of one of ours as parameters, shaped to broadcast; LSQ's factor."""

    def __init__(self, ours: Quantizer) -> None:
        super().__init__()
        encoding = ours.encoding()
        self.lo, self.hi = ours.grid.lo, ours.grid.hi
        self.axis = ours.operand.axis if ours.operand.size > 1 else None
        self.factor = float((max(int(ours.count), 1) * self.hi) ** -0.5)
        self.scale = nn.Parameter(encoding.scale.detach().clone())
        self.zero_point = nn.Parameter(encoding.zero_point.detach().float().clone())
        self.zero_point.requires_grad_(ours.spec.offset != "none")


class Plain(_Ranged):
    def forward(self, x: Tensor) -> Tensor:
        scale, zero_point = (self._shared(value, x) for value in (self.scale, self.zero_point))
        rounded: Tensor = _RoundThrough.apply(x / scale + zero_point)  # type: ignore[no-untyped-call]
        level = torch.clamp(rounded, self.lo, self.hi)
        return (level - zero_point) * scale

    def _shared(self, value: Tensor, x: Tensor) -> Tensor:
        factor = self.factor
        return along((value - value * factor).detach() + value * factor, x, self.axis)


class Learnable(_Ranged):
    def forward(self, x: Tensor) -> Tensor:
        bounds = self.lo, self.hi, self.factor
        if self.axis is None:
            return torch._fake_quantize_learnable_per_tensor_affine(x, self.scale, self.zero_point, *bounds)
        return torch._fake_quantize_learnable_per_channel_affine(x, self.scale, self.zero_point, self.axis, *bounds)


def plain() -> Make:
    return Plain


def learnable() -> Make:
    return Learnable


class _First(nn.Module):
    """The first of several results."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.inner(x)[0]
        return result


def brevitas() -> Make | None:
    core = _installed("brevitas.core")
    if core is None:
        return None
    quant, scaling, points, bits = (
        importlib.import_module(f"brevitas.core.{name}") for name in ("quant", "scaling", "zero_point", "bit_width")
    )
    view = importlib.import_module("brevitas.core.function_wrapper").Identity

    def make(ours: Quantizer) -> nn.Module:
        encoding, dims = ours.encoding(), len(ours.operand.shape)
        where = torch.empty([1] * dims)
        scale = along(encoding.scale.detach(), where, ours.operand.axis)
        zero_point = along(encoding.zero_point.detach().float(), where, ours.operand.axis)
        inner = quant.IntQuant(narrow_range=False, signed=True, input_view_impl=view())
        point = (
            points.ZeroZeroPoint()
            if ours.spec.offset == "none"
            else points.ParameterZeroPoint(zero_point, inner, False, tuple(zero_point.shape))
        )
        # The scale's parameter is the threshold: it is divided by what this makes of the bits.
        steps = scaling.IntScaling(signed=True, narrow_range=False)
        width = bits.BitWidthConst(ours.grid.bits)
        threshold = scale * float(steps(width()))
        learned = scaling.ParameterScaling(threshold, tuple(scale.shape))
        return _First(quant.RescalingIntQuant(inner, learned, steps, point, width))

    return make


def torchao() -> Make | None:
    qat = _installed("torchao.quantization.qat")
    if qat is None:
        return None
    kinds = importlib.import_module("torchao.quantization")
    integers = {bits: getattr(torch, f"int{bits}") for bits in (2, 3, 4, 5, 6, 7, 8)}

    def make(ours: Quantizer) -> nn.Module | None:
        shape, dtype = ours.operand.shape, integers[ours.grid.bits]
        if ours.operand.is_weight and len(shape) == 2:
            config = qat.IntxFakeQuantizeConfig(
                dtype, kinds.PerAxis(0), is_symmetric=True, is_dynamic=False, range_learning=True
            )
            made = qat.IntxFakeQuantizer(config)
            qat.initialize_fake_quantizers(made, (torch.ones([size or 1 for size in shape]),))
            made.scale.data.copy_(ours.encoding().scale.view_as(made.scale))
            weight: nn.Module = made
            return weight
        if not ours.operand.is_weight and len(shape) == 3:
            config = qat.IntxFakeQuantizeConfig(dtype, kinds.PerToken(), is_symmetric=False)
            activation: nn.Module = qat.IntxFakeQuantizer(config)
            return activation
        return None

    return make


def _installed(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ImportError:
            return None


OTHERS: dict[str, Callable[[], Make | None]] = {
    "plain tensor code": plain,
    "torch": learnable,
    "Brevitas": brevitas,
    "torchao": torchao,
}


def replace_quantizers(student: Student, make: Make) -> tuple[int, int]:
    """Put another quantizer at every site, in place; how many sites got one, of how many."""
    every = student.quantizers
    done = 0
    for name, ours in every.items():
        made = make(ours) if ours.mode == "on" else None
        done += made is not None
        owner, _, last = f"{FAKE_QUANTIZERS}.{name}".rpartition(".")
        student.get_submodule(owner).register_module(last, made or nn.Identity())
    return done, len(every)
