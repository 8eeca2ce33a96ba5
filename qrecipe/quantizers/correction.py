"""What a quantized weight adds to its layer's output on average, taken out again at the layer's bias.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (ICCV 2019,
arXiv 1906.04721), equation 16, with the mean input from calibration data instead of BatchNorm's statistics.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn


@final
class BiasCorrection(nn.Module):
    """Stands between a bias, or nothing, and the layers that read it.

    Attributes:
        bias: parameter (channels,), E[W x] - E[W_hat x]; zero until calibration sets it. Training leaves it as it is,
            for the bias beside it trains; reconstruction may move it where there is none.
        on: whether it is added; it goes with its weight's quantizer.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels), requires_grad=False)
        self.on = False

    def forward(self, bias: Tensor | None) -> Tensor | None:
        """The bias (channels,) to add; None where there is none and nothing is corrected."""
        if not self.on:
            return bias
        return self.bias if bias is None else bias + self.bias

    def extra_repr(self) -> str:
        return f"{self.bias.numel()} channels, {'on' if self.on else 'off'}"
