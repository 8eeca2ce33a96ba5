"""Calls that write into their operand: which values they change, and what does the same without."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, fx

from ..vocabulary import ADDED
from .program import is_view, mutates


class OutOfPlace:
    """What a call in place gives, in memory of its own: in the operand's type, whatever the other operand's is."""

    def __init__(self, operation: Callable[..., Tensor]) -> None:
        self.operation = operation
        self.__name__ = f"out_of_place_{getattr(operation, '__name__', 'operation')}".replace(".", "_")
        self.__module__ = __name__
        self.__qualname__ = self.__name__

    def __call__(self, value: Tensor, *others: Any, **options: Any) -> Tensor:
        return self.operation(value, *others, **options).to(value.dtype)


def write_elsewhere(graph: fx.Graph) -> None:
    """Replace calls in place by those that give the same anew, where nobody else reads what they write into."""
    for node in graph.nodes:
        operand = node.args[0] if node.args else None
        if not mutates(node) or not isinstance(operand, fx.Node) or len(operand.users) > 1 or is_part(operand):
            continue
        other = _functional(node.target) if operand.op in ("call_function", "call_module") else None
        if other is not None:
            node.target = OutOfPlace(other)


def _functional(target: Any) -> Any:
    """``aten.add`` of ``aten.add_``; None where there is none."""
    namespace, _, name = target._schema.name.partition("::")
    if not name.endswith("_") or name.endswith("__"):
        return None
    packet = getattr(getattr(torch.ops, namespace), name[:-1], None)
    return getattr(packet, target._overloadname, None)


def is_part(node: fx.Node) -> bool:
    """Whether a call gives, or may give, memory of its operand's: views, and added modules, which may be off."""
    if node.op == "call_module":
        return str(node.target).partition(".")[0] in ADDED
    return is_view(node) or node.target is operator.getitem or mutates(node)


def base_of(node: fx.Node) -> fx.Node:
    """The value in whose memory this one lies."""
    while is_part(node) and node.args and isinstance(source := node.args[0], fx.Node):
        node = source
    return node


def written_by(nodes: Iterable[fx.Node]) -> set[fx.Node]:
    """The values in whose memory calls write."""
    return {base_of(node.args[0]) for node in nodes if mutates(node) and isinstance(node.args[0], fx.Node)}
