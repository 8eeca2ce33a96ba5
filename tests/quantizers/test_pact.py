"""PACT against its equations."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from qrecipe.quantizers import QuantizedOperand, build
from qrecipe.quantizers.pact import PACT
from qrecipe.recipe.definition import QuantizerSpec


def pact(bits: int, x: Tensor, heads: int = 0) -> PACT:
    """Calibrated on x, (batch, ...) or (batch, heads, ...)."""
    shape, axis = ((None,) * x.dim(), 1 if heads else None)
    operand = QuantizedOperand("site", shape, axis, max(heads, 1), is_weight=False, batched=True)
    quantizer = build(QuantizerSpec(bits, "pact", "head" if heads else "tensor", "integer"), operand).double()
    assert isinstance(quantizer, PACT)
    quantizer.observe(x)
    quantizer.finish_calibration()
    quantizer.set_mode("on")
    return quantizer


def values(seed: int, low: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 4, 50, generator=generator, dtype=torch.float64).clamp_min(low)


@given(bits=st.integers(2, 8), seed=st.integers(0, 1000), share=st.floats(0.2, 1.5))
def test_outputs_and_gradients_are_those_of_the_equations(bits: int, seed: int, share: float) -> None:
    x = values(seed).requires_grad_()
    quantizer = pact(bits, x.detach())
    with torch.no_grad():
        quantizer.alpha.mul_(share)
    alpha = float(quantizer.alpha.detach())
    clipped = 0.5 * (x.abs() - (x - alpha).abs() + alpha)  # equation 1
    levels = 2**bits - 1
    expected = torch.round(clipped * levels / alpha) * alpha / levels  # equation 2
    found = quantizer(x)
    # A value half-way between two levels may go either way.
    assert (found - expected).abs().max() <= 1.001 * alpha / levels
    assert ((found - expected).abs() > 1e-9).double().mean() < 0.02
    to_x, to_alpha = torch.autograd.grad(found.sum(), (x, quantizer.alpha))
    assert float(to_alpha) == float((x >= alpha).sum())  # equation 3
    inside = (x.detach() > 0) & (x.detach() < alpha)
    assert torch.equal(to_x[inside], torch.ones(int(inside.sum()), dtype=x.dtype))
    assert not bool(to_x[(x.detach() > alpha)].any())


def test_signed_data_has_a_signed_range_head_by_head() -> None:
    x = values(0, low=-9.0)
    x[:, 1] = x[:, 1].abs()
    quantizer = pact(4, x, heads=4)
    assert quantizer.signed.tolist() == [True, False, True, True]
    found = quantizer(x)
    for head in range(4):
        alpha = float(quantizer.alpha[head].detach())
        levels = 7 if head != 1 else 15
        low = -alpha if head != 1 else 0.0
        expected = torch.round(x[:, head].clamp(low, alpha) * levels / alpha) * alpha / levels
        torch.testing.assert_close(found[:, head], expected)
    (to_alpha,) = torch.autograd.grad(found.sum(), quantizer.alpha)
    alpha = quantizer.alpha.detach()[:, None]
    own = ((x >= alpha).double().sum((0, 2)) - ((x <= -alpha) & (alpha > 0)).double().sum((0, 2))).tolist()
    assert to_alpha.tolist() == [pytest.approx(value) for value in own]


@given(bits=st.integers(2, 8), seed=st.integers(0, 1000), low=st.sampled_from([0.0, -9.0]))
def test_integers_mean_what_is_quantized(bits: int, seed: int, low: float) -> None:
    x = values(seed, low)
    quantizer = pact(bits, x)
    encoding, integers = quantizer.encoding(), quantizer.integers(x)
    assert integers.min() >= quantizer.grid.lo
    assert integers.max() <= quantizer.grid.hi
    assert encoding.integer
    torch.testing.assert_close(encoding.restore(integers), quantizer(x).detach())
