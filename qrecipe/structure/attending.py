"""Which operations belong to an attention: by the module around it, or, where it has none, by what flows into it."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

import torch
from torch import fx

from ..graph.flow import within
from ..graph.shapes import Symbols, shape_of
from ..graph.softmax import RESHAPES, leads_to_softmax
from .dot_product import crosses, weighs
from .operands import PASSIVE
from .operations import Operation

aten = torch.ops.aten
_WALKED = 40
"""Steps between a projection and the product it feeds: reshaping, additions of positions, concatenations."""

_SUMS = {aten.sum.dim_IntList, aten.sum.default}
_ADDS = {aten.add.Tensor, aten.add_.Tensor}


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


def attending(operations: Sequence[Operation]) -> dict[fx.Node, str]:
    """The nodes of all operations that belong to an attention, deformable or by dot product, and which: a part of a
    layer, or the layer that it is written out in.

    An attention in a module of its own has everything in that part of its layer, and the layer's projections that
    nothing but it reads. One that is written out in the layer itself, next to a feed-forward network, has its products,
    the linears that feed them and the linear that follows.
    """
    cores = [operation for operation in operations if _is_core(operation)]
    parts = {part_of_layer(operation.module) for operation in cores}
    inline = {path for path in parts if not path or (layer_of(path) == path and path.rpartition(".")[2].isdigit())}
    around = parts - inline
    found: dict[fx.Node, str] = {}
    for operation in operations:
        part = next((path for path in around if within(operation.module, path)), None)
        if part is not None:
            found[operation.node] = part
    found |= {node: part for node, part in _beside(operations, cores).items() if node not in found}
    weighted = {operation.node for operation in operations if operation.operator == "linear"}
    for operation in cores:
        part = part_of_layer(operation.module)
        if part in inline:
            nodes = {operation.node, *_feeding(operation.node, weighted), *_following(operation.node, weighted)}
            found |= dict.fromkeys(nodes, part)
    return found


def across(operations: Sequence[Operation], layers: Container[str], symbols: Symbols) -> set[fx.Node]:
    """The nodes of cross-attentions that are written out in these layers: their products read what has the image's
    extent and give what has it not."""
    weighted = {operation.node for operation in operations if operation.operator == "linear"}
    found: set[fx.Node] = set()
    for operation in operations:
        node = operation.node
        if _is_core(operation) and part_of_layer(operation.module) in layers and _crosses(operation, symbols):
            found |= {node, *_feeding(node, weighted), *_following(node, weighted)}
    return found


def _crosses(core: Operation, symbols: Symbols) -> bool:
    node = core.node
    if leads_to_softmax(node):
        return crosses(node, symbols)
    sums = [user for user in node.users if user.target in _SUMS]
    if core.operator == "weighted_sum" and sums:
        return not any(symbols.spatial(shape_of(one)) for one in sums)
    read = any(symbols.spatial(shape_of(source)) for source in node.all_input_nodes)
    return read and not symbols.spatial(shape_of(node))


def _beside(operations: Sequence[Operation], cores: Sequence[Operation]) -> dict[fx.Node, str]:
    """Projections outside of their attention's module, such as Conditional DETR's ``ca_qcontent_proj``: those that
    nothing but one attention reads, and the linear that its result goes into."""
    linears = {operation.node: operation.module for operation in operations if operation.operator == "linear"}
    known = {operation.node: operation for operation in operations if operation.operator not in PASSIVE}
    part_of = {operation.node: part_of_layer(operation.module) for operation in cores}
    found: dict[fx.Node, str] = {}
    for core in cores:
        part = part_of[core.node]
        for node in _feeding(core.node, linears):
            if _same_layer(linears[node], core.module) and _readers(node, known, part_of) == {_in_layer(part)}:
                found[node] = part
        for node in _following(core.node, linears):
            if _same_layer(linears[node], core.module):
                found[node] = part
    return found


def _readers(linear: fx.Node, known: Container[fx.Node], part_of: Mapping[fx.Node, str]) -> set[str]:
    """The attentions whose products read what a linear gives, through reshaping, sums and joins; ``-`` for all else.

    Each by its path in its layer: keys may be projected once for the same attention of all layers.
    """
    found: set[str] = set()
    pending, seen = [linear], {linear}
    while pending:
        for user in pending.pop().users:
            if user in part_of:
                found.add(_in_layer(part_of[user]))
            elif user in known or user.op == "output" or len(seen) > _WALKED:
                found.add("-")
            elif user not in seen and not isinstance(user.meta.get("val"), int | torch.SymInt):
                seen.add(user)
                pending.append(user)
    return found


def _in_layer(part: str) -> str:
    return part.removeprefix(layer_of(part))


def _same_layer(linear: str, core: str) -> bool:
    """Whether a projection stands in its attention's layer, or in what holds the list of layers."""
    own, other = _numbered(core), _numbered(linear)
    holder = own.rpartition(".")[0].rpartition(".")[0]
    return own == other or (bool(holder) and other == _numbered(holder) and within(linear, holder))


def _numbered(path: str) -> str:
    layer = layer_of(path)
    return layer if layer.rpartition(".")[2].isdigit() else ""


def _is_core(operation: Operation) -> bool:
    if operation.operator in ("attention", "weighted_sum"):
        return True
    return operation.operator == "matmul" and (
        leads_to_softmax(operation.node) or any(operand.name == "probabilities" for operand in operation.operands)
    )


def _feeding(node: fx.Node, weighted: Container[fx.Node]) -> set[fx.Node]:
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


def _following(node: fx.Node, weighted: Container[fx.Node]) -> set[fx.Node]:
    """The linear that reads the result once the heads are merged, where nothing else reads it.

    What several attentions give may be added before it; anything else that is added ends an attention.
    """
    current = node
    for _ in range(8):
        if len(current.users) != 1:
            return set()
        current = next(iter(current.users))
        if current in weighted:
            return {current}
        residual = current.target in _ADDS and not all(_is_attended(source) for source in current.args[:2])
        if residual or current.target is aten.layer_norm.default:
            return set()
    return set()


def _is_attended(value: object) -> bool:
    """Whether a value is what attention weights gave, reshaped."""
    while isinstance(value, fx.Node) and value.target in RESHAPES:
        value = value.args[0]
    return isinstance(value, fx.Node) and weighs(value)
