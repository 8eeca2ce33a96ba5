"""Gradients past the places where a model stops them."""

from __future__ import annotations

import torch
from torch import fx

from .in_place import base_of
from .program import is_view, mutates

aten = torch.ops.aten
_SUMS = {aten.add.Tensor, aten.sub.Tensor, aten.rsub.Tensor}
_UNARY = {aten.neg.default, aten.to.dtype, aten._to_copy.default}
_SCALED = {aten.mul.Tensor, aten.div.Tensor, aten.mul.Scalar, aten.div.Scalar}


def pass_detaches(graph: fx.Graph) -> int:
    """Take ``aten.detach`` out of a graph, so that a gradient goes on where the model stops it, or where it stood under
    ``torch.no_grad``; values stay as they are. Returns how many went.

    Detectors detach the boxes and states that the next decoder layer begins with, as every layer has labels of its own.
    Where only the last predictions are compared, their distance would have no gradient for the boxes before them.

    Those stay whose memory is written into, those of parameters, and those whose value is summed with what it is made
    of, as in ``y + (round(y) - y).detach()``: an estimator of a gradient, most likely.

    Source: "look forward twice" (DINO, arXiv 2203.03605, section 3.5), over all layers.
    """
    written = {
        base_of(node.args[0])
        for node in graph.nodes
        if mutates(node) and node.args and isinstance(node.args[0], fx.Node)
    }
    found = [node for node in graph.nodes if node.target is aten.detach.default]
    gone = [node for node in found if not (base_of(node) in written or _is_constant(node) or _is_estimator(node))]
    for node in gone:
        node.replace_all_uses_with(node.all_input_nodes[0])
        graph.erase_node(node)
    return len(gone)


def _is_constant(node: fx.Node) -> bool:
    return base_of(node).op == "get_attr"


def _is_estimator(node: fx.Node) -> bool:
    """Whether a detached value, itself or a multiple of it, is summed with what it is made of."""
    others = {_unscaled(one) for one in _summed_with(node)}
    return bool(others) and not others.isdisjoint(_made_of(node.all_input_nodes[0]))


def _summed_with(node: fx.Node) -> set[fx.Node]:
    """The other summands of the sums that a value goes into, itself or a multiple of it."""
    found: set[fx.Node] = set()
    seen, left = {node}, [node]
    while left:
        one = left.pop()
        for user in one.users:
            if user in seen or not (user.target in _SUMS or _scales(user)):
                continue
            if user.target in _SUMS:
                found.update(other for other in user.all_input_nodes if other is not one)
            seen.add(user)
            left.append(user)
    return found


def _scales(node: fx.Node) -> bool:
    """Whether a call gives its one operand again: in another shape or type, with another sign, or times a number."""
    if len(node.all_input_nodes) != 1:
        return False
    return is_view(node) or node.target in _UNARY or node.target in _SCALED


def _unscaled(node: fx.Node) -> fx.Node:
    while _scales(node):
        node = node.all_input_nodes[0]
    return node


def _made_of(node: fx.Node) -> set[fx.Node]:
    found, left = {node}, [node]
    while left:
        for one in left.pop().all_input_nodes:
            if one not in found:
                found.add(one)
                left.append(one)
    return found
