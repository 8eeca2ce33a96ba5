"""Stops gradients in a graph where the model had them switched off.

A flat graph has no regions: what ``torch.no_grad`` does is said by ``detach``. A value that was made without gradients
is read without them where they are on again; and what writes into a tensor while they are off reads and writes through
``detach``, which shares the memory: autograd does not see it, as it did not in the model.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from ...graph.calls import GRADIENTS, call_like
from ...graph.program import mutates
from ...graph.shapes import is_float

aten = torch.ops.aten


def stop_gradients(graph: fx.Graph) -> int:
    """Detach what crosses from where gradients were off; returns how many values."""
    detached: dict[fx.Node, fx.Node] = {}
    off = [node for node in graph.nodes if not _on(node) and node.op in ("call_function", "call_module")]
    for node in off:
        if not mutates(node):
            continue
        for source in node.all_input_nodes:
            if is_float(source):
                node.replace_input_with(source, _detached(graph, source, node, detached))
    for node in off:
        if not is_float(node):
            continue
        for user in list(node.users):
            if _on(user) and user.target is not aten.detach.default:
                value = _written(node)
                own = value if _on(value) else _detached(graph, value, value, detached)
                user.replace_input_with(node, own)
    return len(detached)


def _on(node: fx.Node) -> bool:
    """Whether gradients were on where a node ran. An item of several results is where they were made."""
    while node.target is operator.getitem:
        source = node.args[0]
        assert isinstance(source, fx.Node)
        node = source
    return bool(node.meta.get(GRADIENTS, True))


def _detached(graph: fx.Graph, value: fx.Node, like: fx.Node, known: dict[fx.Node, fx.Node]) -> fx.Node:
    """``value.detach()``, once for each value, right behind it."""
    if value not in known:
        with graph.inserting_after(value):
            known[value] = call_like(graph, like, aten.detach.default, (value,))
    return known[value]


def _written(node: fx.Node) -> fx.Node:
    """The tensor that a chain of calls wrote into: what they return is that tensor, with the gradient that it has."""
    while not _on(node) and mutates(node) and (into := _target(node)) is not None:
        node = into.args[0] if into.target is aten.detach.default and isinstance(into.args[0], fx.Node) else into
    return node


def _target(node: fx.Node) -> fx.Node | None:
    """The one operand that a call writes into."""
    schema: Any = getattr(node.target, "_schema", None)
    found = []
    for index, argument in enumerate(schema.arguments):
        if argument.is_write:
            given = node.kwargs.get(argument.name, node.args[index] if index < len(node.args) else None)
            found.append(given)
    return found[0] if len(found) == 1 and isinstance(found[0], fx.Node) else None
