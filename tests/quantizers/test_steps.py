"""How quantizers' parameters step: scales by shares of themselves, zero points by shares of a level, others plainly."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from qrecipe.quantizers import PlainStep, RelativeStep, step_in_coordinates


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
    step_in_coordinates(optimizer, [RelativeStep(scale), PlainStep(other)])
    gradients = [2.0, -1.0, 0.5, 4.0]
    for gradient in gradients:
        scale.grad = torch.full((2,), gradient, dtype=torch.float64)
        other.grad = torch.full((1,), gradient, dtype=torch.float64)
        optimizer.step()
    expected = [adam(0.001, gradients, 0.1, None), adam(3.0, gradients, 0.1, None)]
    assert scale.tolist() == pytest.approx(expected, rel=1e-9)
    assert other.item() == pytest.approx(adam(0.5, gradients, 0.1, 1.0), rel=1e-9)


def test_an_offset_moves_with_its_scale_and_by_shares_of_a_level() -> None:
    """Against Adam on log scale and zero point themselves, one step: the first step of Adam is lr times the sign."""
    scale, offset = nn.Parameter(torch.tensor([0.01])), nn.Parameter(torch.tensor([0.07]))
    optimizer = torch.optim.AdamW([scale, offset], lr=0.1, weight_decay=0.0)
    step_in_coordinates(optimizer, [RelativeStep(scale, offset)])
    # d/d(scale) at a fixed offset / scale of 7 is 1 - 7 * 0.5 < 0, though d/d(scale) at a fixed offset is positive.
    scale.grad, offset.grad = torch.tensor([1.0]), torch.tensor([-0.5])
    optimizer.step()
    assert scale.item() == pytest.approx(0.01 * 1.1, rel=1e-5)
    assert (offset / scale).item() == pytest.approx(7.1, rel=1e-5)


def test_the_turned_gradient_is_the_derivative_at_a_fixed_zero_point() -> None:
    scale = nn.Parameter(torch.tensor([0.3], dtype=torch.float64))
    offset = nn.Parameter(torch.tensor([-0.8], dtype=torch.float64))

    def loss(s: torch.Tensor, o: torch.Tensor) -> torch.Tensor:
        return (s.square() * 3 + o.sin() * s).sum()

    loss(scale, offset).backward()
    level = (offset / scale).detach()
    moved = scale.detach().clone().requires_grad_()
    loss(moved, level * moved).backward()
    optimizer = torch.optim.SGD([scale, offset], lr=0.0)
    step_in_coordinates(optimizer, [RelativeStep(scale, offset)])
    optimizer.step()
    assert scale.grad is not None
    assert moved.grad is not None
    assert scale.grad.item() == pytest.approx(moved.grad.item(), rel=1e-12)


def test_scales_stay_positive_whatever_the_gradient() -> None:
    scale = nn.Parameter(torch.tensor([1e-6, 1.0]))
    optimizer = torch.optim.AdamW([scale], lr=0.05, weight_decay=0.0)
    step_in_coordinates(optimizer, [RelativeStep(scale)])
    for _ in range(200):
        scale.grad = torch.tensor([1e6, 1e-6])
        optimizer.step()
    assert (scale > 0).all()


def test_nothing_to_do_is_no_hook() -> None:
    other = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.AdamW([other], lr=0.1)
    step_in_coordinates(optimizer, [])
    assert not optimizer._optimizer_step_pre_hooks


def test_many_steps_at_once_are_those_of_one_after_the_other() -> None:
    def trained(together: bool) -> list[torch.Tensor]:
        draw = torch.Generator().manual_seed(0)
        values = [(torch.rand(size, generator=draw) - 0.3, torch.randn(size, generator=draw)) for size in (1, 5, 8, 1)]
        pairs = [(nn.Parameter(a), nn.Parameter(b) if index != 1 else None) for index, (a, b) in enumerate(values)]
        steps = [RelativeStep(*pair) for pair in pairs]
        parameters = [value for pair in pairs for value in pair if value is not None]
        optimizer = torch.optim.AdamW(parameters, lr=0.1)
        for part in [steps] if together else [[step] for step in steps]:
            step_in_coordinates(optimizer, part)
        for number in range(3):
            for index, parameter in enumerate(parameters):  # one of them never has a gradient
                parameter.grad = None if index == 4 else torch.randn(parameter.shape, generator=draw) * 10**number
            optimizer.step()
        return [value.detach() for value in parameters]

    assert all(torch.equal(a, b) for a, b in zip(trained(True), trained(False), strict=True))
