"""Gradients past the places where a model stops them."""

from __future__ import annotations

import torch
from torch import fx

from .in_place import base_of
from .program import mutates

aten = torch.ops.aten
_SUMS = {aten.add.Tensor, aten.sub.Tensor, aten.add.default, aten.sub.default}


def pass_detaches(graph: fx.Graph) -> int:
    """Take ``aten.detach`` out of a graph, so that a gradient goes on where the model stops it, or where it stood under
    ``torch.no_grad``; values stay as they are. Returns how many went.

    Detectors detach the boxes and states that the next decoder layer begins with, as every layer has labels of its own.
    Where only the last predictions are compared, their distance would have no gradient for the boxes before them.

    Those stay whose memory is written into, those of parameters, and those that are part of an estimator of a gradient,
    as in ``y + (round(y) - y).detach()``.

    Source: "look forward twice" (DINO, arXiv 2203.03605, section 3.5), over all layers.
    """
    written = {
        base_of(node.args[0])
        for node in graph.nodes
        if mutates(node) and node.args and isinstance(node.args[0], fx.Node)
    }
    gone = 0
    for node in list(graph.nodes):
        source = node.args[0] if node.target is aten.detach.default else None
        if not isinstance(source, fx.Node) or source.op == "get_attr":
            continue
        if base_of(node) in written or _is_estimator(node, source):
            continue
        node.replace_all_uses_with(source)
        graph.erase_node(node)
        gone += 1
    return gone


def _is_estimator(node: fx.Node, source: fx.Node) -> bool:
    """Whether a detached value is added to what it is made of, or taken from it."""
    others = [one for user in node.users if user.target in _SUMS for one in user.all_input_nodes if one is not node]
    return bool(others) and any(one in _made_of(source) for one in others)


def _made_of(node: fx.Node) -> set[fx.Node]:
    found, left = {node}, [node]
    while left:
        for one in left.pop().all_input_nodes:
            if one not in found:
                found.add(one)
                left.append(one)
    return found
