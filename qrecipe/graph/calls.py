"""Nodes that a rewrite adds to a graph, with what later steps read of a node: its module and its value's shape."""

from __future__ import annotations

from typing import Any

from torch import fx


def call_like(graph: fx.Graph, like: fx.Node, target: Any, args: tuple[Any, ...]) -> fx.Node:
    """A call at the graph's insertion point that belongs to where ``like`` does."""
    node = graph.call_function(target, args)
    node.meta = {"module": like.meta.get("module", "")}
    node.meta["val"] = target(*[arg.meta["val"] if isinstance(arg, fx.Node) else arg for arg in args])
    return node
