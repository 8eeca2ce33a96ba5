"""The values of a program that passes look for: cross-attention queries, and what can be tapped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import fx

from .shapes import Extent

aten = torch.ops.aten

View = tuple[Literal["transpose", "flatten"], int, int]
"""Another view of a tensor: two dimensions in exchange, or two neighbours as one."""
_CALLS: dict[str, Any] = {"transpose": aten.transpose.int, "flatten": aten.flatten.using_ints}


@dataclass(frozen=True)
class QueryPoint:
    """A decoder layer's cross-attention query: the node, and the operand slots that read it as the query.

    layout: ``bhld`` (batch, heads, queries, head_dim) or ``bld`` (batch, queries, heads * head_dim).
    """

    node: fx.Node
    users: tuple[tuple[fx.Node, int], ...]
    layout: Literal["bhld", "bld"]
    heads: int
    head_dim: int

    def moved(self, mapped: Mapping[fx.Node, fx.Node]) -> QueryPoint:
        """The same where each node is another one; those that are not named stay."""
        users = tuple((mapped.get(user, user), slot) for user, slot in self.users)
        return replace(self, node=mapped.get(self.node, self.node), users=users)


@dataclass(frozen=True)
class TapPoint:
    """A value that can be tapped: a node, and how it is viewed from there."""

    node: fx.Node
    views: tuple[View, ...] = ()

    def moved(self, mapped: Mapping[fx.Node, fx.Node]) -> TapPoint:
        """The same where the node is another one."""
        return replace(self, node=mapped.get(self.node, self.node))

    def compute(self, graph: fx.Graph) -> fx.Node:
        """The value as a node, with calls for its views behind the node."""
        value = self.node
        for name, first, second in self.views:
            with graph.inserting_after(value):
                value = graph.call_function(_CALLS[name], (value, first, second))
            value.meta = {"module": self.node.meta.get("module", "")}
        return value


def viewed(shape: tuple[Extent, ...], views: tuple[View, ...]) -> tuple[Extent, ...]:
    """The shape of a tensor after its views."""
    for name, first, second in views:
        if name == "transpose":
            order = list(range(len(shape)))
            order[first], order[second] = second, first
            shape = tuple(shape[index] for index in order)
        else:
            shape = (*shape[:first], shape[first] * shape[second], *shape[second + 1 :])
    return shape
