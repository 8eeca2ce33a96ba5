"""Which operations belong to an attention: by the module around it, or, where it has none, by what flows into it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import fx

from ..graph.flow import within
from ..graph.softmax import leads_to_softmax
from .operations import Operation

aten = torch.ops.aten
_WALKED = 40
"""Steps between a projection and the product it feeds: reshaping, additions of positions, concatenations."""


def layer_of(path: str) -> str:
    """The layer around a module: its path up to the last part that is a number, else the module above it."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        if parts[length - 1].isdigit():
            return ".".join(parts[:length])
    return path.rpartition(".")[0] or path


def part_of_layer(path: str) -> str:
    """The part of its layer that a module lies in: ``layers.0.self_attn`` of ``layers.0.self_attn.inner``.

    A part that is named as an attention counts from its own name on, whatever is around it in the layer.
    """
    layer = layer_of(path)
    if path == layer or not path.startswith(f"{layer}.") or not layer.rpartition(".")[2].isdigit():
        return path
    names = path[len(layer) + 1 :].split(".")
    depth = next((index for index, name in enumerate(names) if "att" in name.lower()), 0)
    return ".".join((layer, *names[: depth + 1]))


def attending(operations: Sequence[Operation]) -> set[fx.Node]:
    """The nodes of all operations that belong to an attention, deformable or by dot product.

    An attention in a module of its own has everything in that part of its layer. One that is written out in the layer
    itself, next to a feed-forward network, has its products, the linears that feed them and the linear that follows.
    """
    cores = [operation for operation in operations if _is_core(operation)]
    parts = {part_of_layer(operation.module) for operation in cores}
    inline = {path for path in parts if not path or (layer_of(path) == path and path.rpartition(".")[2].isdigit())}
    around = parts - inline
    found = {operation.node for operation in operations if any(within(operation.module, path) for path in around)}
    weighted = {operation.node for operation in operations if operation.operator == "linear"}
    for operation in cores:
        if part_of_layer(operation.module) in inline:
            found |= {operation.node, *_feeding(operation.node, weighted), *_following(operation.node, weighted)}
    return found


def _is_core(operation: Operation) -> bool:
    if operation.operator in ("attention", "weighted_sum"):
        return True
    return operation.operator == "matmul" and (
        leads_to_softmax(operation.node) or any(operand.name == "probabilities" for operand in operation.operands)
    )


def _feeding(node: fx.Node, weighted: set[fx.Node]) -> set[fx.Node]:
    """The nearest linears behind each operand."""
    found: set[fx.Node] = set()
    pending, seen = list(node.all_input_nodes), set[fx.Node]()
    while pending and len(seen) < _WALKED:
        source = pending.pop()
        if source in weighted:
            found.add(source)
        elif source not in seen:
            seen.add(source)
            pending.extend(source.all_input_nodes)
    return found


def _following(node: fx.Node, weighted: set[fx.Node]) -> set[fx.Node]:
    """The linear that reads the result once the heads are merged, where nothing else reads it."""
    current = node
    for _ in range(8):
        if len(current.users) != 1:
            return set()
        current = next(iter(current.users))
        if current in weighted:
            return {current}
    return set()
