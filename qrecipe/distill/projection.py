"""A student's features in its teacher's width."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from ..placement import Placement
from .features import TapLayout, query_features


@final
class WidthProjection(nn.Module):
    """A linear layer over the channels of a tap, as FitNets' regressor; it begins with orthonormal rows or columns.

    It is trained with the student and belongs to the training alone.

    Args:
        student, teacher: channels of the tap, all heads together. layout: of the student's tap.
        seed: of its first weights.

    Source: Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015 (arXiv 1412.6550), section 2.2.
    """

    def __init__(self, student: int, teacher: int, layout: TapLayout, seed: int, placement: Placement) -> None:
        super().__init__()
        self.layout = layout
        self.linear = nn.Linear(student, teacher, device="meta").to_empty(device="cpu")
        nn.init.orthogonal_(self.linear.weight, generator=torch.Generator().manual_seed(seed))
        nn.init.zeros_(self.linear.bias)
        self.linear.to(device=placement.device, dtype=placement.dtype)

    def forward(self, value: Tensor) -> Tensor:
        """A tapped value; (batch, queries, teacher's channels), or a map with so many channels in the same layout."""
        across = self.layout == "map" and value.ndim == 4
        features = value if self.layout == "map" else query_features(value, self.layout)
        projected: Tensor = self.linear(features.movedim(1, -1) if across else features)
        return projected.movedim(-1, 1) if across else projected
