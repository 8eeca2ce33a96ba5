"""What a new quantizer, and a new initialiser, take: a class or a function, and a row. Everything else follows."""

from __future__ import annotations

from pathlib import Path
from typing import final

import pytest
import torch
from torch import Tensor, nn

from qrecipe.errors import RecipeErrors
from qrecipe.planning.views.describe import describe
from qrecipe.quantizers import (
    INITIALISERS,
    QUANTIZERS,
    Encoding,
    Observed,
    PlainStep,
    QuantizedOperand,
    Quantizer,
    RelativeStep,
    Step,
)
from qrecipe.quantizers.calibration.ranges import Range, Target, first_range
from qrecipe.quantizers.kernels.fused import along
from qrecipe.quantizers.kernels.reference import fake_quantize, quantize
from qrecipe.recipe import OptimizerSpec, QuantizerSpec, schema
from qrecipe.recipe.key_tables import reference
from qrecipe.recipe.quantizer_table import QuantizerRow
from qrecipe.recipe.schema_file import schema_text
from qrecipe.student import calibrate
from qrecipe.student.store import load, save
from qrecipe.train.optimizer import build_optimizer

from ..specimens import Specimen, a_recipe


@final
class Nudged(Quantizer):
    """Weights on a symmetric grid, each moved before it is rounded by a nudge of its own that trains."""

    title = "nudged"

    def __init__(self, spec: QuantizerSpec, operand: QuantizedOperand) -> None:
        super().__init__(spec, operand)
        self.scale = nn.Parameter(torch.ones(operand.size))
        self.nudge = nn.Parameter(torch.zeros([extent or 0 for extent in operand.shape]))

    def own_initialiser(self) -> str:
        return "half"

    def initialise(self, seen: Observed) -> None:
        init = self.spec.init or self.own_initialiser()
        self.scale.copy_(first_range(init, seen, Target(self.grid, "none", True), self.name)[0])

    def _scales(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.require_calibrated()
        scale = along(self.scale, x, self.operand.axis)
        return scale, torch.zeros_like(scale)

    def quantize(self, x: Tensor) -> Tensor:
        return fake_quantize(x + self.nudge, *self._scales(x), self.grid, integer=True)

    @torch.no_grad()
    def integers(self, x: Tensor) -> Tensor:
        return quantize(x + self.nudge, *self._scales(x), self.grid, integer=True).to(torch.int32)

    @torch.no_grad()
    def encoding(self) -> Encoding:
        zero_point = torch.zeros_like(self.scale, dtype=torch.int32)
        return Encoding(self.grid, self.operand.axis, self.scale.detach().clone(), zero_point, integer=True)

    def steps(self) -> tuple[Step, ...]:
        return RelativeStep(self.scale), PlainStep(self.nudge, rate="model")


def half(seen: Observed, target: Target) -> Range:
    """Half of the largest magnitude."""
    scale = seen.sample.abs().amax(1) / target.grid.hi / 2
    return scale, torch.zeros_like(scale)


NUDGED = {"weight": {"bits": 3, "quantizer": "nudged", "per": "channel"}}


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside four that are named below: the next one that is added changes nothing here."""
    for name in set(QUANTIZERS) - {"lsq", "lsq+", "minmax", "mse"}:
        monkeypatch.delitem(QUANTIZERS, name)
    row = QuantizerRow(f"{__name__}:Nudged", trained=True, offsets={"weight": ("none",)})
    monkeypatch.setitem(QUANTIZERS, "nudged", row)
    shifted = QuantizerRow("qrecipe.quantizers.minmax:MinMax", trained=False, offsets={"activation": ("integer",)})
    monkeypatch.setitem(QUANTIZERS, "shifted", shifted)
    monkeypatch.setitem(INITIALISERS, "half", f"{__name__}:half")


def test_the_language_knows_the_row() -> None:
    keys = schema()["$defs"]["quantizer"]["properties"]
    assert keys["quantizer"]["enum"][-2:] == ["nudged", "shifted"]
    assert keys["init"]["enum"][-2:] == ["half", None]
    assert "lsq, lsq+ and nudged train their scales" in schema_text()
    assert "lsq, lsq+, minmax, mse, nudged or shifted" in reference()
    recipe = a_recipe({**NUDGED, "rules": [{"match": "role:head", "weight": {"init": "half"}}]})
    assert recipe.quantize.weight is not None
    assert recipe.quantize.weight.offset == "none"


@pytest.mark.parametrize(
    ("quantize", "expected"),
    [
        (
            {"activation": {"bits": 4, "quantizer": "nudged", "per": "tensor"}},
            "quantize.activation.quantizer: nudged is only for weights "
            "(for activation take lsq, lsq+, minmax, mse or shifted)",
        ),
        (
            {"weight": {**NUDGED["weight"], "offset": "integer"}},
            "quantize.weight.offset: nudged is symmetric and has no offset "
            "(set offset: none, or take lsq+, minmax, mse)",
        ),
        (
            {"activation": {"bits": 4, "quantizer": "shifted", "per": "tensor", "offset": "none"}},
            "quantize.activation.offset: shifted has offset: integer "
            "(set offset: integer, or take lsq, lsq+, minmax, mse)",
        ),
        (
            {"weight": {**NUDGED["weight"], "quantizer": "nudge"}},
            'quantize.weight.quantizer: must be lsq, lsq+, minmax, mse, nudged or shifted; found "nudge" '
            '(did you mean "nudged"?)',
        ),
    ],
)
def test_its_mistakes_are_told(quantize: dict[str, object], expected: str) -> None:
    with pytest.raises(RecipeErrors) as caught:
        a_recipe(quantize)
    assert [str(problem) for problem in caught.value.problems] == [expected]


def test_a_student_is_compiled_calibrated_trained_and_stored_with_it(toy: Specimen, tmp_path: Path) -> None:
    student = toy.student(a_recipe(NUDGED))
    assert {site["spec"]["quantizer"] for site in describe(student.plan)["sites"] if site["spec"]} == {"nudged"}
    batch = toy.batch()
    calibrate(student, [batch])
    weights = dict(toy.model.named_parameters())
    chosen = student.quantizers["class_head.weight"]
    assert isinstance(chosen, Nudged)
    weight = weights["class_head.weight"].detach()
    assert chosen.nudge.shape == weight.shape
    torch.testing.assert_close(chosen.scale.detach(), weight.abs().amax(1) / 6)
    assert torch.equal(chosen.encoding().restore(chosen.integers(weight)), chosen.quantize(weight).detach())

    named = list(student.named_parameters())
    spec = OptimizerSpec(lr=0.01, lr_quantizer=0.1)
    optimizer, table = build_optimizer(named, spec, student.is_backbone, student.modules())
    groups = {name: row.name for row in table for name in row.names}
    assert groups["fake_quantizers.class_head.weight.scale"] == "quantizer"
    assert groups["fake_quantizers.class_head.weight.nudge"] == "rest, no decay"
    before = {name: value.detach().clone() for name, value in named}
    student.train()
    student.predict(batch.pixel_values).logits.square().mean().backward()
    optimizer.step()
    # The first step of Adam is the learning rate times the sign of the gradient.
    moved = chosen.nudge.detach() - before["fake_quantizers.class_head.weight.nudge"]
    assert moved.abs().max().item() == pytest.approx(0.01, rel=1e-3)
    ratio = chosen.scale.detach() / before["fake_quantizers.class_head.weight.scale"] - 1
    assert ratio.abs().tolist() == pytest.approx([0.1] * 5, rel=1e-3)

    save(student, tmp_path)
    again = load(tmp_path, toy.eager())
    expected = student.eval().predict(batch.pixel_values).logits
    torch.testing.assert_close(again.predict(batch.pixel_values).logits, expected)
