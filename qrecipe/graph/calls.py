"""Nodes that a rewrite adds to a graph, with what later steps read of a node: its module and its value's shape."""

from __future__ import annotations

from typing import Any

from torch import fx

GRADIENTS = "qrecipe_gradients"
"""Key of a node's meta while a graph is cleaned: whether the model had gradients on there."""


def call_like(graph: fx.Graph, like: fx.Node, target: Any, args: tuple[Any, ...]) -> fx.Node:
    """A call at the graph's insertion point that belongs to where ``like`` does."""
    node = graph.call_function(target, args)
    node.meta = {key: like.meta[key] for key in ("module", GRADIENTS) if key in like.meta}
    node.meta.setdefault("module", "")
    node.meta["val"] = target(*[arg.meta["val"] if isinstance(arg, fx.Node) else arg for arg in args])
    return node
