"""Gradients past the places where a model stops them."""

from __future__ import annotations

import torch
from torch import fx

from .flow import upstream
from .in_place import base_of, written_by
from .program import is_view

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
    written = written_by(graph.nodes)
    found = [node for node in graph.nodes if node.target is aten.detach.default]
    gone = [node for node in found if _may_go(node, written)]
    for node in gone:
        node.replace_all_uses_with(node.all_input_nodes[0])
        graph.erase_node(node)
    return len(gone)


def _may_go(node: fx.Node, written: set[fx.Node]) -> bool:
    base = base_of(node)
    return base not in written and base.op != "get_attr" and not _is_estimator(node)


def _is_estimator(node: fx.Node) -> bool:
    """Whether a detached value, itself or a multiple of it, is summed with what it is made of."""
    others = {_unscaled(one) for one in _summed_with(node)}
    return bool(others) and not others.isdisjoint(upstream(node.all_input_nodes, ()))


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
