"""One's own module is tried on blank images: each way to fail there is one message."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qrecipe import compile
from qrecipe.errors import ModelError
from qrecipe.models.families import build_family
from qrecipe.recipe.definition import LossSpec
from qrecipe.termination import Terminated
from tests.specimens import a_recipe


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 7)

    def outputs(self, images: Tensor) -> dict[str, Any]:
        both = self.layer(images.flatten(2)[..., :5].mT)
        return {"logits": both[..., :3], "pred_boxes": both[..., 3:].sigmoid()}

    def forward(self, images: Tensor) -> dict[str, Any]:
        return self.outputs(images)


class NeedsTargets(Base):
    def forward(self, images: Tensor, targets: Any = None) -> dict[str, Any]:  # type: ignore[override]
        out = self.outputs(images)
        if self.training:
            out["count"] = torch.tensor(max(len(one) for one in targets))  # HERE
        return out


class AlwaysNeedsTargets(Base):
    def forward(self, images: Tensor, targets: Any) -> dict[str, Any]:  # type: ignore[override]
        return self.outputs(images)


class NoQueries(Base):
    """What filters its detections finds none on a blank image."""

    def forward(self, images: Tensor) -> dict[str, Any]:
        return {name: value[:, :0] for name, value in self.outputs(images).items()}


class NoClasses(Base):
    def forward(self, images: Tensor) -> dict[str, Any]:
        out = self.outputs(images)
        return {**out, "logits": out["logits"][..., :0]}


class Exits(Base):
    def __init__(self, error: BaseException, training: bool) -> None:
        super().__init__()
        self.error, self.when = error, training

    def forward(self, images: Tensor) -> dict[str, Any]:
        if self.training == self.when:
            raise self.error
        return self.outputs(images)


class Aborted(BaseException):
    """A model's own way to end a program."""


def test_labels_that_it_needs_in_training_are_named() -> None:
    with pytest.raises(ModelError) as caught:
        build_family(NeedsTargets(), LossSpec())
    number = next(n for n, text in enumerate(Path(__file__).read_text().splitlines(), 1) if text.endswith("# HERE"))
    what = "in training it fails on blank (2, 3, 256, 256) images: TypeError: 'NoneType' object is not iterable"
    assert caught.value.what.startswith(what)
    assert f"test_own_trial.py:{number}: out[" in caught.value.what
    assert "its forward also takes targets, which it is not given" in str(caught.value.remedy)
    assert "if targets is not None" in str(caught.value.remedy)


def test_labels_that_it_always_needs_are_named() -> None:
    with pytest.raises(ModelError, match=r"missing 1 required positional argument: 'targets'.*also takes targets"):
        build_family(AlwaysNeedsTargets(), LossSpec())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (NoQueries(), r"its logits are \(1, 0, 3\) and its boxes \(1, 0, 4\): it has no queries"),
        (NoClasses(), r"its logits are \(1, 5, 0\) and its boxes \(1, 5, 4\): it has no classes"),
    ],
    ids=["queries", "classes"],
)
def test_without_queries_or_classes(model: nn.Module, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build_family(model, LossSpec())


@pytest.mark.parametrize("error", [SystemExit(3), Aborted("enough"), ValueError()], ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("training", [False, True])
def test_whatever_ends_a_forward_is_one_message(error: BaseException, training: bool) -> None:
    model = Exits(error, training)
    modes = {name: part.training for name, part in model.named_modules()}
    with pytest.raises(ModelError, match=re.escape(repr(error).partition("(")[0])) as caught:
        build_family(model, LossSpec())
    assert caught.value.what.startswith("in training it fails" if training else "it fails")
    assert {name: part.training for name, part in model.named_modules()} == modes


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Terminated(15)], ids=lambda one: type(one).__name__)
def test_an_interrupt_is_none_of_the_models_errors(error: BaseException) -> None:
    with pytest.raises(type(error)):
        build_family(Exits(error, False), LossSpec())


def test_modes_of_parts_are_left_as_they_were() -> None:
    model = Base().train()
    model.layer.eval()
    build_family(model, LossSpec())
    assert (model.training, model.layer.training) == (True, False)


def test_a_model_without_values_is_one_message() -> None:
    with torch.device("meta"):
        model = Base()
    with pytest.raises(ModelError, match=r"Base: it has no values yet: 2 .* meta device, first layer.weight"):
        compile(model, a_recipe())


def test_what_cannot_be_copied_is_one_message() -> None:
    model = Base()
    model.log = (line for line in ())  # type: ignore[assignment]
    with pytest.raises(ModelError, match=r"it cannot be copied: TypeError.*generator"):
        build_family(model, LossSpec())
