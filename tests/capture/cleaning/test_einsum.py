"""Einsum's matrix products are written as matmul, and compute the same; what is no matrix product is left."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from qrecipe.capture import capture, verify
from qrecipe.structure.operations import find_operations
from tests.toys import call, captured_toy, picture

EINSUM, MATMUL = torch.ops.aten.einsum.default, torch.ops.aten.matmul.default
PRODUCTS = {
    "bqhd,bkhd->bhqk": ((2, 3, 4, 5), (2, 6, 4, 5)),
    "bhqk,bkhd->bqhd": ((2, 4, 3, 6), (2, 6, 4, 5)),
    "bqd,bkd->bkq": ((2, 3, 5), (2, 6, 5)),
    "b q d , d e -> b e q": None,  # two indices of the left operand alone
    "bhwc,bhkc->bhwk": ((2, 4, 3, 5), (2, 4, 6, 5)),
}
OTHERS = {
    "bqd,bqd->bq": ((2, 3, 5), (2, 3, 5)),  # no index of its own in either
    "bqhd,bkhd->bq": ((2, 3, 4, 5), (2, 6, 4, 5)),  # several indices are summed over
    "...d,...d->...": ((2, 3, 5), (2, 3, 5)),
    "bqd,bkd->bqk": ((2, 3, 1), (2, 6, 5)),  # an extent of 1 that stands for any
    "bqd,bkd,bkd->bqk": None,
}


class Product(nn.Module):
    """``equation`` between two parts of the image's mean, shaped at will."""

    def __init__(self, equation: str, left: tuple[int, ...], right: tuple[int, ...]) -> None:
        super().__init__()
        self.equation = equation
        self.left = nn.Parameter(torch.randn(left, dtype=torch.float64))
        self.right = nn.Parameter(torch.randn(right, dtype=torch.float64))

    def forward(self, pixel_values: Tensor) -> Tensor:
        mean = pixel_values.mean()
        return torch.einsum(self.equation, self.left * mean, self.right + mean)


def targets(model: nn.Module) -> set[object]:
    captured = captured_toy(model)
    assert verify(captured, model, call, [picture(3, 8, 16)], tolerance=1e-12)
    return {node.target for program in captured.programs.values() for node in program.graph.nodes}


@pytest.mark.parametrize("equation", [equation for equation, shapes in PRODUCTS.items() if shapes])
def test_matrix_products(equation: str) -> None:
    shapes = PRODUCTS[equation]
    assert shapes is not None
    found = targets(Product(equation, *shapes))
    assert MATMUL in found
    assert EINSUM not in found


@pytest.mark.parametrize("equation", [equation for equation, shapes in OTHERS.items() if shapes])
def test_others_are_left(equation: str) -> None:
    shapes = OTHERS[equation]
    assert shapes is not None
    assert EINSUM in targets(Product(equation, *shapes))


class ThreeAtOnce(nn.Module):
    """Operands of different kinds: a weight with two indices of its own, and a product of three."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4, dtype=torch.float64))

    def forward(self, pixel_values: Tensor) -> Tensor:
        tokens = pixel_values.flatten(2).mT
        mixed = torch.einsum("b q d , d e -> b e q", tokens, self.weight)
        return torch.einsum("bqd,bkd,bkd->bqk", mixed, mixed, mixed)


def test_products_of_more_than_two_matrices_are_left() -> None:
    model = ThreeAtOnce()
    captured = capture(model, call, picture())
    einsums = [node for node in captured.programs["eval"].graph.nodes if node.target is EINSUM]
    assert len(einsums) == 2
    assert not find_operations(captured)["eval"]
