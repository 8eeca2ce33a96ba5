"""Sizes stay symbolic: each way in which models turn them into numbers, captured at one size and run at others."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from qrecipe.capture import capture
from qrecipe.capture.shims import symbolic_sizes
from tests.toys import call, picture, running

SIZES = [(1, 6, 9), (3, 16, 8), (4, 5, 31)]


def tensor_of_sizes(x: Tensor) -> Tensor:
    return x.flatten(1).sum(1, keepdim=True) * torch.tensor([x.shape[2], x.shape[3]])


def tensor_of_nested_sizes(x: Tensor) -> Tensor:
    shapes = torch.as_tensor([[x.shape[2], x.shape[3]], [x.shape[2] // 2, 7]], dtype=torch.float64)
    return x.mean() * shapes


def tensor_of_ratios(x: Tensor) -> Tensor:
    return x.sum() * torch.tensor([x.shape[2] / 4, x.shape[3] / x.shape[2], 0.5])


def tensor_of_sizes_and_numbers(x: Tensor) -> Tensor:
    return x.sum() * torch.tensor([x.shape[2], 0.25])


def linspace_by_position(x: Tensor) -> Tensor:
    return x.sum((0, 1, 3)) * torch.linspace(0.5, x.shape[2] - 0.5, x.shape[2], dtype=torch.float64)


def linspace_by_name(x: Tensor) -> Tensor:
    return x.sum((0, 1, 2)) * torch.linspace(-1, end=1, steps=x.shape[3])


def linspace_of_fewer(x: Tensor) -> Tensor:
    return x.sum() * torch.linspace(0.5, 3, x.shape[2] // 5)  # one step alone at the smallest sizes


def length(x: Tensor) -> Tensor:
    return x.sum((2, 3)) * len(x) + torch.arange(len(x))[:, None]


def whole_number(x: Tensor) -> Tensor:
    return x.sum((1, 3)) * torch.arange(int(x.shape[2])) * int(2.7) * int("3", 8)


def finite_branch(x: Tensor) -> Tensor:
    if not torch.isfinite(x).all():
        x = x.clamp(-1, 1)
    if x.isnan().any() or torch.isinf(x).any():
        x = torch.zeros_like(x)
    return x * 2


def kinds(x: Tensor) -> Tensor:
    assert isinstance(3, int)
    assert not isinstance("3", int)
    assert isinstance(True, int)
    assert isinstance(3, int | str)
    assert isinstance(3, (str, int))
    assert not isinstance(3.0, int)
    assert issubclass(bool, int)
    assert len([1, 2]) == 2
    assert int("12") == 12
    return x * 2


class Computes(nn.Module):
    def __init__(self, compute: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.compute = compute

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.compute(pixel_values)


@pytest.mark.parametrize(
    "compute",
    [
        tensor_of_sizes,
        tensor_of_nested_sizes,
        tensor_of_ratios,
        tensor_of_sizes_and_numbers,
        linspace_by_position,
        linspace_by_name,
        linspace_of_fewer,
        length,
        whole_number,
        finite_branch,
        kinds,
    ],
)
def test_sizes_stay_symbolic(compute: Callable[[Tensor], Tensor]) -> None:
    graph = running(capture(Computes(compute), call, picture())).eval()
    for size in SIZES:
        inputs = picture(*size)
        mine, theirs = graph.run(inputs).outputs, compute(inputs["pixel_values"])
        assert mine.dtype == theirs.dtype
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-5)


def test_linspace_rounds_as_torchs_own() -> None:
    graph = running(capture(Computes(linspace_by_position), call, picture())).eval()
    for height in range(2, 40):
        inputs = picture(1, height, 3)
        assert torch.equal(graph.run(inputs).outputs, linspace_by_position(inputs["pixel_values"]))


def test_names_are_put_back_after_success_and_failure() -> None:
    space = globals()
    assert "len" not in space
    space["int"] = marker = lambda value: value  # a module that has its own
    try:
        for fails in (False, True):
            try:
                with symbolic_sizes(Computes(kinds)):
                    assert space["len"] is not builtins.len
                    assert space["int"] is not marker
                    if fails:
                        raise KeyError
            except KeyError:
                assert fails
            assert "len" not in space
            assert space["int"] is marker
    finally:
        del space["int"]


def test_modules_of_torch_are_left_alone() -> None:
    import torch.nn.modules.conv as space

    with symbolic_sizes(nn.Sequential(nn.Conv2d(1, 1, 1), Computes(kinds))):
        assert "len" not in vars(space)


@settings(max_examples=30)
@given(
    value=st.recursive(
        st.integers(-5, 5) | st.floats(-2, 2, width=32),
        lambda inner: st.lists(inner, min_size=2, max_size=2),
        max_leaves=4,
    )
)
def test_plain_values_are_torchs_own_business(value: Any) -> None:
    def make() -> Any:
        try:
            return torch.tensor(value)
        except (ValueError, TypeError):
            return None

    expected = make()
    with symbolic_sizes(Computes(kinds)):
        found = make()
    assert (found is None) == (expected is None)
    if found is not None:
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)
