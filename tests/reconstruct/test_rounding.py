"""Learned rounding against its paper's equations in plain Python."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from qrecipe.quantizers import QuantizedOperand, Quantizer, build
from qrecipe.recipe.definition import QuantizerSpec
from qrecipe.reconstruct.rounding import STRETCH, WARM_UP, LearnedRounding


def quantizer_of(weight: Tensor, bits: int, per: str = "channel") -> Quantizer:
    size = weight.shape[0] if per == "channel" else 1
    operand = QuantizedOperand("weight", tuple(weight.shape), 0 if size > 1 else None, size, True, False)
    own = build(QuantizerSpec(bits, "lsq", "channel" if per == "channel" else "tensor", init="mse"), operand)
    own.set_mode("observe")
    own(weight)
    own.finish_calibration()
    own.set_mode("on")
    return own


def weights(seed: int, rows: int = 3, columns: int = 7) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


@given(seed=st.integers(0, 2**16), bits=st.integers(2, 8), shift=st.floats(-6, 6))
def test_integers_are_the_floor_or_the_ceiling(seed: int, bits: int, shift: float) -> None:
    weight = weights(seed)
    quantizer = quantizer_of(weight, bits)
    rounding = LearnedRounding(quantizer, weight)
    with torch.no_grad():
        rounding.position += shift * torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed + 1))
    encoding = quantizer.encoding()
    scale = encoding.scale[:, None]
    integers = torch.round(rounding.rounded() / scale)
    low, high = torch.floor(weight / scale), torch.floor(weight / scale) + 1
    allowed = [bound.clamp(encoding.grid.lo, encoding.grid.hi) for bound in (low, high)]
    assert bool(((integers == allowed[0]) | (integers == allowed[1])).all())
    torch.testing.assert_close(quantizer(rounding.rounded()), rounding.rounded())  # the grid is its own fixed point


@given(seed=st.integers(0, 2**16), bits=st.integers(3, 8))
def test_it_starts_as_the_weight_itself_inside_the_range(seed: int, bits: int) -> None:
    weight = weights(seed)
    quantizer = quantizer_of(weight, bits)
    encoding = quantizer.encoding()
    scale = encoding.scale[:, None]
    soft = LearnedRounding(quantizer, weight)(weight)
    inside = (weight / scale > encoding.grid.lo) & (weight / scale < encoding.grid.hi)
    torch.testing.assert_close(soft[inside], weight[inside], atol=2e-4 * float(scale.max()), rtol=0)


def test_share_and_penalty_are_those_of_the_paper() -> None:
    weight = weights(0)
    rounding = LearnedRounding(quantizer_of(weight, 4), weight)
    low, high = STRETCH
    for progress in (0.0, WARM_UP / 2, 0.6, 1.0):
        beta = 20 + (2 - 20) * (progress - WARM_UP) / (1 - WARM_UP)
        total = 0.0
        for position in rounding.position.flatten().tolist():
            share = min(max(1 / (1 + math.exp(-position)) * (high - low) + low, 0), 1)
            total += 1 - abs(2 * share - 1) ** beta
        expected = 0.0 if progress < WARM_UP else total / weight.numel()
        assert math.isclose(rounding.penalty(progress).item(), expected, rel_tol=1e-4, abs_tol=1e-6)


def test_decided_weights_cost_nothing_and_soft_equals_hard() -> None:
    weight = weights(1)
    rounding = LearnedRounding(quantizer_of(weight, 4), weight)
    with torch.no_grad():
        rounding.position.copy_(torch.where(rounding.position > 0, 20.0, -20.0))
    assert rounding.penalty(1.0).item() == 0
    torch.testing.assert_close(rounding(weight), rounding.rounded())
