"""Weights between -1 and 1 through tanh, on a grid of levels without zero.

Source: Zhou et al., "DoReFa-Net: Training Low Bitwidth Convolutional Neural Networks with Low Bitwidth Gradients"
(arXiv 1606.06160), equations 5 and 9:

    w_q = 2 quantize_k(tanh(w) / (2 max|tanh(w)|) + 1/2) - 1        quantize_k(r) = round((2^k - 1) r) / (2^k - 1)

A network that is trained so from the start learns with weights up to 1. A pretrained one has its weights' size from a
factor here, the one of least squared error at calibration; nothing but the weights trains.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from ..recipe.definition import QuantizerSpec
from .base import QuantizedOperand, Quantizer
from .calibration.observer import Observed
from .calibration.ranges import Target, first_range
from .encoding import Encoding
from .kernels.affine import SMALLEST_SCALE
from .kernels.fused import along
from .kernels.reference import round_straight_through
from .steps import Step


@final
class DoReFa(Quantizer):
    """x_hat = size * w_q; the maximum is over the weights that share a scale.

    Attributes:
        size: buffer (size,), what the largest weight becomes; set by calibration.
    """

    title = "DoReFa"
    size: Tensor

    def __init__(self, spec: QuantizerSpec, operand: QuantizedOperand) -> None:
        super().__init__(spec, operand)
        self.register_buffer("size", torch.ones(operand.size))

    def own_initialiser(self) -> str:
        return "mse"

    def initialise(self, seen: Observed) -> None:
        init = self.spec.init or self.own_initialiser()
        scale, _ = first_range(init, seen, Target(self.grid, "none", is_weight=True), self.name)
        if init == "mse":
            found = self._restored(self._levels(seen.sample, 0), torch.ones_like(scale)[:, None])
            fitted = (found * seen.sample).sum(1) / found.square().sum(1)  # never zero: the grid has no zero
            self.size.copy_(torch.where(fitted > 0, fitted, SMALLEST_SCALE))
        else:
            self.size.copy_(scale * self.grid.hi)

    def quantize(self, x: Tensor) -> Tensor:
        self.require_calibrated()
        return self._restored(self._levels(x, self.operand.axis), along(self.size, x, self.operand.axis)).to(x.dtype)

    @torch.no_grad()
    def integers(self, x: Tensor) -> Tensor:
        self.require_calibrated()
        return (self._levels(x, self.operand.axis) + self.grid.lo).to(torch.int32)

    @torch.no_grad()
    def encoding(self) -> Encoding:
        self.require_calibrated()
        zero_point = torch.full_like(self.size, self._last / 2 + self.grid.lo)
        return Encoding(self.grid, self.operand.axis, self.size * (2 / self._last), zero_point, integer=False)

    def steps(self) -> tuple[Step, ...]:
        return ()

    @property
    def _last(self) -> int:
        """2^bits - 1, the last level."""
        return self.grid.hi - self.grid.lo

    def _levels(self, x: Tensor, axis: int | None) -> Tensor:
        """(2^k - 1) quantize_k(...), from 0 to 2^k - 1."""
        bent = torch.tanh(x)
        others = [index for index in range(x.dim()) if index != axis]
        largest = bent.abs().amax(others, keepdim=True)
        part = bent / (2 * largest.clamp_min(torch.finfo(x.dtype).tiny)) + 0.5
        return round_straight_through(part * self._last).clamp(0, self._last)

    def _restored(self, levels: Tensor, size: Tensor) -> Tensor:
        return size * (2 / self._last) * (levels - self._last / 2)
