"""Blocks that are computed again for the backward pass: the the same step to the last bit, in less memory."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from qrecipe.data.batch import Batch
from qrecipe.models.families import build_family
from qrecipe.quantizers import recompute
from qrecipe.recipe.definition import InputSpec, LossSpec, OptimizerSpec, StageSpec
from qrecipe.student import Original, calibrate, capture_original, make_student
from qrecipe.student.checkpointing import InBlocks
from qrecipe.termination import Terminated, listening
from qrecipe.train.module import TrainingModule
from qrecipe.train.optimizer import build_optimizer
from qrecipe.train.records import Records
from qrecipe.train.trainer import Trainer
from tests.specimens import ALIGN, TARGETS, W4A4, Specimen, a_recipe, prepared
from tests.toys import ToyDetector
from tests.train.distilled_pairs import pair
from tests.train.test_accumulate import Cut
from tests.train.tiny_fits import break_off, followed

MAPS = [{"at": "backbone.output", "loss": "relative"}]
State = dict[str, Tensor]


def module_of(specimen: Specimen, checkpointing: bool, batch_norm: str = "live", **train: Any) -> TrainingModule:
    quantize = {**W4A4, "batch_norm": batch_norm}
    train = {**train, "checkpointing": checkpointing}
    module = pair(specimen, [*TARGETS, *MAPS], quantize=quantize, align=ALIGN, train=train).train()
    module.set_progress(0.5)
    return module


def state_of(module: TrainingModule) -> State:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def step(module: TrainingModule, batch: Batch, precision: str = "no") -> tuple[State, State]:
    """Gradients with the loss; and all weights and buffers, and random numbers to come, after a step."""
    torch.manual_seed(3)
    student = module.student
    optimizer, _ = build_optimizer(
        list(student.named_parameters()), OptimizerSpec(lr=0.01), student.is_backbone, student.modules()
    )
    with torch.autocast("cpu", enabled=precision == "bf16"):
        loss, parts = module(batch)
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
    optimizer.step()
    return {**gradients, **parts, "the loss": loss.detach()}, {**state_of(module), "random": torch.rand(3)}


def assert_same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    assert set(one) == set(other)
    assert [name for name, value in one.items() if not torch.equal(value, other[name])] == []


@pytest.mark.parametrize(
    ("name", "batch_norm"),
    [("demo", "live"), ("demo", "frozen"), ("detr", "live"), ("toy", "live")],
)
def test_a_step_is_the_same_bit_for_bit(
    name: str, batch_norm: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout, distillation, alignment, taps, dampening, calls that write in place and running statistics."""
    monkeypatch.setattr(recompute, "SMALLEST", 0)
    specimen: Specimen = request.getfixturevalue(name)
    modules = [module_of(specimen, on, batch_norm, dampen={"weight": 0.1}) for on in (False, True)]
    before = state_of(modules[0])
    (gradients, after), (again, after_again) = (step(module, specimen.batch(seed=5)) for module in modules)
    assert len(gradients) > 50
    assert_same(gradients, again)
    assert_same(after, after_again)
    counted = [key for key in before if key.endswith("running_mean") and not torch.equal(before[key], after[key])]
    assert bool(counted) == (batch_norm == "live" and name != "detr")  # whose norms are frozen by its authors


@pytest.fixture(scope="module")
def single() -> Original:
    """A detector in single precision, whose quantizers run in other code."""
    torch.manual_seed(0)
    model = prepared(ToyDetector(dropout=0.1)).float()
    family = build_family(model, LossSpec())
    return capture_original(
        model, family, family.input(InputSpec(size=(16, 24))), torch.rand(2, 3, 16, 24), cache=False
    )


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_it_is_so_in_single_and_mixed_precision(
    toy: Specimen, single: Original, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recompute, "SMALLEST", 0)
    batch = toy.batch(seed=5)
    labels = [{**label, "boxes": label["boxes"].float()} for label in batch.labels]
    batch = replace(batch, pixel_values=batch.pixel_values.float(), labels=labels)
    found = []
    for on in (False, True):
        student = make_student(single, a_recipe({**W4A4, "batch_norm": "live"}, train={"checkpointing": on}))
        calibrate(student, [batch])
        found.append(step(TrainingModule(student).train(), batch, precision))
    assert_same(found[0][0], found[1][0])
    assert_same(found[0][1], found[1][1])
    assert found[0][0]["student.class_head.weight"].dtype == torch.float32


def held(module: TrainingModule, batch: Batch) -> int:
    """Bytes that a forward pass leaves allocated."""
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        loss, _ = module(batch)
        gc.collect()
    assert loss.requires_grad
    return sum(event.nbytes() for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]")


def test_less_is_kept_for_the_backward_pass(demo: Specimen) -> None:
    batch = demo.batch((2, 1, 0, 1), height=96, width=96)
    plain, blocks = (held(module_of(demo, on, "frozen"), batch) for on in (False, True))
    assert blocks < 0.5 * plain


def test_nothing_is_repeated_where_nothing_is_kept(toy: Specimen) -> None:
    module = module_of(toy, True, "live")
    calls: list[int] = []
    quantizer = next(iter(module.student.quantizers.values()))
    quantizer.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        module(toy.batch())
    assert len(calls) == 1
    loss, _ = module(toy.batch())
    loss.backward()
    assert len(calls) == 3


def test_weights_that_changed_meanwhile_are_refused(toy: Specimen) -> None:
    module = module_of(toy, True)
    loss, _ = module(toy.batch())
    with torch.no_grad():
        module.student.get_parameter("class_head.weight").add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation: what a block"):
        loss.backward()


def test_quantizers_that_observe_see_each_tensor_once(toy: Specimen) -> None:
    """Calibration of a student in training mode, with gradients on."""
    ranges = []
    for on in (False, True):
        student = module_of(toy, on).student
        for quantizer in student.quantizers.values():
            quantizer.set_mode("observe")
        loss = student.run(toy.inputs(2, 16, 24), mode="train").outputs["logits"].sum()
        loss.backward()
        for quantizer in student.quantizers.values():
            if quantizer.has_seen_data:
                quantizer.finish_calibration()
        ranges.append({name: value.clone() for name, value in student.state_dict().items()})
    assert_same(*ranges)


def test_it_is_the_training_graph_alone(toy: Specimen) -> None:
    student = toy.student(a_recipe(W4A4, train={"checkpointing": True}))
    calibrate(student, [toy.batch()])
    kinds = {mode: isinstance(program.plain, InBlocks) for mode, program in student.programs.items()}
    assert kinds == {"train": True, "eval": False}
    usual = toy.student(a_recipe(W4A4)).programs["train"]
    assert not isinstance(usual.plain, InBlocks)


def test_a_training_goes_on_with_it_and_ends_the_same(toy: Specimen, tmp_path: Path) -> None:
    """Weights that oscillate and are frozen, an average, accumulated steps; cut off within an epoch, and in another way
    resumed."""
    own: dict[str, Any] = {
        "ema": {},
        "freeze_oscillating": {"threshold": 0.0, "final": 0.0, "momentum": 0.5},
        "optimizer": {"lr": 0.03},
    }

    def fit(folder: str, on: bool, resume: bool = False, **others: Any) -> State:
        torch.manual_seed(0)
        module = module_of(toy, on, **own)
        spec = replace(module.student.recipe.train, stages=(StageSpec("all", 3),), accumulate=2)
        records = Records(tmp_path / folder)
        Trainer(module, Cut(toy.batch((1, 2, 1, 0, 1), seed=3), 2), spec, records, **others).fit(resume)
        return followed(records.folder / "last")

    whole = fit("whole", False)
    with listening(), pytest.raises(Terminated):
        fit("parts", True, listener=break_off(2, 1))
    parts = fit("parts", False, resume=True)
    assert_same(whole, parts)
    assert_same(whole, fit("again", True))
