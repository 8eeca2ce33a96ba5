"""Quantizers with a scale and an offset as parameters: LSQ and its relatives, which differ in a few facts."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from ..recipe.definition import QuantizerSpec
from .base import QuantizedOperand, Quantizer
from .calibration.observer import Observed
from .calibration.powers import nearest_powers
from .calibration.ranges import Target, first_range
from .encoding import Encoding
from .kernels import fused, native, reference
from .kernels.affine import affine
from .kernels.power_of_two import power_of_two
from .kernels.scale_gradient import lsq_factor
from .steps import RelativeStep, Step


class AffineQuantizer(Quantizer):
    """x_hat = scale * (integer - zero point), uniform; LSQ's gradients where it learns.

    Attributes:
        learned: whether scale and offset train; else they stay as calibrated.
        scale: parameter (size,), may be any number: what is used is max(|scale|, 1e-8), or the
            power of two nearest to that.
        offset: parameter (size,) in the tensor's own units, LSQ+'s z; None where the spec says ``none``.

    Raises: RecipeError for bits that do not exist.
    """

    learned: ClassVar[bool]
    scale: nn.Parameter
    offset: nn.Parameter | None

    def __init__(self, spec: QuantizerSpec, operand: QuantizedOperand) -> None:
        super().__init__(spec, operand)
        size = operand.size
        self._fixed: tuple[int, native.Rounding] | None = None
        self.integer = spec.offset != "real"
        self.scale = nn.Parameter(torch.ones(size), requires_grad=self.learned)
        self.offset = None if spec.offset == "none" else nn.Parameter(torch.zeros(size), requires_grad=self.learned)

    def quantize(self, x: Tensor) -> Tensor:
        if self.spec.scale != "power_of_two" and native.supports(x, self.scale):
            self.require_calibrated()
            return native.fake_quantize(x, self.scale, self.offset, self._rounding())
        scale, zero_point = self.scale_and_zero_point()
        return fused.fake_quantize(x, scale, zero_point, self.grid, self.integer, self.operand.axis)

    def scale_and_zero_point(self) -> tuple[Tensor, Tensor]:
        """What is in use, (size,) each: scales > 0, and zero points (whole and in -128 .. 127, or real; or zeros).

        Raises: CalibrationError before calibration.
        """
        self.require_calibrated()
        scale, zero_point = affine(self.scale, self.offset, self.integer, self._factor())
        # The zero point is that of the scale behind the power, so that it stays where the power doubles.
        return (power_of_two(scale) if self.spec.scale == "power_of_two" else scale), zero_point

    def _factor(self) -> float:
        return lsq_factor(self._count, self.grid.hi)

    def _rounding(self) -> native.Rounding:
        if self._fixed is None or self._fixed[0] != self._count:
            rounding = native.Rounding(self.grid, self.spec.offset, self.operand.axis, self._factor())
            self._fixed = self._count, rounding
        return self._fixed[1]

    @torch.no_grad()
    def integers(self, x: Tensor) -> Tensor:
        axis = self.operand.axis
        scale, zero_point = (fused.along(value, x, axis) for value in self.scale_and_zero_point())
        return reference.quantize(x, scale, zero_point, self.grid, self.integer).to(torch.int32)

    @torch.no_grad()
    def encoding(self) -> Encoding:
        scale, zero_point = self.scale_and_zero_point()
        if self.integer:
            zero_point = zero_point.to(torch.int32)
        return Encoding(self.grid, self.operand.axis, scale, zero_point, self.integer)

    def initialise(self, seen: Observed) -> None:
        target = Target(self.grid, self.spec.offset, self.operand.is_weight)
        scale, offset = first_range(self.spec.init or self.own_initialiser(), seen, target, self.name)
        if self.spec.scale == "power_of_two":
            scale, offset = nearest_powers(scale, offset, seen, target)
        self.scale.copy_(scale)
        if self.offset is not None:
            self.offset.copy_(offset)

    def steps(self) -> tuple[Step, ...]:
        if not self.scale.requires_grad:
            return ()
        learns_offset = self.offset is not None and self.offset.requires_grad
        return (RelativeStep(self.scale, self.offset if learns_offset else None),)
