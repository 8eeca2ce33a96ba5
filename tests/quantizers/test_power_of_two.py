"""Scales that are powers of two stay so: after calibration, through training, in what a runtime is told."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from qrecipe.errors import RecipeError, RecipeErrors
from qrecipe.quantizers import QuantizedOperand, Quantizer, build, step_in_coordinates
from qrecipe.quantizers.affine import AffineQuantizer
from qrecipe.quantizers.kernels.power_of_two import power_of_two
from qrecipe.recipe.definition import QuantizerSpec
from qrecipe.recipe.names import Offset, Scale
from qrecipe.reconstruct import ReconstructSettings, reconstruct
from qrecipe.student import calibrate
from tests.specimens import W4A4, Specimen, a_recipe

POWERS = {kind: {**spec, "scale": "power_of_two"} for kind, spec in W4A4.items()}


def are_powers(scale: Tensor) -> bool:
    return bool((torch.frexp(scale.detach()).mantissa == 0.5).all())


def quantizer_of(
    x: Tensor, quantizer: str, bits: int, offset: Offset, scale: Scale = "power_of_two"
) -> AffineQuantizer:
    operand = QuantizedOperand("site", (None, None), None, 1, is_weight=False, batched=True)
    found = build(QuantizerSpec(bits, quantizer, "tensor", offset, scale=scale), operand)
    assert isinstance(found, AffineQuantizer)
    found.observe(x)
    found.finish_calibration()
    found.set_mode("on")
    return found


@given(exponent=st.floats(-20, 20))
def test_the_nearest_by_the_exponent_and_its_gradient(exponent: float) -> None:
    scale = torch.tensor([2.0**exponent], dtype=torch.float64, requires_grad=True)
    power = power_of_two(scale)
    assert are_powers(power)
    assert abs(math.log2(float(power.detach())) - exponent) <= 0.5 + 1e-9
    (slope,) = torch.autograd.grad(3 * power, scale)
    # By the logarithm, as if not rounded.
    assert float(slope * scale.detach()) == pytest.approx(3 * float(power.detach()))


@given(bits=st.integers(2, 8), seed=st.integers(0, 500), offset=st.sampled_from(["none", "integer"]))
def test_calibration_takes_the_better_neighbour(bits: int, seed: int, offset: Offset) -> None:
    x = torch.randn(4, 60, generator=torch.Generator().manual_seed(seed))
    x = x if offset == "none" else x.abs()
    quantizer = quantizer_of(x, "lsq+", bits, offset)
    scale, zero_point = quantizer.scale_and_zero_point()
    assert are_powers(scale)
    error = float((quantizer(x) - x).detach().square().sum())
    real, _ = quantizer_of(x, "lsq+", bits, offset, scale="real").scale_and_zero_point()
    exponent = math.floor(math.log2(float(real.detach())))
    errors = []
    for other in (2.0**exponent, 2.0 ** (exponent + 1)):
        levels = (torch.round(x / other) + zero_point).clamp(quantizer.grid.lo, quantizer.grid.hi) - zero_point
        errors.append(float((levels * other - x).detach().square().sum()))
    assert error == pytest.approx(min(errors), rel=1e-4)


@pytest.mark.parametrize("quantizer", ["lsq+", "minmax", "mse"])
def test_training_keeps_powers_and_zero_points(quantizer: str) -> None:
    x = torch.randn(8, 40) + 0.5
    chosen = quantizer_of(x, quantizer, 4, "integer")
    if chosen.steps():
        optimizer = torch.optim.Adam([value for step in chosen.steps() for value in step.parameters], lr=0.05)
        step_in_coordinates(optimizer, chosen.steps())
        seen = set()
        for _ in range(60):
            loss = (chosen(x) - 3 * x).square().sum()  # a much wider range would be better
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen.add(float(chosen.encoding().scale))
            assert are_powers(chosen.encoding().scale)
        assert len(seen) > 1
    encoding = chosen.encoding()
    torch.testing.assert_close(encoding.restore(chosen.integers(x)), chosen(x).detach())


def test_a_student_has_no_other_scales(toy: Specimen) -> None:
    student = toy.student(a_recipe(POWERS))
    batches = [toy.batch((2,))]
    calibrate(student, batches)

    def hold() -> None:
        for name, quantizer in student.quantizers.items():
            assert isinstance(quantizer, Quantizer)
            assert are_powers(quantizer.encoding().scale), name

    hold()
    reconstruct(student, batches, ReconstructSettings(iterations=8, keep=0.5, seed=0))
    hold()


def test_those_that_cannot_say_so(toy: Specimen) -> None:
    activation = {"bits": 4, "quantizer": "pact", "per": "tensor", "scale": "power_of_two"}
    with pytest.raises(
        RecipeErrors,
        match=r"activation\.scale: pact has no scale: power_of_two \(take lsq, lsq\+, minmax",
    ):
        a_recipe({"activation": activation})
    rules = [{"match": "role:head", "activation": {"quantizer": "pact"}}]
    with pytest.raises(RecipeError, match=r"pact with scale: power_of_two, which it does not have"):
        toy.student(a_recipe({**POWERS, "rules": rules}))
