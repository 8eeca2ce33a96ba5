"""Puts what torch.export keeps as graphs of their own, regions of ``no_grad`` and the like, back into the one graph."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx

from ...graph.calls import GRADIENTS

higher_order = torch.ops.higher_order

REGIONS: dict[Any, tuple[int, int]] = {
    higher_order.wrap_with_set_grad_enabled: (1, 2),
    higher_order.wrap_with_autocast: (4, 5),
    higher_order.tag_activation_checkpoint: (0, 1),
}
"""Operators that run a graph of their own which changes no number: where among their arguments that graph stands, and
where its inputs begin."""
_SWITCH = torch._C._set_grad_enabled
_MARKS = {torch.amp.autocast_mode._enter_autocast, torch.amp.autocast_mode._exit_autocast}


def inline_regions(module: fx.GraphModule) -> fx.Graph:
    """A flat copy of a module's graph, in which each node's meta says whether gradients were on (``GRADIENTS``).

    Attributes of a region's graph are named from ``module``: ``submod_1.constant``.
    """
    graph = fx.Graph()  # one that no GraphModule owns
    graph.output(_copy(graph, module, "", None, True))
    return graph


def regions_of(module: fx.GraphModule) -> Iterator[tuple[fx.Node, fx.GraphModule]]:
    """Every node of a module's graph and of the graphs inside it, with the module that it is in."""
    for node in module.graph.nodes:
        yield node, module
    for child in module.children():
        if isinstance(child, fx.GraphModule):
            yield from regions_of(child)


def _copy(graph: fx.Graph, module: fx.GraphModule, prefix: str, given: list[Any] | None, gradients: bool) -> Any:
    """Copy a module's nodes to the end of ``graph``; what its output stands for there.

    given: what its placeholders stand for; None where they are the graph's own.
    """
    known: dict[fx.Node, Any] = {}
    inputs = iter(given or ())

    def value_of(argument: Any) -> Any:
        return fx.map_arg(argument, lambda node: known[node])

    for node in module.graph.nodes:
        if node.op == "output":
            return value_of(node.args[0])
        if node.op == "placeholder" and given is not None:
            known[node] = next(inputs)
        elif node.target in REGIONS:
            at, start = REGIONS[node.target]
            part = node.args[at]
            inside = bool(node.args[0]) if node.target is higher_order.wrap_with_set_grad_enabled else gradients
            handed = [value_of(argument) for argument in node.args[start:]]
            name = f"{prefix}{part.target}"
            known[node] = _copy(graph, getattr(module, part.target), f"{name}.", handed, inside)
        elif node.target is operator.getitem and not isinstance(known.get(node.args[0], node), fx.Node):
            known[node] = known[node.args[0]][node.args[1]]  # what a region returns
        elif node.target is _SWITCH:
            gradients = bool(node.args[0])
        elif node.target not in _MARKS and not _is_graph(node, module):
            known[node] = graph.node_copy(node, value_of)
            known[node].meta[GRADIENTS] = gradients
            if node.op == "get_attr":
                known[node].target = f"{prefix}{node.target}"
    raise AssertionError("a graph without an output")


def _is_graph(node: fx.Node, module: fx.GraphModule) -> bool:
    return node.op == "get_attr" and isinstance(getattr(module, str(node.target), None), fx.GraphModule)
