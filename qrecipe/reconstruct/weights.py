"""From a quantized weight back to the parameter behind it, so that learned rounding is kept in the parameter itself.

A weight that lies on its quantizer's grid is quantized to itself: nothing but the parameter needs to be saved, and a
training that follows starts from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..passes.fold_batch_norm import SMALLEST_FACTOR, fold_weight


@dataclass(frozen=True)
class Weight:
    """A parameter, or a view of part of it, and what multiplies it before it is quantized.

    part: shares the parameter's memory. factor: broadcasts against part, or None.
    """

    parameter: Tensor
    part: Tensor
    factor: Tensor | None

    @property
    def memory(self) -> tuple[int, tuple[int, ...]]:
        """What two weights have in common that are the same numbers."""
        return self.part.data_ptr(), tuple(self.part.shape)

    def value(self) -> Tensor:
        """What the quantizer sees."""
        value = self.part.detach()
        return value if self.factor is None else value * self.factor


def put(weight: Weight, value: Tensor) -> None:
    """Write what the quantizer is to see. Channels whose factor is next to nothing stay as they are."""
    with torch.no_grad():
        if weight.factor is None:
            weight.part.copy_(value)
            return
        alive = weight.factor.abs() >= SMALLEST_FACTOR
        weight.part.copy_(torch.where(alive, value / torch.where(alive, weight.factor, 1.0), weight.part))


@torch.no_grad()
def weight_behind(root: nn.Module, source: fx.Node) -> Weight | None:
    """The weight that a node computes; None where it is no parameter, or no part of one that can be written into."""
    factor = None
    axis: Any = 0
    if source.target is fold_weight:
        inner, of, axis = source.args
        assert isinstance(inner, fx.Node)
        assert isinstance(of, fx.Node)
        factor, source = _computed(root, of), inner
        if factor is None:
            return None
    parameter = _parameter(root, source)
    part = None if parameter is None else _computed(root, source)
    if parameter is None or part is None or not _shares_memory(part, parameter):
        return None
    if factor is not None:
        factor = factor.reshape([-1 if index == axis else 1 for index in range(part.dim())])
    return Weight(parameter, part, factor)


def _parameter(root: nn.Module, node: fx.Node) -> nn.Parameter | None:
    """The one parameter that a node reads, itself or through others."""
    while node.op == "call_function" and len(node.all_input_nodes) == 1:
        node = node.all_input_nodes[0]
    value = _attribute(root, str(node.target)) if node.op == "get_attr" else None
    return value if isinstance(value, nn.Parameter) else None


def _computed(root: nn.Module, node: fx.Node) -> Any:
    """A value that depends on parameters and buffers alone, else None."""
    if node.op == "get_attr":
        return _attribute(root, str(node.target)).detach()
    if node.op != "call_function" or not node.all_input_nodes:
        return None
    found = {source: _computed(root, source) for source in node.all_input_nodes}
    if any(value is None for value in found.values()):
        return None
    arguments: Any = fx.node.map_arg(node.args, lambda own: found[own])
    options: Any = fx.node.map_arg(node.kwargs, lambda own: found[own])
    function: Any = node.target
    return function(*arguments, **options)


def _shares_memory(part: Any, parameter: Tensor) -> bool:
    return isinstance(part, Tensor) and part.untyped_storage().data_ptr() == parameter.untyped_storage().data_ptr()


def _attribute(root: nn.Module, path: str) -> Tensor:
    owner, _, name = path.rpartition(".")
    value: Tensor = getattr(root.get_submodule(owner), name)
    return value
