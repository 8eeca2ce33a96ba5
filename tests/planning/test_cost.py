"""Costs against a count by hooks on the eager model, and by hand where numbers are small."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from qrecipe.planning import Plan, cost_of
from qrecipe.recipe import Recipe
from tests.specimens import W4A4, Specimen, a_recipe
from tests.toys import captured_toy, plan_of

SIZES = [(64, 96), (160, 96)]


class CountAttention(TorchFunctionMode):
    """Multiply-accumulates of every scaled_dot_product_attention: q k^T, and the probabilities times v."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is nn.functional.scaled_dot_product_attention:
            q, k, v = args[:3]
            for batch in range(q.shape[0]):
                for head in range(q.shape[1]):
                    scores = q[batch, head] @ k[batch, head].mT
                    self.macs += scores.numel() * (q.shape[-1] + v.shape[-1])
        return func(*args, **(kwargs or {}))


def counted(specimen: Specimen, height: int, width: int) -> int:
    """MACs of one image in eval mode: what modules and attention do, one output value after another."""
    model, total = specimen.eager(), 0

    def count(module: nn.Module, _: Any, out: Tensor) -> None:
        nonlocal total
        total += out.numel() * math.prod(module.weight.shape[1:])  # type: ignore[union-attr, operator]

    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad(), CountAttention() as attention:
        specimen.family.forward(model, specimen.inputs(1, height, width))
    return total + attention.macs


def planned(specimen: Specimen, size: tuple[int, int], quantize: dict[str, Any] | None = None) -> Plan:
    return plan_of(specimen.captured, a_recipe(quantize or {}), size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["toy", "demo", "detr", "deimv2"])
def test_macs_are_those_of_the_eager_model(name: str, size: tuple[int, int], request: pytest.FixtureRequest) -> None:
    specimen: Specimen = request.getfixturevalue(name)
    expected = counted(specimen, *size)
    if name == "deimv2":  # two layers weigh and add 3 sampled values of 16 channels for each of 8 queries
        expected += 2 * 3 * 16 * 8
    if name == "demo":  # its first class head is called in evaluation too, but nothing reads it
        expected -= 6 * 32 * 3
    cost = cost_of(planned(specimen, size))
    assert cost.macs == expected
    assert cost.operations == cost.macs
    assert cost.bit_operations == cost.macs * 32 * 32
    assert cost.bytes == cost.float_bytes == 4 * sum(parameter.numel() for parameter in specimen.model.parameters())


class TwoLayers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, padding=1)
        self.linear = nn.Linear(5, 7)

    def forward(self, pixel_values: Tensor) -> Tensor:
        out: Tensor = self.linear(self.conv(pixel_values).flatten(2).mT)
        return out


def two_layers(recipe: Recipe, size: tuple[int, int] = (10, 20)) -> Plan:
    return plan_of(captured_toy(TwoLayers()), recipe, size)


CONV, LINEAR = 10 * 20 * 5 * 3 * 9, 10 * 20 * 5 * 7


def test_costs_by_hand() -> None:
    rules = [{"match": "linear", "activation": {"bits": 8}}, {"match": "linear", "weight": {"bits": 3}}]
    cost = cost_of(two_layers(a_recipe({**W4A4, "rules": rules})))
    assert cost.macs == CONV + LINEAR
    assert cost.operations == CONV * 4 / 32 + LINEAR * 8 / 32
    assert cost.bit_operations == CONV * 4 * 4 + LINEAR * 3 * 8
    weights = math.ceil(135 * 4 / 8) + math.ceil(35 * 3 / 8)
    biases = 4 * (5 + 7)
    scales = 4 * (5 + 7)  # one scale per output channel, symmetric
    activations = 4 * (2 + 2)  # scale and offset of each input
    assert cost.bytes == weights + biases + scales + activations
    assert (cost.parameters, cost.float_bytes) == (135 + 5 + 35 + 7, 4 * 182)
    assert cost.to_dict() == {
        "parameters": 182,
        "bytes": cost.bytes,
        "float_bytes": 728,
        "macs": cost.macs,
        "operations": cost.operations,
        "bit_operations": cost.bit_operations,
    }


def test_one_real_operand_makes_the_operation_real() -> None:
    cost = cost_of(two_layers(a_recipe({**W4A4, "rules": [{"match": "conv", "activation": "float"}]})))
    assert cost.operations == CONV + LINEAR * 4 / 32
    assert cost.bit_operations == CONV * 4 * 32 + LINEAR * 4 * 4


def test_some_operations_of_a_plan() -> None:
    plan = two_layers(a_recipe(W4A4))
    cost = cost_of(plan, [operation for operation in plan.operations if operation.name == "linear"])
    assert (cost.macs, cost.operations) == (LINEAR, LINEAR / 8)
    assert cost.bytes == cost_of(plan).bytes
    assert [operation.macs for operation in plan.operations] == [CONV, LINEAR]


class Transposed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(3, 6, 3, stride=2, groups=3)

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = self.up(pixel_values).flatten(2)
        return x @ x.mT


def test_a_transposed_convolution_and_a_product() -> None:
    cost = cost_of(plan_of(captured_toy(Transposed()), a_recipe({}), (4, 5)))
    # Every input value meets each of its group's two 3x3 kernels; then 6 x 6 products over the 9 x 11 places.
    assert cost.macs == (3 * 4 * 5) * 2 * 9 + 6 * 6 * 9 * 11


def test_attention_bits_count_apart(toy: Specimen) -> None:
    real, mixed = (cost_of(planned(toy, (16, 24), quantize)) for quantize in (None, W4A4))
    attention = 2 * 2 * (4 * 4 * (8 * 12) * 2)  # layers, heads, then q k^T and A v for 4 queries and 96 tokens
    assert mixed.operations == (real.macs - attention) * 4 / 32 + attention * 8 / 32
