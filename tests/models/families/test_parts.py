"""The loss of a step's parts against that of all its images at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qrecipe.models.families import build_family
from qrecipe.processes import Whole
from qrecipe.recipe.definition import LossSpec
from tests.tiny_detectors import (
    some_images,
    some_labels,
    stir,
    tiny_conditional_detr,
    tiny_demo,
    tiny_detr,
    tiny_grounding_dino,
    tiny_lw_detr,
    tiny_rt_detr,
)

MODELS: dict[str, Callable[..., nn.Module]] = {
    "detr": tiny_detr,
    "conditional_detr": tiny_conditional_detr,
    "lw_detr": tiny_lw_detr,
    "rt_detr": tiny_rt_detr,
    "grounding_dino": tiny_grounding_dino,
    "demo": tiny_demo,
}
SIDES = {"lw_detr": 64, "rt_detr": 64, "demo": 64}


def without_chance(model: nn.Module) -> nn.Module:
    """In training mode, but for what makes an image's output depend on others or on chance."""
    model.train()
    for part in model.modules():
        if isinstance(part, (nn.modules.batchnorm._BatchNorm, nn.Dropout)):
            part.eval()
    return model


@pytest.mark.parametrize("counts", [(2, 0, 3), (0, 0, 1), (0, 0, 0)])
@pytest.mark.parametrize("name", list(MODELS))
def test_the_mean_of_the_parts_is_the_loss_of_all(name: str, counts: tuple[int, ...]) -> None:
    model = without_chance(stir(MODELS[name]()))
    family = build_family(model, LossSpec(denoising=False))
    side = SIDES.get(name, 96)
    images, labels = some_images(3, side, side), some_labels(counts, family.classes)

    def loss(chosen: slice, whole: Whole | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        outputs, extras = family.forward(model, family.training_inputs(images[chosen], None, labels[chosen]))
        if whole is None:
            return family.loss(outputs, extras, labels[chosen])
        return family.part_of_loss(outputs, extras, labels[chosen], whole)

    expected, parts = loss(slice(None))
    found: list[Any] = [loss(slice(0, 2), Whole(counts, 2, 4 / 3)), loss(slice(2, 3), Whole(counts, 2, 2 / 3))]
    torch.testing.assert_close((found[0][0] + found[1][0]) / 2, expected, rtol=1e-4, atol=1e-5)
    for part, value in parts.items():
        torch.testing.assert_close((found[0][1][part] + found[1][1][part]) / 2, value, rtol=1e-4, atol=1e-4)


def test_a_softmax_of_ones_own_too() -> None:
    family = build_family(tiny_demo(), LossSpec(no_object=0.3))
    from qrecipe.detection.criterion import Criterion
    from qrecipe.detection.prediction import Prediction

    criterion = Criterion(family.classes, LossSpec(no_object=0.3), "softmax")
    generator = torch.Generator().manual_seed(0)
    logits, boxes = torch.randn(3, 4, 4, generator=generator), torch.rand(3, 4, 4, generator=generator)
    labels = some_labels((6, 0, 1), 3)  # the first has more objects than queries

    def loss(chosen: slice, whole: Whole | None) -> Tensor:
        earlier = ((logits[chosen].flip(1), boxes[chosen]),)
        return criterion(Prediction(logits[chosen], boxes[chosen], earlier), labels[chosen], whole)[0]

    halves = loss(slice(0, 1), Whole((6, 0, 1), 2, 1.0)), loss(slice(1, 3), Whole((6, 0, 1), 2, 1.0))
    torch.testing.assert_close(sum(halves) / 2, loss(slice(None), None))
