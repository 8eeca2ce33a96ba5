"""A saved student comes back bit for bit, from its recipe or over a model that is given."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import pytest
import torch

from qrecipe.data.labels import LabelMap
from qrecipe.errors import ModelError, TrainError
from qrecipe.models.loading.build import build_model
from qrecipe.planning import describe
from qrecipe.recipe import recipe_from_mapping
from qrecipe.run.checkpoint import load_checkpoint
from qrecipe.run.seal import SEAL, sealed
from qrecipe.student import Student, calibrate, capture_original, make_plan, make_student, real_valued
from qrecipe.student.store import load, save
from tests.specimens import ALIGN, TARGETS, W4A4, Specimen, a_recipe, images, prepared
from tests.toys import ToyDetector


def assert_same(student: Student, other: Student) -> None:
    mine, theirs = student.state_dict(), other.state_dict()
    assert list(mine) == list(theirs)
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    pixels = images(3, 40, 48)[0].to(next(student.parameters()).dtype)
    for mode in (True, False):
        copies = [copy.deepcopy(one).train(mode) for one in (student, other)]
        (outputs, taps), (others, other_taps) = (one.with_taps(pixels) for one in copies)
        assert torch.equal(outputs["logits"], others["logits"])
        assert torch.equal(outputs["pred_boxes"], others["pred_boxes"])
        assert taps.keys() == other_taps.keys()
        assert all(torch.equal(taps[name], other_taps[name]) for name in taps)
    assert student.quantized_roles == other.quantized_roles
    assert describe(student.plan) == describe(other.plan)
    assert (student.input, student.label_map) == (other.input, other.label_map)
    assert student.family.scores == other.family.scores
    modes = [{name: one.mode for name, one in model.quantizers.items()} for model in (student, other)]
    assert modes[0] == modes[1]


def test_a_trained_student_over_a_given_model(toy: Specimen, tmp_path: Path) -> None:
    student = toy.student(a_recipe(W4A4, align=ALIGN, targets=TARGETS))
    calibrate(student, [toy.batch()])
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.mul_(1.01)
    student.set_stage(["backbone", "decoder.*"])
    save(student, tmp_path / "student")
    other = load(tmp_path / "student", prepared(ToyDetector(), seed=9))
    assert not other.training
    assert_same(student, other)


@pytest.mark.parametrize(
    ("quantize", "align", "targets"), [({}, (), TARGETS), ({}, ALIGN, ()), ({"batch_norm": "live"}, (), ())]
)
def test_students_without_quantizers(
    toy: Specimen, tmp_path: Path, quantize: dict[str, object], align: list[object], targets: list[object]
) -> None:
    recipe = a_recipe(quantize, align=align, targets=targets)
    student = toy.student(recipe)
    if align:
        calibrate(student, [toy.batch()])
    save(student, tmp_path / "one")
    assert_same(student, load(tmp_path / "one", toy.eager()))


def test_a_teacher_is_saved_as_one(toy: Specimen, tmp_path: Path) -> None:
    """Its recipe says quantize; it was compiled without."""
    student = toy.student(real_valued(a_recipe(W4A4, align=ALIGN, targets=TARGETS), targets=True))
    save(student, tmp_path / "teacher")
    other = load(tmp_path / "teacher", toy.eager())
    assert not other.quantizers
    assert_same(student, other)


def test_a_student_that_builds_its_own_model(tmp_path: Path) -> None:
    recipe = recipe_from_mapping(
        {
            "version": 1,
            "model": {
                "architecture": "demo",
                "config": {"width": 8, "decoder_layers": 1, "encoder_layers": 0, "queries": 4, "heads": 2},
                "input": {"size": [64, 96]},
            },
            "quantize": W4A4,
            "distill": {"align": ALIGN},
        }
    )
    built = build_model(recipe.model, [(3, "cat"), (7, "dog")], recipe.train.loss)
    student = make_student(capture_original(built.model, built.family, built.input, label_map=built.label_map), recipe)
    pixels = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    batch = small_batch(pixels)
    calibrate(student, [batch])
    save(student, tmp_path / "demo")
    other = load(tmp_path / "demo")
    assert_same(student, other)
    assert isinstance(other.label_map, LabelMap)
    assert other.label_map.category_to_class == {3: 0, 7: 1}
    assert other.label_map.names == {3: "cat", 7: "dog"}


def small_batch(pixels: torch.Tensor):  # type: ignore[no-untyped-def]
    from qrecipe.data.batch import Batch

    return Batch(pixels, None, [], list(range(len(pixels))), torch.tensor([[64, 96]] * len(pixels)))


def test_the_wrong_model_is_refused(toy: Specimen, tmp_path: Path) -> None:
    student = toy.student(a_recipe(W4A4))
    calibrate(student, [toy.batch()])
    save(student, tmp_path / "student")
    with pytest.raises(TrainError, match="another structure"):
        load(tmp_path / "student", prepared(ToyDetector(columns=6)))


def test_a_model_is_needed_where_the_data_is_unknown(toy: Specimen, tmp_path: Path) -> None:
    save(toy.student(a_recipe()), tmp_path / "student")
    with pytest.raises(ModelError, match=r"give the model: qrecipe\.load"):
        load(tmp_path / "student")


def test_what_is_no_student_is_refused(toy: Specimen, tmp_path: Path) -> None:
    with pytest.raises(TrainError):
        load(tmp_path / "nothing", toy.eager())
    save(toy.student(a_recipe()), tmp_path / "student")
    manifest = tmp_path / "student" / "manifest.json"
    data = json.loads(manifest.read_text())
    del data["extra"]["recipe"]
    data = sealed({key: value for key, value in data.items() if key != SEAL})
    manifest.write_text(json.dumps(data))
    with pytest.raises(ModelError, match="was not written by save"):
        load(tmp_path / "student", toy.eager())


def test_saving_replaces_what_is_there(toy: Specimen, tmp_path: Path) -> None:
    student = toy.student(a_recipe(W4A4))
    save(student, tmp_path / "student")
    with torch.no_grad():
        next(student.parameters()).add_(1)
    save(student, tmp_path / "student")
    stored = load_checkpoint(tmp_path / "student").weights
    assert all(torch.equal(stored[key], value) for key, value in student.state_dict().items())
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


def test_quantizers_that_were_chosen_by_site_are_stored(toy: Specimen, tmp_path: Path) -> None:
    recipe = a_recipe(W4A4)
    wider = dataclasses.replace(recipe.quantize.weight, bits=8)  # type: ignore[type-var]
    plan = make_plan(toy.original, recipe, specs={"class_head.weight": wider, "box_head.weight": None})
    student = make_student(toy.original, recipe, plan)
    calibrate(student, [toy.batch((2, 0))])
    save(student, tmp_path / "student")
    other = load(tmp_path / "student", toy.eager())
    assert other.plan.sites == plan.sites
    assert_same(student, other)
