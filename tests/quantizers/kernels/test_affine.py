"""Scales in use and zero points: values, written-out gradients, LSQ's factor."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from qrecipe.quantizers.kernels.affine import SMALLEST_SCALE, affine, affine_plain
from qrecipe.quantizers.kernels.scale_gradient import lsq_factor, scale_gradient

numbers = st.floats(-5, 5, width=32)
pairs = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=8)


@given(pairs, st.booleans(), st.sampled_from([1.0, 0.01]))
def test_written_out_gradients_equal_autograd(values: list[tuple[float, float]], integer: bool, factor: float) -> None:
    scale, offset = (torch.tensor(column, dtype=torch.float64).requires_grad_() for column in zip(*values, strict=True))
    fast, plain = affine(scale, offset, integer, factor), affine_plain(scale, offset, integer, factor)
    assert torch.equal(fast[0], plain[0])
    assert torch.equal(fast[1], plain[1])
    weights = (torch.randn_like(scale), torch.randn_like(scale))
    got = torch.autograd.grad(fast, (scale, offset), weights)
    expected = torch.autograd.grad(plain, (scale, offset), weights)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


@given(st.lists(numbers, min_size=1, max_size=8))
def test_symmetric_is_the_magnitude_with_zero_points_of_zero(values: list[float]) -> None:
    scale = torch.tensor(values).requires_grad_()
    used, zero_point = affine(scale, None, True, 0.5)
    assert used.tolist() == pytest.approx([max(abs(v), SMALLEST_SCALE) for v in scale.tolist()])
    assert zero_point.tolist() == [0.0] * len(values)
    used.sum().backward()
    assert scale.grad is not None
    assert scale.grad.tolist() == [-0.5 if v < 0 else 0.5 for v in values]


@given(pairs)
def test_integer_zero_points_are_rounded_and_fit_eight_bits(values: list[tuple[float, float]]) -> None:
    scale, offset = (torch.tensor(column) for column in zip(*values, strict=True))
    used, zero_point = affine(scale, offset, True)
    for s, o, z in zip(used.tolist(), offset.tolist(), zero_point.tolist(), strict=True):
        exact = float(torch.tensor(o) / -torch.tensor(s))
        assert z == min(max(round(exact), -128), 127)


def test_smooth_pieces_agree_with_finite_differences() -> None:
    scale = torch.tensor([0.3, -0.7, 2.0], dtype=torch.float64, requires_grad=True)
    offset = torch.tensor([0.1, -4.0, 3.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s, o: affine(s, o, False), (scale, offset))


@pytest.mark.parametrize("start", [0.0, 1e-30, -1e-12])
def test_a_scale_below_the_smallest_can_come_back(start: float) -> None:
    scale = torch.tensor([start], requires_grad=True)
    used, _ = affine(scale, None, True)
    assert used.item() == pytest.approx(SMALLEST_SCALE)
    used.sum().backward()
    assert scale.grad is not None
    assert abs(scale.grad.item()) == 1.0


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=9))
def test_the_gradient_scale_leaves_the_value(values: list[float]) -> None:
    x = torch.tensor(values, requires_grad=True)
    scaled: Tensor = scale_gradient(x, 0.25)
    assert torch.equal(scaled, x)
    scaled.backward(torch.ones_like(x))
    assert x.grad is not None
    assert x.grad.tolist() == [0.25] * len(values)


@given(st.integers(1, 10**7), st.integers(1, 127))
def test_the_factor_is_lsqs(count: int, highest: int) -> None:
    assert lsq_factor(count, highest) == pytest.approx((count * highest) ** -0.5)
    assert math.isfinite(lsq_factor(0, highest))
