"""Heads by where they lead: to the outputs, to a choice of queries, or, in a decoder layer, to boxes it refines."""

from __future__ import annotations

import torch
from torch import fx

from ..graph.program import Program
from ..graph.shapes import shape_of
from .operands import OPERATORS, WEIGHTED
from .outputs import logits_and_boxes

aten = torch.ops.aten

_SCORES = {aten.linear.default, aten.matmul.default}
_ENDS = (*WEIGHTED, "matmul", "attention")
_ACTIVATIONS = {aten.relu.default, aten.relu_.default, aten.gelu.default, aten.silu.default, aten.silu_.default}


def what_selects(program: Program, after: set[fx.Node]) -> set[fx.Node]:
    """The last linears or products before a top-k, and the small networks whose last linear yields proposal boxes."""
    tops = [node for node in program.graph.nodes if node.target is aten.topk.default]
    if not tops:
        return set()
    linears = {node for node in program.graph.nodes if node.target is aten.linear.default and node not in after}
    found: set[fx.Node] = set()
    pending, seen = list(tops), set[fx.Node]()
    while pending:
        node = pending.pop()
        if node.target in _SCORES:
            found.add(node)
        elif node not in seen:
            seen.add(node)
            pending.extend(node.all_input_nodes)
    for node in linears:
        shape = shape_of(node)
        if shape is not None and shape[-1] == 4:
            found |= _network_before(node)
    return found


def heads_without_decoder(program: Program) -> set[fx.Node]:
    """Without a decoder: the small networks that end in the logits and the boxes."""
    logits, boxes = logits_and_boxes(program)
    found: set[fx.Node] = set()
    for output in (*logits, *boxes):
        node = output
        while node.target is not aten.linear.default and len(node.all_input_nodes) == 1:
            node = node.all_input_nodes[0]
        if node.target is aten.linear.default:
            found |= _network_before(node)
    return found


def refining(program: Program, in_decoder: set[fx.Node]) -> set[fx.Node]:
    """The box heads that stand in decoder layers and refine boxes there: the linears before four columns that reach
    boxes among the model's outputs with nothing but arithmetic between."""
    boxes = set(logits_and_boxes(program)[1])
    found: set[fx.Node] = set()
    for node in program.graph.nodes:
        may_be = node in in_decoder and node.target is aten.linear.default and (shape_of(node) or (0,))[-1] == 4
        if may_be and _arithmetic(node) & boxes:
            found |= _network_before(node)
    return found


def _arithmetic(node: fx.Node) -> set[fx.Node]:
    """What reads a value, through all but layers with weights, products and norms; these too, as ends."""
    found: set[fx.Node] = set()
    pending = [node]
    while pending:
        for user in pending.pop().users:
            if user not in found:
                found.add(user)
                if OPERATORS.get(user.target) not in _ENDS and user.target is not aten.layer_norm.default:
                    pending.append(user)
    return found | {node}


def _network_before(linear: fx.Node) -> set[fx.Node]:
    """A linear and the linears before it that only activations part."""
    found = {linear}
    source = linear.args[0]
    while isinstance(source, fx.Node) and (source.target in _ACTIVATIONS or source.target is aten.linear.default):
        if source.target is aten.linear.default:
            found.add(source)
        source = source.args[0]
    return found
