"""Gives attention products their heads back where a model folds them into the batch.

``nn.MultiheadAttention`` and others multiply (batch * heads, length, head_dim) tensors with ``bmm``. As (batch, heads,
length, head_dim) the same products can have a scale per head, and a query that alignment understands.
"""

from __future__ import annotations

import torch
from torch import fx

from ...graph.calls import call_like
from ...graph.shapes import Extent, Symbols, shape_of
from ...graph.softmax import from_softmax, leads_to_softmax

aten = torch.ops.aten


def unfold_heads(graph: fx.Graph) -> int:
    """Rewrite every ``bmm`` and ``baddbmm`` of an attention as a product over batch and heads; returns how many."""
    symbols = Symbols.of(graph)
    done = 0
    for node in list(graph.nodes):
        if node.target not in (aten.bmm.default, aten.baddbmm.default):
            continue
        left = node.args[1 if node.target is aten.baddbmm.default else 0]
        heads = _heads(shape_of(left), symbols)
        if heads and not node.kwargs and (from_softmax(left) or leads_to_softmax(node)):
            _unfold(graph, node, heads)
            done += 1
    return done


def _heads(shape: tuple[Extent, ...] | None, symbols: Symbols) -> int:
    """How many heads are folded into the first extent; 0 where it is no multiple of the batch."""
    count = symbols.per_image(shape[0]) if shape else None
    return count if count is not None and count > 1 else 0


def _unfold(graph: fx.Graph, node: fx.Node, heads: int) -> None:
    *added, left, right = node.args[:3]
    with graph.inserting_before(node):
        split = [call_like(graph, node, aten.unflatten.int, (part, 0, [-1, heads])) for part in (left, right)]
        result = call_like(graph, node, aten.matmul.default, tuple(split))
        for bias in added:
            if len(shape_of(bias) or ()) == 3 and _heads(shape_of(bias), Symbols.of(graph)) == heads:
                bias = call_like(graph, node, aten.unflatten.int, (bias, 0, [-1, heads]))
                result = call_like(graph, node, aten.add.Tensor, (result, bias))
            else:  # one mask for all: it belongs to the folded form
                result = call_like(graph, node, aten.flatten.using_ints, (result, 0, 1))
                result = call_like(graph, node, aten.add.Tensor, (result, bias))
                result = call_like(graph, node, aten.unflatten.int, (result, 0, [-1, heads]))
        folded = call_like(graph, node, aten.flatten.using_ints, (result, 0, 1))
    node.replace_all_uses_with(folded)
    graph.erase_node(node)
