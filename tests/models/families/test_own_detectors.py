"""Detectors of other people's style, without a family of their own: from capture to a trained, stored student."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from qrecipe.capture import capture
from qrecipe.models.families import build_family
from qrecipe.models.families.generic import GenericFamily
from qrecipe.models.loading.factories import call_factory
from qrecipe.models.model_place import ModelPlace, error_at_model
from qrecipe.recipe.definition import LossSpec
from qrecipe.structure import analyse
from qrecipe.structure.operations import find_operations
from qrecipe.student import calibrate, make_student, real_valued
from qrecipe.student.store import load, save
from qrecipe.train.module import TrainingModule
from tests.models.families.own_shared import SharedLayerDetector
from tests.specimens import ALIGN, TARGETS, W4A4, Specimen, a_recipe, images, prepared

EXAMPLES = Path(__file__).parents[3] / "examples"
SMALL = {"width": 16, "queries": 5, "heads": 2}


def from_example(name: str) -> nn.Module:
    torch.manual_seed(0)
    classes = {"original_detr": "num_classes", "vit_smca": "classes"}[name]
    return call_factory(f"{EXAMPLES / name}.py:build", {classes: 3, **SMALL}, ModelPlace(error_at_model))


@dataclass(frozen=True)
class Expected:
    """scores; earlier layers in training; decoder layers that are told apart; backbone and cross-attention paths."""

    scores: str
    earlier: int
    layers: tuple[str, ...]
    backbone: str
    cross: str
    masked: bool


MODELS: dict[str, tuple[Callable[[], nn.Module], Expected]] = {
    "original": (
        lambda: from_example("original_detr"),
        Expected("softmax", 1, ("decoder.0", "decoder.1"), "backbone", "multihead_attn", True),
    ),
    "smca": (
        lambda: from_example("vit_smca"),
        Expected("sigmoid", 1, ("layers.0", "layers.1"), "vit", "cross_attn", True),
    ),
    "shared": (SharedLayerDetector, Expected("sigmoid", 0, ("layer",), "stem", "cross_attn", False)),
}


@dataclass(frozen=True)
class Own:
    specimen: Specimen
    expected: Expected
    build: Callable[[], nn.Module]


@pytest.fixture(scope="module", params=list(MODELS))
def own(request: pytest.FixtureRequest) -> Own:
    build, expected = MODELS[request.param]
    model = prepared(build())
    family = build_family(model, LossSpec(), classes=3)
    captured = capture(model, family.forward, family.inputs(*images(2, 64, 96)))
    return Own(Specimen(model, family, captured, ((1, 96, 72), (3, 40, 128))), expected, build)


def test_the_capture_is_the_model_at_other_sizes_with_padding(own: Own) -> None:
    found = own.specimen.agreements
    assert [(one.mode, one.shape[0]) for one in found] == [("train", 1), ("train", 3), ("eval", 1), ("eval", 3)]
    assert max(one.worst for one in found) < 1e-6  # sine positions are computed in float32


def test_it_is_read(own: Own) -> None:
    family, model = own.specimen.family, own.specimen.eager().train()
    assert isinstance(family, GenericFamily)
    assert (family.scores, family.classes) == (own.expected.scores, 3)
    outputs, extras = family.forward(model, own.specimen.inputs(2, 64, 96))
    prediction = family.read(outputs, extras)
    assert prediction.logits.shape == (2, 5, 3 + (own.expected.scores == "softmax"))
    assert len(prediction.auxiliary) == own.expected.earlier
    _, parts = family.loss(outputs, extras, own.specimen.batch().labels)
    assert ("auxiliary" in parts) is bool(own.expected.earlier)


def test_padding_is_told_to_the_model(own: Own) -> None:
    model, family = own.specimen.eager(), own.specimen.family
    pixels, mask = images(2, 64, 96)
    with_mask, without = (family.read(*family.forward(model, family.inputs(pixels, one))) for one in (mask, None))
    assert torch.equal(with_mask.logits[0], without.logits[0]) is not own.expected.masked
    assert torch.equal(with_mask.logits[1], without.logits[1])


def test_roles_taps_and_query_points(own: Own) -> None:
    structure = analyse(own.specimen.captured)
    roles = structure.roles
    expected = own.expected
    assert roles.layers == expected.layers
    assert roles.backbone == (expected.backbone,)
    assert roles.cross_attention == tuple(f"{layer}.{expected.cross}" for layer in expected.layers)
    found = set(roles.of.values())
    assert {"backbone.stem", "decoder.self_attention", "decoder.cross_attention", "decoder.feed_forward"} <= found
    assert {"head.class", "head.box"} <= found
    for program in structure.programs.values():
        for layer in range(len(expected.layers)):
            point = program.queries[layer]
            assert (point.layout, point.heads, point.head_dim) == ("bhld", 2, 8)
            for tap in ("decoder.cross_attention.output", "decoder.layer.output"):
                assert program.taps[tap, layer].shape == (program.symbols.batch, 5, 16)


def test_attention_has_quantizers_per_head(own: Own) -> None:
    student = make_student(own.specimen.original, a_recipe(W4A4, align=ALIGN, targets=TARGETS))
    products = {name: one for name, one in student.quantizers.items() if name.rpartition(".")[2] in ("query", "key")}
    assert products
    assert all(one.scale.numel() == 2 for one in products.values())


def test_a_step_moves_every_scale_and_the_student_is_stored(own: Own, tmp_path: Path) -> None:
    recipe = a_recipe(W4A4, align=ALIGN, targets=TARGETS)
    student = make_student(own.specimen.original, recipe)
    calibrate(student, [own.specimen.batch()])
    teacher = make_student(own.specimen.original, real_valued(recipe, targets=True))
    module = TrainingModule(student, teacher).train()
    loss, parts = module(own.specimen.batch(seed=3))
    assert torch.isfinite(loss)
    assert "distill" in parts
    loss.backward()
    for name, quantizer in student.quantizers.items():
        for key, parameter in quantizer.named_parameters():
            assert parameter.grad is not None, f"{name}.{key}"
            assert torch.isfinite(parameter.grad).all(), f"{name}.{key}"
    assert sum(bool(one.scale.grad.abs().sum() > 0) for one in student.quantizers.values()) > 10
    save(student.eval(), tmp_path / "student")
    fresh = prepared(own.build(), seed=9)
    loaded = load(tmp_path / "student", fresh)
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in student.state_dict().items())
    pixels, mask = images(2, 64, 96)
    family = own.specimen.family
    mine, theirs = (family.read(copy.deepcopy(one).eval()(pixels, mask), {}) for one in (student, loaded))
    assert torch.equal(mine.logits, theirs.logits)


def test_a_shared_layer_has_one_weight_and_activations_for_each_call() -> None:
    """One layer called three times: one decoder layer with one tap, weights quantized once, activations per call."""
    build, _ = MODELS["shared"]
    model = prepared(build())
    family = build_family(model, LossSpec(), classes=3)
    (note,) = family.notes
    assert note.startswith("layer is called 3 times in a forward: its weights have one quantizer")
    captured = capture(model, family.forward, family.inputs(*images(2, 64, 96)))
    operations = find_operations(captured)["eval"]
    feeds = [one for one in operations if one.module == "layer.feed"]
    assert [one.name for one in feeds] == ["layer.feed", "layer.feed@1", "layer.feed@2"]
    assert {operand.site for one in feeds for operand in one.operands if operand.kind == "weight"} == {
        "layer.feed.weight"
    }
    assert len({operand.site for one in feeds for operand in one.operands if operand.kind != "weight"}) == 3
