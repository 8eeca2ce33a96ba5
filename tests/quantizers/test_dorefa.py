"""DoReFa against its equations."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from qrecipe.quantizers import QuantizedOperand, build
from qrecipe.quantizers.dorefa import DoReFa
from qrecipe.recipe.definition import QuantizerSpec


def dorefa(bits: int, weight: Tensor, channels: int = 0) -> DoReFa:
    operand = QuantizedOperand(
        "site", tuple(weight.shape), 0 if channels else None, max(channels, 1), is_weight=True, batched=False
    )
    spec = QuantizerSpec(bits, "dorefa", "channel" if channels else "tensor")
    quantizer = build(spec, operand).double()
    assert isinstance(quantizer, DoReFa)
    quantizer.observe(weight)
    quantizer.finish_calibration()
    quantizer.set_mode("on")
    return quantizer


def a_weight(seed: int) -> Tensor:
    return torch.randn(6, 5, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(weight: Tensor, bits: int) -> Tensor:
    """Equations 5 and 9, value by value."""
    largest = max(abs(math.tanh(float(value))) for value in weight.flatten())
    last = 2**bits - 1
    found = [2 * round((math.tanh(float(value)) / (2 * largest) + 0.5) * last) / last - 1 for value in weight.flatten()]
    return torch.tensor(found, dtype=weight.dtype).view_as(weight)


@given(bits=st.integers(2, 8), seed=st.integers(0, 1000))
def test_values_are_the_paper_s_times_a_size(bits: int, seed: int) -> None:
    weight = a_weight(seed)
    quantizer = dorefa(bits, weight)
    torch.testing.assert_close(quantizer(weight), by_hand(weight, bits) * quantizer.size)
    expected = by_hand(weight, bits)
    fitted = (expected * weight).sum() / expected.square().sum()
    torch.testing.assert_close(quantizer.size, fitted[None])


def test_channel_by_channel() -> None:
    weight = a_weight(0)
    weight[2] = 0
    quantizer = dorefa(4, weight, channels=6)
    for channel in (0, 1, 3, 4, 5):
        expected = by_hand(weight[channel], 4) * quantizer.size[channel]
        torch.testing.assert_close(quantizer(weight)[channel], expected)
    assert quantizer(weight)[2].abs().max() < 1e-6  # a grid without zero comes near it


@given(bits=st.integers(2, 8), seed=st.integers(0, 1000))
def test_integers_mean_what_is_quantized(bits: int, seed: int) -> None:
    weight = a_weight(seed)
    quantizer = dorefa(bits, weight, channels=6)
    encoding, integers = quantizer.encoding(), quantizer.integers(weight)
    assert not encoding.integer
    assert integers.min() == quantizer.grid.lo or integers.max() == quantizer.grid.hi
    torch.testing.assert_close(encoding.restore(integers), quantizer(weight))


def test_gradients_pass_straight_through_the_rounding() -> None:
    weight = a_weight(1).requires_grad_()
    quantizer = dorefa(3, weight.detach())
    (found,) = torch.autograd.grad(quantizer(weight).square().sum(), weight)
    slopes = 2 * quantizer(weight).detach()
    bent = torch.tanh(weight)
    (expected,) = torch.autograd.grad(bent / bent.abs().max() * quantizer.size, weight, slopes)
    torch.testing.assert_close(found, expected)
    assert quantizer.steps() == ()
