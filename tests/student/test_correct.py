"""Corrected biases take out the mean error of their weight, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from qrecipe.models.families import build_family
from qrecipe.planning import cost_of, describe
from qrecipe.recipe.definition import LossSpec
from qrecipe.student import Student, calibrate, compile, load, save
from tests.specimens import W4A4, Specimen, a_recipe, prepared
from tests.toys import ToyDetector

WEIGHTS = {"weight": {"bits": 2, "quantizer": "lsq", "per": "channel"}, "correct_biases": True}
ONLY_CLASSES = {
    **WEIGHTS,
    "rules": [{"match": "role:*", "keep": "float"}, {"match": "role:head.class", "weight": {"bits": 2}}],
}


def logits(student: Student, specimen: Specimen, seed: int) -> Tensor:
    batch = specimen.batch((2, 1), seed)
    with torch.no_grad():
        return student.eval().predict(batch.pixel_values, batch.pixel_mask).logits


def test_the_mean_of_a_layer_s_output_is_the_real_one(toy: Specimen) -> None:
    student = toy.student(a_recipe(ONLY_CLASSES))
    batches = [toy.batch((2, 1), seed) for seed in (1, 2)]
    report = calibrate(student, batches)
    assert report.corrections == len(student.plan.corrections) == 1
    quantized = [logits(student, toy, seed) for seed in (1, 2)]
    student.switch_off()
    real = [logits(student, toy, seed) for seed in (1, 2)]
    for one, other in zip(quantized, real, strict=True):
        assert not torch.allclose(one, other, atol=1e-3)
    means = [torch.cat(values).mean((0, 1)) for values in (quantized, real)]
    torch.testing.assert_close(means[0], means[1], rtol=1e-9, atol=1e-9)


def test_every_layer_s_is_the_mean_error_of_its_weight(specimen: Specimen) -> None:
    """Against hooks on the model's own linear layers: each reads what the real-valued model gives it."""
    student = specimen.student(a_recipe({**W4A4, "correct_biases": True}))
    batch = specimen.batch((2,))
    calibrate(student, [batch])
    seen: dict[str, list[Tensor]] = {}
    eager = specimen.eager()
    linear = {name: module for name, module in eager.named_modules() if isinstance(module, nn.Linear)}
    for name, module in linear.items():
        module.register_forward_pre_hook(lambda _, args, name=name: seen.setdefault(name, []).append(args[0].detach()))
    with torch.no_grad():
        specimen.family.forward(eager, specimen.family.inputs(batch.pixel_values, batch.pixel_mask))
    deployed = {str(node.target) for node in student.deployable().graph.nodes}  # heads of earlier layers are not
    checked = 0
    for name, correction in student.bias_corrections.items():
        module_name = name.removesuffix(".weight")
        if module_name not in seen or f"corrections.{name}" not in deployed:
            continue
        weight = linear[module_name].weight.detach()
        error = weight - student.quantizers[name].quantize(weight).detach()
        expected = torch.cat([x.flatten(0, -2) @ error.T for x in seen[module_name]]).mean(0)
        torch.testing.assert_close(correction.bias.detach(), expected, rtol=1e-7, atol=1e-9)
        checked += 1
    assert checked > 5


def test_calibrating_again_changes_nothing(demo: Specimen) -> None:
    student = demo.student(a_recipe({**W4A4, "correct_biases": True}))
    batch = demo.batch((2,))
    calibrate(student, [batch])
    first = {name: value.clone() for name, value in student.state_dict().items()}
    calibrate(student, [batch])
    for name, value in student.state_dict().items():
        assert torch.equal(value, first[name]), name


def test_they_go_with_their_weight_s_quantizer(toy: Specimen) -> None:
    student = toy.student(a_recipe(WEIGHTS))
    calibrate(student, [toy.batch()])
    student.set_stage(["backbone"])
    on = {name for name, correction in student.bias_corrections.items() if correction.on}
    assert on == {name for name, quantizer in student.quantizers.items() if quantizer.mode == "on"}
    assert 0 < len(on) < len(student.bias_corrections)
    student.switch_off()
    batch = toy.batch((1,), seed=5)
    expected = toy.eager()(batch.pixel_values)["logits"]
    torch.testing.assert_close(student.eval()(batch.pixel_values)["logits"], expected, rtol=1e-9, atol=1e-12)


class NoBiases(ToyDetector):
    """One of the convolutions has neither a bias nor a BatchNorm behind it, and the class head has no bias."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone[3] = nn.Conv2d(8, 8, 1, bias=False)
        self.class_head = nn.Linear(8, 5, bias=False)


def test_a_bias_is_added_where_there_is_none(tmp_path: Path) -> None:
    model = prepared(NoBiases())
    recipe = a_recipe(WEIGHTS)
    student = compile(model, recipe, torch.rand(2, 3, 16, 24, dtype=torch.float64))
    added = {one.site: one.channels for one in student.plan.corrections if one.added}
    assert added == {"backbone.3.weight": 8, "class_head.weight": 5}
    assert {one["site"] for one in describe(student.plan)["corrections"] if one["added"]} == set(added)
    without = compile(model, a_recipe({**WEIGHTS, "correct_biases": False}), torch.rand(2, 3, 16, 24).double())
    assert cost_of(student.plan).bytes == cost_of(without.plan).bytes + 4 * 13
    toy = Specimen(model, build_family(model, LossSpec()), student.plan, ())  # type: ignore[arg-type]
    batch = toy.batch((2,), height=16, width=24)
    calibrate(student, [batch])
    for name in added:
        assert bool(student.bias_corrections[name].bias.abs().min() > 0)
    save(student, tmp_path)
    again = load(tmp_path, model)
    expected = student.eval().predict(batch.pixel_values).logits
    assert torch.equal(again.predict(batch.pixel_values).logits, expected)


def test_training_leaves_them_to_the_biases(toy: Specimen) -> None:
    student = toy.student(a_recipe(WEIGHTS))
    assert not [
        name for name, value in student.named_parameters() if name.startswith("corrections") and value.requires_grad
    ]


@pytest.mark.parametrize("batch_norm", ["frozen", "live"])
def test_a_live_batch_norm_may_follow(demo: Specimen, batch_norm: str) -> None:
    student = demo.student(a_recipe({**WEIGHTS, "batch_norm": batch_norm}))
    calibrate(student, [demo.batch((2,))])
    assert all(bool(torch.isfinite(one.bias).all()) for one in student.bias_corrections.values())
    before = logits(student, demo, 1)
    student.switch_off()
    assert not torch.allclose(before, logits(student, demo, 1))
