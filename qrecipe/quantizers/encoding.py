"""What a quantizer's integers mean: what an export writes beside them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .kernels.fused import along
from .kernels.grid import Grid


@dataclass(frozen=True)
class Encoding:
    """x_hat = scale * (integer - zero_point), with integers from grid.lo to grid.hi.

    grid: its bits and bounds. axis: the dimension that has its own scales; None is one scale.
    scale: (size,), > 0. zero_point: (size,); int32 in -128 .. 127 where ``integer``, else real, in levels.
    integer: whether a runtime's integer arithmetic can use it as it is.
    """

    grid: Grid
    axis: int | None
    scale: Tensor
    zero_point: Tensor
    integer: bool

    @property
    def offset(self) -> Tensor:
        """What integer 0 stands for, (size,), in the tensor's units: LSQ+'s z."""
        return -self.scale * self.zero_point

    def restore(self, integers: Tensor) -> Tensor:
        """x_hat in the scale's dtype. integers: as :meth:`Quantizer.integers` gives them, of any shape."""
        return along(self.scale, integers, self.axis) * (integers - along(self.zero_point, integers, self.axis))
