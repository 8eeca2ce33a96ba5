"""The detector of ``original_detr.py`` with a shortcut that no graph can hold, for docs/own_model.md."""

from __future__ import annotations

from typing import Any

import torch
from original_detr import DETR, NestedTensor
from torch import nn


class Shortcut(DETR):
    def forward(self, samples: NestedTensor) -> dict[str, Any]:
        images, mask = samples.decompose()
        if mask.any():  # images without padding need no fill
            images = torch.where(mask[:, None], images.mean(), images)
        return super().forward(NestedTensor(images, mask))


def build(num_classes: int) -> nn.Module:
    return Shortcut(num_classes, width=16, queries=5, heads=2, encoder=1, decoder=1, dropout=0.1)
