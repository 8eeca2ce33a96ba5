"""Gradients past the places where a model stops them."""

from __future__ import annotations

import torch
from torch import fx

from .program import is_view, mutates

aten = torch.ops.aten


def pass_detaches(graph: fx.Graph) -> int:
    """Take the detaches out of a graph, so that a gradient goes on where the model stops it; values stay as they are.
    One whose result is written into stays: autograd must not see that. Returns how many went.

    Detectors detach the boxes that the next decoder layer refines, as every layer has labels of its own. Where only the
    last predictions are compared, nothing else would say how good the boxes before them have to be.

    Source: "look forward twice" (DINO, arXiv 2203.03605, section 3.5), over all layers.
    """
    found = [node for node in graph.nodes if node.target is aten.detach.default]
    gone = [node for node in found if not _is_written(node)]
    for node in gone:
        source = node.args[0]
        assert isinstance(source, fx.Node)
        node.replace_all_uses_with(source)
        graph.erase_node(node)
    return len(gone)


def _is_written(node: fx.Node) -> bool:
    """Whether a call writes into a value's memory, through views too."""
    return any(mutates(user) or (is_view(user) and _is_written(user)) for user in node.users)
