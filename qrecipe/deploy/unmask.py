"""Takes masks out of a graph in which all of every image is image.

What a mask's values lead to is followed as bounds: the least and the largest value that any element can have, whatever
the images' sizes are. A mask whose bounds meet at "allowed" does nothing, and what it masked is read in its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx

from ..graph.softmax import RESHAPES
from ..passes.decompose_attention import masked_softmax

aten = torch.ops.aten

Bounds = tuple[float, float]

_SAME = RESHAPES | {
    aten.select.int,
    aten.view.default,
    aten.alias.default,
    aten.index.Tensor,
    aten.repeat.default,
    aten.to.device,
    aten.to.dtype_layout,
    aten.upsample_nearest2d.vec,
}
"""Every element of what they give is one of their first argument's, in another place or type."""


def _add(one: Bounds, other: Bounds) -> Bounds:
    return one[0] + other[0], one[1] + other[1]


def _sub(one: Bounds, other: Bounds) -> Bounds:
    return one[0] - other[1], one[1] - other[0]


def _at_least(one: Bounds, other: Bounds) -> Bounds:
    return float(one[0] >= other[1]), float(one[1] >= other[0])


def _and(one: Bounds, other: Bounds) -> Bounds:
    return min(one[0], other[0]), min(one[1], other[1])


def _not(one: Bounds) -> Bounds:
    return 1 - one[1], 1 - one[0]


_OPERATIONS: dict[Any, Callable[..., Bounds]] = {
    aten.add.Tensor: _add,
    aten.sub.Tensor: _sub,
    aten.ge.Scalar: _at_least,
    aten.le.Scalar: lambda one, other: _at_least(other, one),
    aten.__and__.Tensor: _and,
    aten.bitwise_and.Tensor: _and,
    aten.logical_and.default: _and,
    aten.bitwise_not.default: _not,
    aten.logical_not.default: _not,
}
_OF_BOOLEANS = {aten.__and__.Tensor, aten.bitwise_and.Tensor, aten.bitwise_not.default}


def unmask(graph: fx.Graph, inputs: Mapping[str, float]) -> int:
    """Remove the masks that mask nothing.

    Args:
        graph: changed in place. inputs: placeholders all of whose elements have one value.

    Returns: how many masks were removed.
    """
    known: dict[fx.Node, Bounds] = {}
    removed = 0
    for node in list(graph.nodes):
        if node.op == "placeholder" and node.name in inputs:
            known[node] = (inputs[node.name], inputs[node.name])
        elif node.op == "call_function":
            bounds = _bounds(node, known)
            if bounds is not None:
                known[node] = bounds
            kept = _unmasked(node, known)
            if kept is not None:
                node.replace_all_uses_with(kept)
                graph.erase_node(node)
                removed += 1
    return removed


def _bounds(node: fx.Node, known: Mapping[fx.Node, Bounds]) -> Bounds | None:
    """None where nothing is known."""
    if node.target is aten.arange.default:
        return 0.0, math.inf
    if node.target in (aten.new_ones.default, aten.ones.default, aten.ones_like.default):
        return 1.0, 1.0
    given = [_of(arg, known) for arg in node.args[:2]]
    if node.target in _SAME:
        return _cast(node, given[0])
    operation = _OPERATIONS.get(node.target)
    if operation is None or None in given or "alpha" in node.kwargs:
        return None
    if node.target in _OF_BOOLEANS and not all(_is_boolean(source) for source in node.all_input_nodes):
        return None
    return operation(*given)


def _of(value: Any, known: Mapping[fx.Node, Bounds]) -> Bounds | None:
    """The bounds of an argument: of a node, or a number."""
    if isinstance(value, fx.Node):
        return known.get(value)
    return (float(value), float(value)) if isinstance(value, bool | int | float) else None


def _cast(node: fx.Node, bounds: Bounds | None) -> Bounds | None:
    """As booleans, everything but 0 is 1."""
    if bounds is None or not _is_boolean(node):
        return bounds
    low, high = bounds
    return (1.0, 1.0) if low > 0 or high < 0 else (0.0, float(low != 0 or high != 0))


def _is_boolean(node: fx.Node) -> bool:
    return getattr(node.meta.get("val"), "dtype", None) is torch.bool


def _unmasked(node: fx.Node, known: Mapping[fx.Node, Bounds]) -> fx.Node | None:
    """What to read in place of a masked value; a masked softmax loses its mask where it is."""
    if node.target is masked_softmax:
        scores, mask = node.args
        allowed = (1.0, 1.0) if isinstance(mask, fx.Node) and _is_boolean(mask) else (0.0, 0.0)
        if _of(mask, known) == allowed:
            node.args = (scores, None)
        return None
    value: Any = None
    if node.target in (aten.masked_fill.Scalar, aten.masked_fill.Tensor) and _of(node.args[1], known) == (0.0, 0.0):
        value = node.args[0]
    elif node.target is aten.where.self and _of(node.args[0], known) == (1.0, 1.0):
        value = node.args[1]
    elif node.target is aten.where.self and _of(node.args[0], known) == (0.0, 0.0):
        value = node.args[2]
    return value if isinstance(value, fx.Node) and _alike(value, node) else None


def _alike(one: fx.Node, other: fx.Node) -> bool:
    """Whether neither broadcasting nor casting lies between them."""
    first, second = one.meta.get("val"), other.meta.get("val")
    return first is not None and second is not None and (first.shape, first.dtype) == (second.shape, second.dtype)
