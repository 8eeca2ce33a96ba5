"""Calls of real-time and grouped detectors, eager and through their family, that their tests share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from qrecipe.models.families import Family
from qrecipe.recipe.definition import LossSpec
from tests.tiny_detectors import tiny_d_fine, tiny_deimv2, tiny_lw_detr, tiny_rf_detr, tiny_rt_detr, tiny_rt_detr_v2

Build = Callable[..., nn.Module]
REAL_TIME: dict[str, Build] = {
    "rt_detr": tiny_rt_detr,
    "rt_detr_v2": tiny_rt_detr_v2,
    "d_fine": tiny_d_fine,
    "deimv2": tiny_deimv2,
}
GROUPED: dict[str, Build] = {"lw_detr": tiny_lw_detr, "rf_detr": tiny_rf_detr}
EVERY = {**REAL_TIME, **GROUPED}
FINE = ("d_fine", "deimv2")
"""Boxes decoded from corners. transformers' auxiliary loss pairs them with another layer's logits and boxes."""
COUNTS = [(2, 1), (0, 3), (0, 0)]


PLAIN = LossSpec(denoising=False)


def run(family: Family, model: nn.Module, images: Tensor, mask: Tensor | None = None) -> tuple[Any, dict[str, Tensor]]:
    return family.forward(model, family.inputs(images, mask))


def train(family: Family, model: nn.Module, images: Tensor, labels: Any, seed: int = 5) -> Any:
    """Outputs and extras of a training step, with the noise of a seed."""
    torch.manual_seed(seed)
    return family.forward(model, family.training_inputs(images, None, labels))


def eager_loss(model: Any, images: Tensor, labels: Any, auxiliary: bool = True, seed: int | None = None) -> Tensor:
    """The model's own: with the noise of a seed, or with denoising off."""
    model.config.auxiliary_loss = auxiliary
    if seed is None:
        model.config.num_denoising = 0
    else:
        torch.manual_seed(seed)
    masks = {"pixel_mask": torch.ones_like(images[:, 0], dtype=torch.int64)} if "mask" in signature(model) else {}
    loss: Tensor = model(pixel_values=images, **masks, labels=labels).loss
    return loss


def signature(model: nn.Module) -> str:
    return " ".join(inspect.signature(model.forward).parameters)
