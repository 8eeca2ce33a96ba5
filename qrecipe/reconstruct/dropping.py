"""Random dropping of activation quantization, which lets a block's weights see inputs with and without its error.

Source: Wei et al., "QDrop: Randomly Dropping Quantization for Extremely Low-bit Post-Training Quantization", ICLR 2022,
arXiv 2203.05740, equation 8.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn


def mixed(quantized: Tensor, real: Tensor, keep: float) -> Tensor:
    """Each value is the quantized one with the probability ``keep``, else the real one."""
    return torch.where(torch.rand_like(real) < keep, quantized, real)


@final
class DroppedQuantization(nn.Module):
    """Stands in for an activation's quantizer while its block is optimised.

    Args:
        quantizer: what quantizes. keep: the probability of the quantized value.
    """

    def __init__(self, quantizer: nn.Module, keep: float) -> None:
        super().__init__()
        self.quantizer = quantizer
        self.keep = keep

    def forward(self, x: Tensor) -> Tensor:
        return mixed(self.quantizer(x), x, self.keep)
