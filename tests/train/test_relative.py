"""Steps of scales and offsets are shares of the scale."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from qrecipe.train.relative import OFFSET_STEPS, make_relative


def adam(value: float, gradients: list[float], lr: float, unit: float | None) -> float:
    """Plain Adam on one number; with ``unit`` None each update is multiplied by the number's own magnitude."""
    first = second = 0.0
    for step, gradient in enumerate(gradients, 1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        update = lr * (first / (1 - 0.9**step)) / (math.sqrt(second / (1 - 0.999**step)) + 1e-8)
        value -= update * (abs(value) if unit is None else unit)
    return value


def test_updates_equal_a_written_out_adam() -> None:
    scale = nn.Parameter(torch.tensor([0.001, 3.0], dtype=torch.float64))
    other = nn.Parameter(torch.tensor([0.5], dtype=torch.float64))
    optimizer = torch.optim.AdamW([scale, other], lr=0.1, weight_decay=0.0)
    make_relative(optimizer, [("a.scale", scale)])
    gradients = [2.0, -1.0, 0.5, 4.0]
    for gradient in gradients:
        scale.grad = torch.full((2,), gradient, dtype=torch.float64)
        other.grad = torch.full((1,), gradient, dtype=torch.float64)
        optimizer.step()
    expected = [adam(0.001, gradients, 0.1, None), adam(3.0, gradients, 0.1, None)]
    assert scale.tolist() == pytest.approx(expected, rel=1e-9)
    assert other.item() == pytest.approx(adam(0.5, gradients, 0.1, 1.0), rel=1e-9)


def test_an_offset_moves_in_steps_of_its_grid_and_a_frozen_scale_stays() -> None:
    scale = nn.Parameter(torch.tensor([0.01]), requires_grad=False)
    offset = nn.Parameter(torch.tensor([1.0]))
    optimizer = torch.optim.AdamW([offset], lr=0.1, weight_decay=0.0)
    make_relative(optimizer, [("a.scale", scale), ("a.offset", offset)])
    offset.grad = torch.ones(1)
    optimizer.step()
    assert offset.item() == pytest.approx(1.0 - 0.1 * OFFSET_STEPS * 0.01, rel=1e-5)
    assert scale.item() == pytest.approx(0.01)


def test_scales_stay_positive_whatever_the_gradient() -> None:
    scale = nn.Parameter(torch.tensor([1e-6, 1.0]))
    optimizer = torch.optim.AdamW([scale], lr=0.05, weight_decay=0.0)
    make_relative(optimizer, [("a.scale", scale)])
    for _ in range(200):
        scale.grad = torch.tensor([1e6, 1e-6])
        optimizer.step()
    assert (scale > 0).all()


def test_nothing_to_do_is_no_hook() -> None:
    other = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.AdamW([other], lr=0.1)
    make_relative(optimizer, [])
    assert not optimizer._optimizer_step_pre_hooks
