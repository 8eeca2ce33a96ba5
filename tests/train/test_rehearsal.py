"""A rehearsed step leaves everything as it was; a training that would fail or change nothing does not start."""

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
from tests.specimens import W4A4, Specimen, a_recipe
from tests.toys import ToyDetector
from tests.train.distilled_pairs import pair


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


def everything(module: TrainingModule) -> dict[str, Any]:
    return {
        **{name: value.clone() for name, value in module.named_parameters()},
        **{name: value.clone() for name, value in module.named_buffers()},
        "modes": torch.tensor([one.mode == "on" for one in module.student.quantizers.values()]),
        "training": torch.tensor([part.training for part in module.modules()]),
        "random numbers": torch.get_rng_state(),
    }


@pytest.mark.parametrize("fails", [False, True])
def test_a_rehearsal_leaves_everything_as_it_was(
    specimen: Specimen, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = pair(specimen).eval()
    module.set_stage(["backbone"])
    before = everything(module)
    if fails:
        monkeypatch.setattr("qrecipe.train.module.distill_loss", lambda *_: (torch.tensor(torch.nan), torch.tensor(1)))
        with pytest.raises(TrainError, match="not finite"):
            rehearse(module)
    else:
        assert rehearse(module).loss.isfinite()
    for name, value in everything(module).items():
        assert torch.equal(value, before[name]), name
    assert module.student.quantized_roles == ("backbone",)
    assert all(parameter.grad is None for parameter in module.parameters())


def test_a_rehearsal_finds_what_would_fail(specimen: Specimen) -> None:
    module = pair(specimen)
    with torch.no_grad():
        for parameter in module.student.parameters():
            parameter.fill_(torch.nan)
    with pytest.raises(TrainError, match="not finite"):
        rehearse(module)


class Odd(ToyDetector):
    """Frozen, with an integer first among its parameters and a constant that cannot be written into."""

    def __init__(self) -> None:
        count = nn.Parameter(torch.arange(3), requires_grad=False)
        super().__init__()
        self._parameters = {"count": count, **self._parameters}
        self.register_buffer("mean", torch.tensor(0.5).expand(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)

    def forward(self, pixel_values: Tensor) -> Any:
        return super().forward(pixel_values - self.get_buffer("mean"))


def test_a_rehearsal_of_a_frozen_model() -> None:
    student = compile(Odd(), a_recipe(W4A4), torch.rand(2, 3, 64, 96))
    module = TrainingModule(student)
    rehearsal = rehearse(module, batch_size=1)
    assert rehearsal.loss.isfinite()
    assert not rehearsal.loss.requires_grad
    assert (rehearsal.parameters, rehearsal.quantizers) == ((), ())  # quantizers are learned


class Partly(ToyDetector):
    """Its backbone runs without gradients, and one of its heads leads to an output that nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(8, 2)

    def forward(self, pixel_values: Tensor) -> Any:
        with torch.no_grad():
            tokens = self.backbone(pixel_values).flatten(2).mT
        states = self.layers[0](self.queries.expand(len(tokens), -1, -1), tokens)
        spare = self.spare(states)
        states = self.layers[1](states, tokens)
        return {"logits": self.class_head(states), "pred_boxes": self.box_head(states).sigmoid(), "spare": spare}


def test_a_rehearsal_names_what_no_gradient_reaches() -> None:
    torch.manual_seed(0)
    student = compile(Partly(), a_recipe(W4A4), torch.rand(2, 3, 64, 96))
    rehearsal = rehearse(TrainingModule(student))
    unreached = {name for name, _ in student.named_parameters() if name.startswith(("backbone.", "spare."))}
    assert set(rehearsal.parameters) == unreached
    own = {f"{part}.{operand}" for part in ("backbone.0", "backbone.3", "spare") for operand in ("input", "weight")}
    shared = {site.quantizer for name, site in student.plan.sites.items() if name not in own}
    expected = {student.plan.sites[name].quantizer for name in own} - shared
    assert set(rehearsal.quantizers) == expected
    assert {student.plan.sites[name].quantizer for name in ("backbone.0.weight", "spare.weight")} <= expected
    roles, first, second = rehearsal.notes()
    assert roles.startswith("no gradient reaches any weight of backbone")
    assert first.startswith("no gradient reaches 8 parameters (backbone.0.weight, backbone.0.bias, ")
    assert "spare.bias): they stay as they are" in first
    assert re.match(r"no gradient reaches \d quantizers \(.*\): they stay as calibrated", second)
    assert student.family.notes == ("of its outputs in training spare are not read: no loss is taken of them",)
