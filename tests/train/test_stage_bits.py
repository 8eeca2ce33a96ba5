"""Widths that narrow from stage to stage: ranges of a student made for each width, and the same bits through cuts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from qrecipe.errors import CalibrationError, RecipeErrors
from qrecipe.planning import Plan
from qrecipe.recipe import recipe_from_mapping
from qrecipe.recipe.definition import StageSpec
from qrecipe.run.checkpoint import load_checkpoint
from qrecipe.student import calibrate, change_bits, load, make_plan
from qrecipe.student.store import description
from qrecipe.termination import listening
from qrecipe.train.module import TrainingModule
from qrecipe.train.records import Records
from qrecipe.train.trainer import Trainer
from tests.specimens import W4A4, Specimen, a_recipe
from tests.tiny_training import TinyScores
from tests.train.distilled_pairs import pair
from tests.train.test_accumulate import in_evaluation
from tests.train.tiny_fits import ENDS, Ending, break_off, followed
from tests.train.two_processes import Shared

STAGES = [
    {"name": "eight", "epochs": 1, "bits": 8},
    {"name": "six", "epochs": 2, "bits": 6, "quantize": ["backbone", "decoder"]},
    {"name": "own", "epochs": 2},
]
TRAIN = {
    "stages": STAGES,
    "optimizer": {"lr": 0.01, "betas": [0.0, 0.9]},
    "ema": {"decay": 0.9, "warmup": 3},
    "freeze_oscillating": {"threshold": 0.0, "final": 0.0, "momentum": 0.5},
}


def widths(bits: int) -> dict[str, Any]:
    return {kind: {**spec, "bits": max(bits, spec["bits"])} for kind, spec in W4A4.items()}  # type: ignore[call-overload]


@pytest.mark.parametrize("corrected", [False, True])
def test_ranges_are_those_of_a_student_that_is_made_for_these_bits(toy: Specimen, corrected: bool) -> None:
    batches = [toy.batch(seed=1), toy.batch(seed=2)]
    extra = {"correct_biases": corrected}
    student, six = (toy.student(a_recipe({**widths(bits), **extra})) for bits in (4, 6))
    for one in (student, six):
        calibrate(one, batches)
    attention = next(q for q in student.quantizers.values() if q.grid.bits == 8)
    with torch.no_grad():
        attention.get_parameter("scale").mul_(3)  # as training may have moved it
    student.set_stage(["decoder"])
    changed = change_bits(student.train(), 6, batches)
    own = student.state_dict()
    for name, value in six.state_dict().items():
        if name.removesuffix(".scale").endswith(attention.name) and name.endswith(".scale"):
            torch.testing.assert_close(own[name], 3 * value)
        else:
            assert torch.equal(own[name], value), name
    assert {name for name, q in student.quantizers.items() if q.grid.bits == 6} == set(changed)
    assert [q.grid.bits for q in student.quantizers.values()] == [q.grid.bits for q in six.quantizers.values()]
    assert student.training
    assert student.quantized_roles == ("decoder",)
    assert change_bits(student, 6, []) == []
    with pytest.raises(CalibrationError, match="no batches"):
        change_bits(student, 5, [])
    assert student.set_bits(None) == changed
    assert {q.grid.bits for name, q in student.quantizers.items() if name in changed} == {4}


@pytest.mark.parametrize(("how", "at"), [("kill", (2, 1)), ("signal", (2, 1)), ("signal", (1, 2)), ("kill", (4, 2))])
def test_a_resumed_training_has_the_same_bits(toy: Specimen, how: Ending, at: tuple[int, int], tmp_path: Path) -> None:
    """Broken off before the first checkpoint of a stage, within its first epoch, and behind it."""
    images = toy.batch((1, 2, 1, 0, 1), seed=3)

    def module() -> TrainingModule:
        torch.manual_seed(0)
        made = in_evaluation(pair(toy, train=TRAIN))
        made.calibration = lambda: [toy.batch(seed=4)]
        return made

    def fit(folder: str, resume: bool = False, **others: Any) -> dict[str, Tensor]:
        made, records = module(), Records(tmp_path / folder)
        others["evaluate"] = lambda student: TinyScores(1 / len({q.grid.bits for q in student.quantizers.values()}))
        result = Trainer(made, Shared(images), made.student.recipe.train, records, **others).fit(resume)
        assert result.best_epoch == 4  # the first of the last stage, though a wider one scores higher
        assert {q.grid.bits for q in made.student.quantizers.values()} == {4, 8}
        assert "bits" not in load_checkpoint(records.folder / "last").extra
        return followed(records.folder / "last")

    whole = fit("whole")
    with listening(), pytest.raises(ENDS[how]):
        fit("parts", listener=break_off(*at, how))
    parts = fit("parts", resume=True)
    assert set(parts) == set(whole)
    for name, value in whole.items():
        assert torch.equal(parts[name], value), name


def test_a_checkpoint_of_a_stage_is_read_with_its_bits(toy: Specimen, tmp_path: Path) -> None:
    """An average has nothing of ranges that were of other bits, and no weight stays frozen to their integers."""
    module = in_evaluation(pair(toy, train=TRAIN))
    module.calibration = lambda: [toy.batch(seed=4)]
    records = Records(tmp_path, extra=description(module.student))
    loader, spec = Shared(toy.batch((1, 2), seed=3)), module.student.recipe.train
    trainer = Trainer(module, loader, spec, records, stop_after=1)
    trainer.fit()
    stored = load(tmp_path / "last", toy.eager())
    assert {q.grid.bits for q in stored.quantizers.values()} == {8}
    images = toy.batch().pixel_values
    assert torch.equal(stored.predict(images).logits, module.student.eval().predict(images).logits)
    trainer.change_bits(2, StageSpec("six", 1, None, 6))
    average, state = trainer.followers.average, module.student.state_dict()
    assert average is not None
    scales = [name for name in average.values if name.startswith("fake_quantizers.")]
    assert all(torch.equal(average.values[name], state[name]) for name in scales)
    assert scales
    assert not any(bool(value.any()) for name, value in state.items() if name.endswith("is_frozen"))


def read(stages: Any, **quantize: Any) -> Any:
    data = {"version": 1, "model": {"architecture": "demo"}, "quantize": quantize, "train": {"stages": stages}}
    return recipe_from_mapping(data)


@pytest.mark.parametrize(
    ("stages", "quantize", "message"),
    [
        (STAGES[:2], W4A4, r"stages\[1\].bits: the last stage trains .*the bits that quantize says"),
        ([STAGES[1], STAGES[0], STAGES[2]], W4A4, r"stages\[1\].bits: bits: 8 after a stage with 6: stages narrow"),
        ([STAGES[2], STAGES[1], STAGES[2]], W4A4, r"bits: 6 after a stage with the recipe's own: stages narrow"),
        (STAGES, {}, r"stages\[0\].bits: nothing is quantized"),
        (STAGES, {**W4A4, "reconstruct": {}}, r"stages\[0\].bits: reconstruct learns a rounding"),
    ],
)
def test_bits_that_cannot_be_meant(stages: Any, quantize: Mapping[str, Any], message: str) -> None:
    with pytest.raises(RecipeErrors, match=message):
        read(stages, **quantize)


def test_the_plan_has_the_last_bits(toy: Specimen) -> None:
    def plan(bits: int) -> Plan:
        stages = [{"name": "wide", "epochs": 1, "bits": bits}, STAGES[2]]
        return make_plan(toy.original, a_recipe(W4A4, train={"stages": stages}))

    assert {site.spec.bits for site in plan(8).quantizers.values() if site.spec} == {4, 8}
    assert not plan(5).warnings
    assert "train.stages[0].bits: no quantizer has fewer than 4 bits" in plan(4).warnings[0]
    assert read(STAGES, **W4A4).train.stages[1].bits == 6
