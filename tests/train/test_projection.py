"""A teacher of another width: projected features against loops, and a projection that is trained and left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qrecipe.errors import PlanErrors, RecipeErrors
from qrecipe.recipe.definition import OptimizerSpec, StageSpec, TrainSpec
from qrecipe.run.checkpoint import load_checkpoint
from qrecipe.student import calibrate
from qrecipe.termination import Terminated, listening
from qrecipe.train.module import TrainingModule
from qrecipe.train.records import Records
from qrecipe.train.trainer import Trainer
from tests.specimens import W4A4, Specimen, a_recipe
from tests.toys import ToyDetector
from tests.train.distilled_pairs import OUTPUT
from tests.train.test_accumulate import in_evaluation
from tests.train.test_compared import other
from tests.train.tiny_fits import break_off
from tests.train.two_processes import Shared

EVERY = {"kind": "all"}
TARGETS = [
    {"at": OUTPUT, "layers": "all", "loss": "mse", "match": EVERY, "project": "learned"},
    {"at": "decoder.cross_attention.query", "loss": "mse", "match": EVERY, "project": "learned"},
    {"at": "backbone.output", "loss": "mse", "project": "learned"},
    {"at": "encoder.output", "loss": "mse", "project": "learned"},
]


def module_of(toy: Specimen, targets: Any = TARGETS) -> TrainingModule:
    """A student of 8 channels and a teacher of 16."""
    student = toy.student(a_recipe(W4A4, targets=targets))
    calibrate(student, [toy.batch()])
    torch.manual_seed(0)
    teacher = other(toy, ToyDetector(width=16), targets)
    state = torch.get_rng_state()
    made = TrainingModule(student, teacher)
    assert torch.equal(torch.get_rng_state(), state)
    return made


def channels_last(value: Tensor, role: str) -> Tensor:
    """(batch, places, channels) of a tap of the toy."""
    if role in ("backbone.output", "encoder.output"):
        return value.flatten(2).transpose(1, 2) if value.ndim == 4 else value
    return value.transpose(1, 2).flatten(2) if value.ndim == 4 else value


@pytest.mark.parametrize("index", range(len(TARGETS)))
def test_the_loss_is_that_of_projected_features(toy: Specimen, index: int) -> None:
    """With matches that keep the student's order: both predict the same boxes."""
    module = module_of(toy, [TARGETS[index]]).eval()
    assert module.teacher is not None
    batch, (projections,), (pairs,) = toy.batch(), module.projections, module.pairs
    with torch.no_grad():
        for one in projections:
            one.linear.bias.uniform_(-1, 1)
        _, own = module.student.with_taps(batch.pixel_values, batch.pixel_mask)
        _, his = module.teacher.with_taps(batch.pixel_values, batch.pixel_mask)
        terms = []
        for (mine, theirs), one in zip(pairs, projections, strict=True):
            a, b = (channels_last(taps[tap.name], mine.role) for taps, tap in ((own, mine), (his, theirs)))
            assert (a.shape[-1], b.shape[-1]) == (8, 16)
            wide = torch.einsum("bpc,dc->bpd", a, one.linear.weight) + one.linear.bias
            if mine.role.startswith("decoder."):
                boxes = [
                    m.predict(batch.pixel_values, batch.pixel_mask).boxes for m in (module.student, module.teacher)
                ]
                b = torch.stack([b[i, nearest(boxes[0][i], boxes[1][i])] for i in range(len(b))])
            terms.append((wide - b).square().mean())
    loss, parts = module(batch)
    torch.testing.assert_close(parts["distill"], torch.stack(terms).mean())
    loss.backward()
    slopes = [parameter.grad for parameter in projections.parameters()]
    assert len(slopes) == 2 * len(pairs)
    assert all(slope is not None and bool(slope.any()) for slope in slopes)


def nearest(mine: Tensor, his: Tensor) -> list[int]:
    """Equation 2.35, for each query alone."""
    from qrecipe.detection.boxes import cxcywh_to_xyxy, pairwise_giou

    overlap = pairwise_giou(cxcywh_to_xyxy(mine), cxcywh_to_xyxy(his))
    return [int((2 * overlap[j] - 5 * (mine[j] - his).abs().sum(-1)).argmax()) for j in range(len(mine))]


def test_it_begins_with_orthonormal_columns(toy: Specimen) -> None:
    weight = next(module_of(toy).projections.parameters()).detach()
    torch.testing.assert_close(weight.T @ weight, torch.eye(8, dtype=weight.dtype), rtol=0, atol=1e-5)


def test_it_is_trained_and_resumed_and_no_part_of_the_student(toy: Specimen, tmp_path: Path) -> None:
    spec = TrainSpec(stages=(StageSpec("all", 3),), optimizer=OptimizerSpec(lr=1e-2))

    def fit(folder: str, resume: bool = False, **others: Any) -> dict[str, Tensor]:
        module, records = in_evaluation(module_of(toy)), Records(tmp_path / folder)
        first = [parameter.detach().clone() for parameter in module.projections.parameters()]
        Trainer(module, Shared(toy.batch((1, 2, 1, 0), seed=3)), spec, records, **others).fit(resume)
        assert not any(map(torch.equal, first, module.projections.parameters()))
        found = load_checkpoint(records.folder / "last")
        assert found.training is not None
        assert set(found.weights) == set(toy.student(a_recipe(W4A4, targets=TARGETS)).state_dict())
        assert len(found.training["outside"]) == 2 * 5
        return {**found.weights, **found.training["outside"]}

    whole = fit("whole")
    with listening(), pytest.raises(Terminated):
        fit("parts", listener=break_off(2, 2))
    parts = fit("parts", resume=True)
    for name, value in whole.items():
        assert torch.equal(parts[name], value), name


def test_where_there_is_nothing_to_project(toy: Specimen) -> None:
    for at, loss in (("head.class", "bce"), ("head.box", "l1"), ("decoder.cross_attention.logits", "l2")):
        with pytest.raises(RecipeErrors, match=rf"targets\[0\].project: {at} has no width .* \(remove it\)"):
            a_recipe(targets=[{"at": at, "loss": loss, "project": "learned"}])
    plain = [{**target, "project": None} for target in TARGETS]
    with pytest.raises(PlanErrors, match=r"has 8 channels and the teacher's 16 \(set project: learned"):
        module_of(toy, plain)
    model = ToyDetector(width=16)
    model.backbone[0] = nn.Conv2d(3, 16, 3, padding=1)
    targets = [TARGETS[2]]
    student = toy.student(a_recipe(targets=targets))
    with pytest.raises(Exception, match=r"the student's map is 16x\d+x\d+, the teacher's 16x64x96"):
        TrainingModule(student, other(toy, model, targets))(toy.batch())
