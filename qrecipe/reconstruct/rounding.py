"""Learned rounding of weights: each goes to the grid's point below or above it, whichever serves the block.

Source: Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization" (AdaRound), ICML 2020,
arXiv 2004.10568, equations 21 to 25.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from ..quantizers import Quantizer
from ..quantizers.kernels.fused import along

STRETCH = (-0.1, 1.1)
"""Gamma and zeta of equation 23: the sigmoid is stretched, so that 0 and 1 are reached."""
SHARPNESS = (20.0, 2.0)
"""Beta of equation 24 at the start of the regularisation and at its end."""
WARM_UP = 0.2
"""Part of the iterations without regularisation."""


@final
class LearnedRounding(nn.Module):
    """Stands in for a weight's quantizer while its rounding is learned; scales stay as they are.

    Args:
        quantizer: calibrated, with a whole zero point. weight: what it quantizes, any shape; it does not change.

    Attributes:
        position: parameter of weight's shape, V of equation 22; it starts where the soft value is the weight itself.
    """

    below: Tensor
    scale: Tensor
    zero_point: Tensor

    def __init__(self, quantizer: Quantizer, weight: Tensor) -> None:
        super().__init__()
        encoding = quantizer.encoding()
        scale, zero_point = (along(part, weight, encoding.axis) for part in (encoding.scale, encoding.zero_point))
        ratio = weight.detach() / scale + zero_point
        low, high = STRETCH
        part = (ratio - ratio.floor()).clamp(1e-4, 1 - 1e-4)
        self.grid = quantizer.grid
        self.position = nn.Parameter(torch.logit((part - low) / (high - low)))
        for name, value in (("below", ratio.floor()), ("scale", scale), ("zero_point", zero_point)):
            self.register_buffer(name, value)

    def share(self) -> Tensor:
        """h(V) of equation 23, between 0 (the point below) and 1 (the point above)."""
        low, high = STRETCH
        return (torch.sigmoid(self.position) * (high - low) + low).clamp(0, 1)

    def forward(self, weight: Tensor) -> Tensor:
        """The soft-quantized weight, in its shape; what is passed in was read at the start."""
        return self._restored(self.below + self.share())

    def rounded(self) -> Tensor:
        """The weight on the grid, each value at the point below or above it, inside the grid's bounds."""
        with torch.no_grad():
            return self._restored(self.below + (self.share() >= 0.5))

    def penalty(self, progress: float) -> Tensor:
        """f_reg of equation 24, a mean over the weights: 0 where all are decided. progress: 0 to 1."""
        if progress < WARM_UP:
            return self.position.new_zeros(())
        first, last = SHARPNESS
        beta = first + (last - first) * (progress - WARM_UP) / (1 - WARM_UP)
        return (1 - (2 * self.share() - 1).abs() ** beta).mean()

    def _restored(self, integers: Tensor) -> Tensor:
        return self.scale * (integers.clamp(self.grid.lo, self.grid.hi) - self.zero_point)
