"""The table of families: every row reads a model of its own, and a row is all that a new one needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qrecipe.detection.prediction import Prediction
from qrecipe.errors import ModelError
from qrecipe.models.demo import DemoDetector
from qrecipe.models.families import (
    FAMILIES,
    Family,
    FamilyRow,
    Labels,
    build_family,
    family_of_type,
    find_family,
    published_classes,
)
from qrecipe.models.loading.build import build_model
from qrecipe.recipe import recipe_from_mapping
from qrecipe.recipe.definition import InputSpec, LossSpec
from qrecipe.student import capture_original, make_student
from tests.specimens import W4A4, a_recipe
from tests.tiny_detectors import TINY, some_images, some_labels


class Own(nn.Module):
    """One's own detector."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 8)

    def forward(self, image: Tensor) -> Any:
        both = self.layer(image.flatten(2)[..., :5].transpose(1, 2))
        return {"logits": both[..., :4], "pred_boxes": both[..., 4:].sigmoid()}


def test_every_row_reads_a_model_of_its_own() -> None:
    models = {**{name: build() for name, build in TINY.items()}, "generic": Own()}
    assert set(models) == set(FAMILIES)
    for name, model in models.items():
        assert find_family(model) == name
        family = build_family(model, LossSpec())
        assert family.name == name
        labels = some_labels((1, 0))
        given = family.training_inputs(some_images(2), None, labels)
        total, _ = family.loss(*family.forward(model.train(), given), labels)
        assert torch.isfinite(total)
        assert family.input(InputSpec()) == family.default_input


def test_a_subclass_is_of_its_bases_family() -> None:
    class Mine(DemoDetector):  # type: ignore[misc]
        pass

    assert find_family(Mine(3, width=8, queries=4, heads=2)) == "demo"


def test_another_detector_of_transformers() -> None:
    from transformers import PreTrainedConfig, PreTrainedModel

    class OddForObjectDetection(PreTrainedModel):
        config_class = PreTrainedConfig

    model = OddForObjectDetection(PreTrainedConfig())
    with pytest.raises(ModelError, match="OddForObjectDetection") as caught:
        find_family(model)
    assert "model.family: generic" in str(caught.value)
    with pytest.raises(ModelError, match="pp_doclayout_v2"):
        family_of_type("pp_doclayout_v2")


def test_unknown_name() -> None:
    with pytest.raises(ModelError, match='did you mean "deimv2"'):
        build_family(Own(), LossSpec(), name="deimv3")


def test_a_family_that_does_not_fit() -> None:
    with pytest.raises(ModelError, match="cannot be read as detr"):
        build_family(Own(), LossSpec(), name="detr")


class ToyFamily(Family):
    """Reads a detector whose output nobody else could: both heads in one tensor."""

    @classmethod
    def of(cls, model: nn.Module, loss_spec: LossSpec, classes: int | None = None) -> ToyFamily:
        return cls("toy", "sigmoid", InputSpec(size=(64, 64), mask=False), loss_spec, 4)

    def inputs(self, pixel_values: Tensor, pixel_mask: Tensor | None) -> dict[str, Tensor]:
        return {"image": pixel_values}

    def forward(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        return model(**inputs), {}

    def read(self, outputs: Any, extras: Mapping[str, Tensor]) -> Prediction:
        return Prediction(outputs[..., :4], outputs[..., 4:].sigmoid())

    def loss(self, outputs: Any, extras: Mapping[str, Tensor], labels: Labels) -> tuple[Tensor, dict[str, Tensor]]:
        total = self.read(outputs, extras).logits.square().mean()
        return total, {"class": total.detach()}

    def is_head(self, key: str, built: Sequence[int], stored: Sequence[int]) -> bool:
        return key == "layer.weight"


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 8, 16, stride=16)
        self.layer = nn.Linear(8, 8)

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.layer(self.body(image).relu().flatten(2).transpose(1, 2))
        return out


def test_a_new_family_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by the model's class, named in a recipe, captured, quantized and trained: nothing else knows its name."""
    with pytest.raises(ModelError, match="no logits and boxes"):
        build_family(Toy(), LossSpec())
    monkeypatch.setitem(FAMILIES, "toy", FamilyRow(ToyFamily.of, "tests.Toy", classes=7))
    assert find_family(Toy()) == "toy"
    assert published_classes("toy") == 7
    spec = recipe_from_mapping({"version": 1, "model": {"factory": f"{__name__}:Toy", "family": "toy"}}).model
    built = build_model(spec, [(number, f"category {number}") for number in range(4)])
    assert isinstance(built.family, ToyFamily)
    student = make_student(capture_original(built.model, built.family, built.input), a_recipe(W4A4))
    assert {"body.weight", "layer.weight"} <= set(student.plan.sites)
    student.switch_off()
    images = some_images(2, 64, 96)
    torch.testing.assert_close(student.eval().predict(images).logits, built.model(images)[..., :4])
    found = student.train().run(built.family.training_inputs(images, None, some_labels((1, 1))))
    total, _ = built.family.loss(found.outputs, found.extras, some_labels((1, 1)))
    total.backward()
    assert student.get_parameter("body.weight").grad is not None
