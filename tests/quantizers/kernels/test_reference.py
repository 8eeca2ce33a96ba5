"""The plain fake quantizer against Python loops: values, gradients, the grid."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qrecipe.errors import RecipeError
from qrecipe.quantizers import Grid
from qrecipe.quantizers.kernels.reference import fake_quantize, quantize, round_straight_through

finite = st.floats(-1e4, 1e4, width=32)
scales = st.floats(2**-10, 2**10, width=32)


def loop(value: float, scale: float, zero_point: float, bits: int, integer: bool) -> tuple[float, float]:
    """(x_q, x_hat) of one value in float32 arithmetic; Python rounds half to even."""
    lo, hi = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    x, s, z = np.float32(value), np.float32(scale), np.float32(zero_point)
    rounded = np.float32(round(float(x / s))) + z if integer else np.float32(round(float(np.float32(x / s + z))))
    clipped = np.float32(min(max(float(rounded), lo), hi))
    return float(clipped), float(s * np.float32(clipped - z))


@given(st.lists(finite, min_size=1, max_size=20), scales, st.integers(-128, 127), st.integers(2, 8))
def test_integer_zero_point_equals_a_loop(values: list[float], scale: float, zero_point: int, bits: int) -> None:
    x, s, z = torch.tensor(values), torch.tensor(scale), torch.tensor(float(zero_point))
    expected = [loop(value, scale, zero_point, bits, True) for value in values]
    assert quantize(x, s, z, Grid(bits), True).tolist() == [q for q, _ in expected]
    assert fake_quantize(x, s, z, Grid(bits), True).tolist() == [hat for _, hat in expected]


@given(st.lists(finite, min_size=1, max_size=20), scales, st.floats(-300, 300, width=32), st.integers(2, 8))
def test_real_zero_point_equals_a_loop(values: list[float], scale: float, zero_point: float, bits: int) -> None:
    x, s, z = torch.tensor(values), torch.tensor(scale), torch.tensor(zero_point)
    expected = [loop(value, scale, zero_point, bits, False) for value in values]
    assert quantize(x, s, z, Grid(bits), False).tolist() == [q for q, _ in expected]
    assert fake_quantize(x, s, z, Grid(bits), False).tolist() == [hat for _, hat in expected]


def test_ties_go_to_even_before_the_integer_zero_point_and_after_the_real_one() -> None:
    x = torch.tensor([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    one = torch.tensor(1.0)
    assert quantize(x, one, one, Grid(8), True).tolist() == [-1, -1, 1, 1, 3, 3]
    assert quantize(x, one, one, Grid(8), False).tolist() == [-2, 0, 0, 2, 2, 4]


@pytest.mark.parametrize("bits", range(2, 9))
def test_the_grid_has_all_its_integers_and_no_other(bits: int) -> None:
    x = torch.linspace(-200, 200, 4001)
    grid = Grid(bits)
    found = quantize(x, torch.tensor(1.0), torch.tensor(0.0), grid, True).unique()
    assert found.tolist() == list(range(grid.lo, grid.hi + 1))
    assert (grid.lo, grid.hi) == (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


@pytest.mark.parametrize("bits", [-1, 0, 1, 9, 32])
def test_other_widths_are_refused(bits: int) -> None:
    with pytest.raises(RecipeError, match="bits"):
        Grid(bits)


@given(st.lists(finite, min_size=1, max_size=20), scales, st.integers(-128, 127), st.integers(2, 8))
def test_quantizing_twice_changes_nothing(values: list[float], scale: float, zero_point: int, bits: int) -> None:
    s, z = torch.tensor(scale), torch.tensor(float(zero_point))
    once = fake_quantize(torch.tensor(values), s, z, Grid(bits), True)
    assert torch.equal(fake_quantize(once, s, z, Grid(bits), True), once)


def gradients(x: Tensor, scale: Tensor, zero_point: Tensor, bits: int, integer: bool, weight: Tensor) -> list[Tensor]:
    leaves = [t.clone().requires_grad_() for t in (x, scale, zero_point)]
    return list(torch.autograd.grad(fake_quantize(*leaves, Grid(bits), integer), leaves, weight))


@given(st.integers(0, 10_000), st.integers(2, 8), st.booleans())
def test_gradients_are_those_of_lsq(seed: int, bits: int, integer: bool) -> None:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(30, generator=draw, dtype=torch.float64) * 3
    scale = torch.rand((), generator=draw, dtype=torch.float64) + 0.05
    zero_point = torch.randn((), generator=draw, dtype=torch.float64) * 3
    zero_point = zero_point.round() if integer else zero_point
    weight = torch.randn(30, generator=draw, dtype=torch.float64)
    to_x, to_scale, to_zero_point = [], 0.0, 0.0
    lo, hi = Grid(bits).lo, Grid(bits).hi
    s, z = scale.item(), zero_point.item()
    for value, g in zip(x.tolist(), weight.tolist(), strict=True):
        rounded = round(value / s) + z if integer else round(value / s + z)
        if lo <= rounded <= hi:
            to_x.append(g)
            to_scale += g * ((rounded - z) - value / s)
        else:
            bound = min(max(rounded, lo), hi)
            to_x.append(0.0)
            to_scale += g * (bound - z)
            to_zero_point += g * -s
    got = gradients(x, scale, zero_point, bits, integer, weight)
    assert got[0].tolist() == pytest.approx(to_x, rel=1e-12)
    assert got[1].item() == pytest.approx(to_scale, rel=1e-9, abs=1e-9)
    assert got[2].item() == pytest.approx(to_zero_point, rel=1e-9, abs=1e-9)


@given(st.floats(-40, 40), st.floats(0.1, 2.0), st.floats(-5, 5))
def test_outside_the_range_gradients_equal_finite_differences(value: float, scale: float, zero_point: float) -> None:
    # Outside, x_hat = scale (bound - zero point) is smooth in both; inside, only the rounding error's slope is not.
    x, s, z = (torch.tensor(v, dtype=torch.float64) for v in (value, scale, zero_point))
    if -8.6 < (x / s + z).item() < 7.6:
        return
    _, to_scale, to_zero_point = gradients(x, s, z, 4, False, torch.ones((), dtype=torch.float64))
    step = 1e-6

    def at(ds: float, dz: float) -> float:
        return float(fake_quantize(x, s + ds, z + dz, Grid(4), False))

    assert to_scale.item() == pytest.approx((at(step, 0) - at(-step, 0)) / (2 * step), abs=1e-6)
    assert to_zero_point.item() == pytest.approx((at(0, step) - at(0, -step)) / (2 * step), abs=1e-6)


@settings(max_examples=20)
@given(st.sampled_from([torch.bfloat16, torch.float16, torch.float64]))
def test_the_dtype_of_x_is_kept(dtype: torch.dtype) -> None:
    x = torch.linspace(-3, 3, 100).to(dtype)
    scale, zero_point = torch.tensor(0.3), torch.tensor(1.0)
    got = fake_quantize(x, scale, zero_point, Grid(4), True)
    assert got.dtype == dtype
    # Narrow inputs are computed with float32 scales, so the scale is not rounded to 8 bits of mantissa.
    narrow = dtype in (torch.bfloat16, torch.float16)
    wide = fake_quantize(x.float() if narrow else x, scale, zero_point, Grid(4), True)
    assert torch.equal(got, wide.to(dtype))


def test_infinities_saturate() -> None:
    x = torch.tensor([math.inf, -math.inf])
    assert fake_quantize(x, torch.tensor(0.5), torch.tensor(1.0), Grid(4), True).tolist() == [3.0, -4.5]


def test_rounding_passes_its_gradient() -> None:
    x = torch.tensor([0.2, 0.5, 1.5, -2.7], requires_grad=True)
    rounded = round_straight_through(x)
    rounded.backward(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert rounded.tolist() == [0.0, 0.0, 2.0, -3.0]
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 2.0, 3.0, 4.0]
