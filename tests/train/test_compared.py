"""What of a student is compared with what of its teacher, and a teacher that does not fit."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from torch import Tensor, nn

from qrecipe.data.labels import LabelMap
from qrecipe.errors import PlanError, PlanErrors, RecipeErrors, TrainError
from qrecipe.models.families import build_family
from qrecipe.recipe.definition import LossSpec
from qrecipe.student import Student, make_student
from qrecipe.train.module import TrainingModule
from tests.specimens import TARGETS, W4A4, Specimen, a_recipe, prepared
from tests.toys import ToyDetector, captured_toy
from tests.train.distilled_pairs import OUTPUT

EVERY = [{"at": OUTPUT, "layers": "all", "weight": 0.7, "match": {"tau": 0.3}}]


def other(toy: Specimen, model: nn.Module, targets: Any) -> Student:
    original = dataclasses.replace(toy.original, captured=captured_toy(prepared(model)))
    return make_student(original, a_recipe(targets=targets))


def test_a_teacher_is_needed_and_must_fit(toy: Specimen) -> None:
    every = EVERY
    student = toy.student(a_recipe(W4A4, targets=every))
    with pytest.raises(PlanError, match=r"distill\.targets: the recipe distils, so a teacher is needed"):
        TrainingModule(student)
    with pytest.raises(PlanError, match=r"targets\[0\]: .*output.0: the student's feature has 8 .* the teacher's 16"):
        TrainingModule(student, other(toy, ToyDetector(width=16), every))
    with pytest.raises(PlanError, match=r"the teacher has 1 taps at .*, the student 2 \(use layers: last"):
        TrainingModule(student, other(toy, ToyDetector(layers=1), every))
    with pytest.raises(PlanError, match="the teacher has 0 taps"):
        TrainingModule(student, toy.student(a_recipe()))


def names(module: TrainingModule) -> list[tuple[str, str]]:
    """The paired taps of the only target."""
    (pairs,) = module.pairs
    return [(mine.name, his.name) for mine, his in pairs]


def test_a_loss_goes_with_what_it_compares_and_with_the_scores(toy: Specimen) -> None:
    """The toy's scores are sigmoids."""
    with pytest.raises(PlanErrors, match=r"targets\[0\]\.loss: kl compares softmax .* sigmoid \(set loss: bce\)"):
        toy.student(a_recipe(targets=[{"at": "head.class", "loss": "kl"}]))
    for target, said in (
        ({"at": "head.class"}, r"l2 does not compare classes, which head.class has \(set loss: kl or bce\)"),
        (
            {"at": OUTPUT, "loss": "giou"},
            r"giou does not compare features, .*set loss: l2, relative, mse or cosine",
        ),
        ({"at": "encoder.output"}, r"l2 does not compare maps, .* \(set loss: relative, mse or cosine\)"),
        ({"at": "encoder.output", "loss": "mse", "match": {}}, r"match: encoder.output is compared where it is"),
        ({"at": "head.box", "loss": "l1", "layers": "all"}, r"layers: head.box is what the last .* \(remove it\)"),
    ):
        with pytest.raises(RecipeErrors, match=said):
            a_recipe(targets=[target])
    with pytest.raises(RecipeErrors, match=r"quantize.equalize: equalize scales .* backbone.output compares"):
        a_recipe({"equalize": True}, targets=[{"at": "backbone.output", "loss": "mse"}])


def test_maps_of_other_sizes_are_refused_before_they_are_compared(toy: Specimen) -> None:
    targets = [{"at": "backbone.output", "loss": "relative"}]
    model = ToyDetector()
    model.backbone[0] = nn.Conv2d(3, 8, 3, padding=1)
    module = TrainingModule(toy.student(a_recipe(targets=targets)), other(toy, model, targets))
    with pytest.raises(TrainError, match=r"backbone.output.0: the student's map is 8x\d+x\d+, the teacher's 8x64x96"):
        module(toy.batch())
    narrow = other(toy, ToyDetector(width=16), targets)
    with pytest.raises(PlanErrors, match=r"backbone.output.0: the student's feature has 8 .* the teacher's 16"):
        TrainingModule(toy.student(a_recipe(targets=targets)), narrow)


class _Repeating(ToyDetector):
    """Its predictions are twice as many as the queries of its decoder."""

    def forward(self, pixel_values: Tensor) -> dict[str, Any]:
        found = super().forward(pixel_values)
        twice = {key: found[key].repeat(1, 2, 1) for key in ("logits", "pred_boxes")}
        return {**twice, "aux_outputs": []} if self.training else twice


def test_predictions_that_are_not_those_of_the_decoder_s_queries(toy: Specimen) -> None:
    recipe = a_recipe(targets=TARGETS)
    original = dataclasses.replace(toy.original, captured=captured_toy(prepared(_Repeating())))
    module = TrainingModule(make_student(original, recipe), make_student(original, recipe))
    with pytest.raises(TrainError, match=r"output\.1 has 4 queries, the predictions have 8: .*distil head\.class"):
        module(toy.batch())


def test_classes_of_the_teacher_are_the_students(toy: Specimen) -> None:
    target = [{"at": "head.class", "loss": "bce"}]
    recipe = a_recipe(W4A4, targets=target)
    student, teacher = toy.student(recipe), toy.student(a_recipe(targets=target))
    cat, dog = {1: 0, 2: 1}, {1: 1, 2: 0}
    student.label_map = LabelMap(cat, {1: "cat", 2: "dog"}, 5)
    teacher.label_map = LabelMap(dog, {1: "cat", 2: "dog"}, 5)
    with pytest.raises(PlanErrors, match=r"stand for other categories .*labels alike"):
        TrainingModule(student, teacher)
    teacher.label_map = student.label_map
    assert TrainingModule(student, teacher).pairs == [[]]
    teacher.family = build_family(prepared(ToyDetector(columns=6)), LossSpec())
    with pytest.raises(PlanErrors, match="the student scores 5 classes by sigmoid, the teacher 6 by sigmoid"):
        TrainingModule(student, teacher)


def test_a_teacher_may_have_other_layers_where_the_last_is_distilled(toy: Specimen) -> None:
    student = toy.student(a_recipe(targets=TARGETS))
    module = TrainingModule(student, other(toy, ToyDetector(layers=1), TARGETS))
    assert names(module) == [(f"{OUTPUT}.1", f"{OUTPUT}.0")]
    assert module(toy.batch())[0].isfinite()


def test_the_last_layers_correspond(toy: Specimen) -> None:
    every = EVERY
    student = toy.student(a_recipe(targets=every))
    module = TrainingModule(student, other(toy, ToyDetector(layers=3), every))
    assert names(module) == [(f"{OUTPUT}.0", f"{OUTPUT}.1"), (f"{OUTPUT}.1", f"{OUTPUT}.2")]
