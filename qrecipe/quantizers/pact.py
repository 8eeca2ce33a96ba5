"""Activations clipped at a level that is learned.

Source: Choi et al., "PACT: Parameterized Clipping Activation for Quantized Neural Networks" (arXiv 1805.06085),
equations 1 to 3. The paper's activations are a ReLU's, clipped to 0 .. alpha; where calibration saw negative values
they are clipped to -alpha .. alpha here. The paper's penalty on alpha is left out.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from ..recipe.definition import QuantizerSpec
from .base import QuantizedOperand, Quantizer
from .calibration.observer import Observed
from .calibration.ranges import Target, first_range
from .encoding import Encoding
from .kernels import reference
from .kernels.affine import SMALLEST_SCALE
from .kernels.fused import along
from .kernels.reference import round_straight_through
from .steps import RelativeStep, Step


@final
class PACT(Quantizer):
    """y = 0.5 (|x| - |x - alpha| + alpha), rounded to 2^bits levels from 0 to alpha.

    Attributes:
        alpha: parameter (size,), > 0; its gradient is that of the values that are clipped there (equation 3).
        signed: buffer (size,), bool: whether the range is -alpha .. alpha.
    """

    title = "PACT"
    signed: Tensor

    def __init__(self, spec: QuantizerSpec, operand: QuantizedOperand) -> None:
        super().__init__(spec, operand)
        self.alpha = nn.Parameter(torch.ones(operand.size))
        self.register_buffer("signed", torch.zeros(operand.size, dtype=torch.bool))

    def own_initialiser(self) -> str:
        return "mse"

    def initialise(self, seen: Observed) -> None:
        init = self.spec.init or self.own_initialiser()
        scale, _ = first_range(init, seen, Target(self.grid, "none", is_weight=False), self.name)
        above, offset = first_range(init, seen, Target(self.grid, "integer", is_weight=False), self.name)
        self.signed.copy_(seen.minimum < 0)
        self.alpha.copy_(torch.where(self.signed, scale * self.grid.hi, above * self.grid.hi + offset))

    def quantize(self, x: Tensor) -> Tensor:
        self.require_calibrated()
        alpha = along(self._used(), x, self.operand.axis)
        low = torch.where(along(self.signed, x, self.operand.axis), -alpha, torch.zeros_like(alpha))
        # Equation 1: below the range the gradient of alpha is 0, or -1 where the range is signed; above it is 1.
        clipped = torch.where(x >= alpha, alpha, torch.where(x <= low, low, x))
        scale, zero_point = (along(value.detach(), x, self.operand.axis) for value in self._grid())
        # Equation 2; equation 3 has alpha's gradient from the clipping alone, so the step is no function of alpha.
        level = round_straight_through(clipped / scale).clamp(self.grid.lo - zero_point, self.grid.hi - zero_point)
        return (level * scale).to(x.dtype)

    @torch.no_grad()
    def integers(self, x: Tensor) -> Tensor:
        self.require_calibrated()
        scale, zero_point = (along(value, x, self.operand.axis) for value in self._grid())
        low = torch.where(along(self.signed, x, self.operand.axis), -self.grid.hi, self.grid.lo)
        return reference.quantize(x, scale, zero_point, self.grid, integer=True).maximum(low).to(torch.int32)

    @torch.no_grad()
    def encoding(self) -> Encoding:
        self.require_calibrated()
        scale, zero_point = self._grid()
        return Encoding(self.grid, self.operand.axis, scale, zero_point.to(torch.int32), integer=True)

    def steps(self) -> tuple[Step, ...]:
        return (RelativeStep(self.alpha),)

    def _used(self) -> Tensor:
        return self.alpha.clamp_min(SMALLEST_SCALE)

    @torch.no_grad()
    def _grid(self) -> tuple[Tensor, Tensor]:
        """Scale and zero point, (size,) each."""
        levels = torch.where(self.signed, self.grid.hi, self.grid.hi - self.grid.lo)
        scale = (self._used() / levels).clamp_min(SMALLEST_SCALE)
        return scale, torch.where(self.signed, 0, self.grid.lo).to(scale.dtype)
