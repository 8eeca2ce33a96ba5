"""Rounding with compensation against a plain evaluation of the error that it lowers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from qrecipe.reconstruct.compensation import compensated

LEVELS = 8  # of each row's grid, -4 .. 3 times its scale


def case(seed: int, groups: int, rows: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (groups, rows, width), correlated inputs (groups, width, places), and scales (groups, rows, 1)."""
    source = torch.Generator().manual_seed(seed)
    weight = torch.randn(groups, rows, width, generator=source, dtype=torch.float64)
    mixing = torch.randn(groups, width, width, generator=source, dtype=torch.float64)
    x = mixing @ torch.randn(groups, width, 40, generator=source, dtype=torch.float64) + 1
    return weight, x, weight.abs().amax(-1, keepdim=True) / 4


def on_grid(scale: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda columns: (columns / scale).round().clamp(-4, 3) * scale


def error(weight: Tensor, rounded: Tensor, x: Tensor, group: int, row: int) -> float:
    """The mean squared error of one row's output, with what damping adds, place by place in plain Python."""
    difference = (rounded - weight)[group, row].tolist()
    places = x[group].T.tolist()
    total = sum(sum(a * b for a, b in zip(difference, place, strict=True)) ** 2 for place in places) / len(places)
    width = len(difference)
    mean_square = sum(value**2 for place in places for value in place) / len(places) / width
    return total + 1e-2 * mean_square * sum(value**2 for value in difference)


@given(seed=st.integers(0, 2**16), groups=st.integers(1, 3), rows=st.integers(1, 3), width=st.integers(1, 6))
def test_it_is_on_the_grid_and_no_single_weight_could_do_better(seed: int, groups: int, rows: int, width: int) -> None:
    weight, x, scale = case(seed, groups, rows, width)
    nearest = on_grid(scale)
    rounded = compensated(weight, x @ x.mT / x.shape[-1], nearest)
    torch.testing.assert_close(nearest(rounded), rounded)
    plain = nearest(weight)
    for group in range(groups):
        for row in range(rows):
            own = error(weight, rounded, x, group, row)
            assert own <= error(weight, plain, x, group, row) * (1 + 1e-9)
            for column in range(width):
                for level in (-1, 1):
                    other = rounded.clone()
                    other[group, row, column] += level * scale[group, row, 0]
                    if bool((nearest(other) - other).abs().max() > 1e-9):
                        continue  # beyond the grid's bounds
                    assert own <= error(weight, other, x, group, row) * (1 + 1e-9)


def test_correlated_inputs_gain_most() -> None:
    weight, x, scale = case(0, 2, 8, 12)
    moment = x @ x.mT / x.shape[-1]
    nearest = on_grid(scale)
    rounded = compensated(weight, moment, nearest)
    before, after = (
        sum(error(weight, found, x, group, row) for group in range(2) for row in range(8))
        for found in (nearest(weight), rounded)
    )
    assert after < 0.5 * before


def test_inputs_that_are_always_zero_leave_the_nearest() -> None:
    weight, _, scale = case(1, 1, 2, 4)
    nearest = on_grid(scale)
    rounded = compensated(weight, torch.zeros(1, 4, 4, dtype=torch.float64), nearest)
    torch.testing.assert_close(rounded, nearest(weight))
