"""The average of a student's weights against the formula, step by step, and through cuts."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qrecipe.quantizers import RelativeStep
from qrecipe.recipe.definition import EmaSpec, OptimizerSpec, StageSpec, TrainSpec
from qrecipe.run.checkpoint import load_checkpoint, load_weights
from qrecipe.termination import listening
from qrecipe.train.average import Average, take_average
from qrecipe.train.events import StepTaken, TrainingEvent
from qrecipe.train.records import Records
from qrecipe.train.trainer import Trainer
from tests.tiny_training import TinyLoader, TinyScores, TinyStudent, TinyTrainable
from tests.train.tiny_fits import ENDS, Ending, break_off

SPEC = TrainSpec(
    stages=(StageSpec("all", 3),), optimizer=OptimizerSpec(lr=3e-2), ema=EmaSpec(decay=0.9, warmup=4), clip_norm=1.0
)


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def slow(before: dict[str, Tensor], now: dict[str, Tensor], step: int) -> dict[str, Tensor]:
    decay = 0.9 * (1 - math.exp(-step / 4))
    found = {}
    for name, value in now.items():
        if not value.is_floating_point():
            found[name] = value
        elif name.endswith("scale"):
            found[name] = (decay * before[name].log() + (1 - decay) * value.log()).exp()
        else:
            found[name] = decay * before[name] + (1 - decay) * value
    return found


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert set(a) == set(b)
    for name, value in a.items():
        assert torch.equal(b[name], value), name


def test_it_is_the_formula_and_what_is_scored_and_kept(tmp_path: Path) -> None:
    trainable = TinyTrainable(1)
    averages, scored = [state(trainable.student)], list[dict[str, Tensor]]()
    aps = iter([0.1, 0.3, 0.2])

    def follow(event: TrainingEvent) -> None:
        if isinstance(event, StepTaken):
            step = 3 * (event.epoch - 1) + event.step
            averages.append(slow(averages[-1], state(trainable.student), step))

    def score(student: nn.Module) -> TinyScores:
        assert student is trainable.student
        scored.append(state(student))
        return TinyScores(next(aps))

    Trainer(trainable, TinyLoader(), SPEC, Records(tmp_path), evaluate=score, listener=follow).fit()
    for found, expected in zip(scored, averages[3::3], strict=True):
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-7)
    own = state(trainable.student)
    assert not torch.equal(own["head.weight"], scored[-1]["head.weight"])  # it goes on with its own
    assert not torch.equal(own["backbone.1.running_mean"], scored[-1]["backbone.1.running_mean"])
    assert_same(scored[1], dict(load_checkpoint(tmp_path / "best").weights))
    last = load_checkpoint(tmp_path / "last")
    assert_same(own, dict(last.weights))
    kept = TinyStudent(7)
    take_average(kept, load_weights(tmp_path / "last", kept))
    assert_same(scored[-1], kept.state_dict())


def test_scales_and_zero_points_are_averaged_where_they_step() -> None:
    scale, offset = nn.Parameter(torch.tensor([0.1, 4.0])), nn.Parameter(torch.tensor([0.3, -8.0]))
    average, shift = torch.tensor([0.4, 1.0]), torch.tensor([2.8, -2.0])  # zero points 7 and -2; the step's 3 and -2
    RelativeStep(scale, offset).average([average, shift], 0.5)
    torch.testing.assert_close(average, torch.tensor([0.2, 2.0]))
    torch.testing.assert_close(shift / average, torch.tensor([5.0, -2.0]))
    crossed = torch.tensor([-0.1, 1.0])
    RelativeStep(scale, None).average([crossed], 0.5)
    assert crossed[0] == scale[0]


def test_without_warmup_the_decay_is_constant() -> None:
    student = TinyStudent()
    average = Average(student, EmaSpec(0.75, 0))
    before = average.values["head.bias"].clone()
    with torch.no_grad():
        student.head.bias.add_(1.0)
    average.update(1)
    torch.testing.assert_close(average.values["head.bias"], before + 0.25)
    assert "tied.weight" not in average.values


@pytest.mark.parametrize("how", ["kill", "signal"])
def test_a_resumed_average_has_the_same_bits(how: Ending, tmp_path: Path) -> None:
    spec = replace(SPEC, accumulate=2)

    def fit(folder: str, seed: int, resume: bool = False, **others: Any) -> dict[str, Any]:
        records = Records(tmp_path / folder)
        others["evaluate"] = lambda _: TinyScores(0.1)
        Trainer(TinyTrainable(seed), TinyLoader(), spec, records, **others).fit(resume)
        found = load_checkpoint(records.folder / "last")
        assert found.training is not None
        return {**found.training["average"], **{f"own.{name}": value for name, value in found.weights.items()}}

    whole = fit("whole", 5)
    with listening(), pytest.raises(ENDS[how]):
        fit("parts", 5, listener=break_off(2, 1, how))
    assert_same(whole, fit("parts", 6, resume=True))
    assert_same(*(dict(load_checkpoint(tmp_path / name / "best").weights) for name in ("whole", "parts")))
