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
from .kernels.fused import along
from .kernels.power_of_two import power_of_two
from .kernels.scale_gradient import lsq_factor
from .steps import RelativeStep, Step


class AffineQuantizer(Quantizer):
    """x_hat = scale * (integer - zero point), uniform; LSQ's gradients where it learns.

    Single weights can be frozen, where :meth:`allow_freezing` was called: they are integers then, whatever the
    parameter is by now, and move with the scale alone.

    Attributes:
        learned: whether scale and offset train; else they stay as calibrated.
        scale: parameter (size,), may be any number: what is used is max(|scale|, 1e-8), or the
            power of two nearest to that.
        offset: parameter (size,) in the tensor's own units, LSQ+'s z; None where the spec says ``none``.
        is_frozen, frozen: buffers in the weight's shape, bool and int8: which are frozen, and to which integers.

    Raises: RecipeError for bits that do not exist.
    """

    learned: ClassVar[bool]
    scale: nn.Parameter
    offset: nn.Parameter | None
    is_frozen: Tensor
    frozen: Tensor

    def __init__(self, spec: QuantizerSpec, operand: QuantizedOperand) -> None:
        super().__init__(spec, operand)
        size = operand.size
        self._fixed: tuple[int, native.Rounding] | None = None
        self.integer = spec.offset != "real"
        self.scale = nn.Parameter(torch.ones(size), requires_grad=self.learned)
        self.offset = None if spec.offset == "none" else nn.Parameter(torch.zeros(size), requires_grad=self.learned)

    def allow_freezing(self) -> None:
        """Of a weight: from now on which of it is frozen is part of the state."""
        shape = [extent for extent in self.operand.shape if extent is not None]
        self.register_buffer("is_frozen", torch.zeros(shape, dtype=torch.bool, device=self.scale.device))
        self.register_buffer("frozen", torch.zeros(shape, dtype=torch.int8, device=self.scale.device))

    @torch.no_grad()
    def freeze(self, which: Tensor, integers: Tensor) -> None:
        """Freeze some weights beside those that are, for good. Both in the weight's shape, bool and whole numbers."""
        new = which & ~self.is_frozen
        self.frozen.copy_(torch.where(new, integers.to(self.frozen.dtype), self.frozen))
        self.is_frozen |= new
        self.read_buffers()

    def set_bits(self, bits: int) -> None:
        super().set_bits(bits)
        self._fixed = None

    def read_buffers(self) -> None:
        super().read_buffers()
        self._holds = "is_frozen" in self._buffers and bool(self.is_frozen.any())

    def quantize(self, x: Tensor) -> Tensor:
        rounded = self._rounded(x)
        if not self._holds:
            return rounded
        scale, zero_point = (along(value, x, self.operand.axis) for value in self.scale_and_zero_point())
        return torch.where(self.is_frozen, (scale * (self.frozen - zero_point)).to(x.dtype), rounded)

    def _rounded(self, x: Tensor) -> Tensor:
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
        scale, zero_point = (along(value, x, axis) for value in self.scale_and_zero_point())
        integers = reference.quantize(x, scale, zero_point, self.grid, self.integer).to(torch.int32)
        return torch.where(self.is_frozen, self.frozen.to(torch.int32), integers) if self._holds else integers

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
        if "is_frozen" in self._buffers:  # integers of another grid mean nothing on this one
            self.is_frozen.zero_()
        self.scale.copy_(scale)
        if self.offset is not None:
            self.offset.copy_(offset)

    def steps(self) -> tuple[Step, ...]:
        if not self.scale.requires_grad:
            return ()
        learns_offset = self.offset is not None and self.offset.requires_grad
        return (RelativeStep(self.scale, self.offset if learns_offset else None),)
