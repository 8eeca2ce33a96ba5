"""A training that would change nothing is an error before it starts."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qrecipe.errors import TrainError
from qrecipe.student import Student, compile
from qrecipe.train.module import TrainingModule
from qrecipe.train.rehearsal import rehearse
from tests.specimens import W4A4, a_recipe
from tests.toys import ToyDetector


class Without(ToyDetector):
    """Gradients end at what the heads read, or at all that is returned."""

    def __init__(self, heads: bool) -> None:
        super().__init__(layers=1)
        self.heads = heads

    def forward(self, pixel_values: Tensor) -> Any:
        with torch.no_grad():
            tokens = self.backbone(pixel_values).flatten(2).mT
            states = self.layers[0](self.queries.expand(len(tokens), -1, -1), tokens)
        with torch.set_grad_enabled(self.heads and torch.is_grad_enabled()):
            return {"logits": self.class_head(states), "pred_boxes": self.box_head(states).sigmoid()}


def compiled(model: nn.Module, quantize: Any = W4A4) -> Student:
    torch.manual_seed(0)
    return compile(model, a_recipe(quantize), torch.rand(2, 3, 64, 96))


@pytest.fixture(scope="module")
def none() -> Student:
    return compiled(Without(False))


def test_no_gradient_at_all(none: Student) -> None:
    learned = sum(1 for name, _ in none.named_parameters() if not name.startswith("fake_quantizers."))
    learned += len(none.quantizers)
    with pytest.raises(TrainError, match=rf"^training: no gradient reaches any of the {learned} .*torch.no_grad"):
        rehearse(TrainingModule(none))


def test_nothing_to_learn(none: Student) -> None:
    kept = [parameter for parameter in none.parameters() if parameter.requires_grad]
    none.requires_grad_(False)
    try:
        with pytest.raises(TrainError, match="there is nothing to learn: every parameter is frozen"):
            rehearse(TrainingModule(none))
    finally:
        for parameter in kept:
            parameter.requires_grad_()


def test_roles_that_no_gradient_reaches_are_named() -> None:
    rehearsal = rehearse(TrainingModule(compiled(Without(True), {})))
    assert set(rehearsal.roles) == {"backbone.stem", "backbone.body", "decoder.cross_attention"}
    assert re.match(r"no gradient reaches any weight of backbone.stem, ", rehearsal.notes()[0])
