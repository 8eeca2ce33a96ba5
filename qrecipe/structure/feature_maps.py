"""What the backbone gives, and what the decoder reads of the image: the feature maps that can be tapped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import fx
from torch.utils import _pytree as pytree

from ..graph.flow import within
from ..graph.points import TapPoint
from ..graph.program import Program
from ..graph.shapes import Symbols, is_number, shape_of
from ..vocabulary import BACKBONE_OUTPUT, ENCODER_OUTPUT
from .operands import OPERATORS, WEIGHTED

aten = torch.ops.aten

_SHAPE_ALONE = {aten.ones_like.default, aten.zeros_like.default, aten.full_like.default, aten.empty_like.default}
"""What reads of a tensor no more than its shape, though it gives floats."""


def feature_maps(program: Program, backbone: Sequence[str], layers: Sequence[str]) -> dict[tuple[str, int], TapPoint]:
    """By role and level: every map that leaves the backbone, and the one that the decoder's layers read.

    A map is (batch, channels, height, width) or (batch, positions, channels), computed from the image's pixels:
    positional encodings and masks are none. Of what the decoder reads, such as an encoder's output with and without
    positions, it is the one that is computed first. Without a decoder there are none.

    Args:
        backbone, layers: paths of the backbone's modules, and of the decoder's layers.
    """
    if not layers:
        return {}
    symbols = Symbols.of(program.graph)
    parts = {
        node: ("backbone" if _in_any(node, backbone) else "decoder" if _in_any(node, layers) else "")
        for node in program.graph.nodes
        if node.op != "get_attr"
    }
    seeing = _seeing(program.graph, (node for node, part in parts.items() if part == "backbone"))
    maps = [node for node in parts if node in seeing and _is_map(node, symbols)]
    leaving = [node for node in maps if parts[node] == "backbone" and _is_read(node, parts, without="backbone")]
    read = [node for node in maps if not parts[node] and _is_read(node, parts, by="decoder")]
    found = {(BACKBONE_OUTPUT, level): _batch_first(node, symbols) for level, node in enumerate(leaving)}
    if read:
        found[ENCODER_OUTPUT, 0] = _batch_first(read[0], symbols)
    return found


def _in_any(node: fx.Node, paths: Sequence[str]) -> bool:
    return any(within(node.meta.get("module", ""), path) for path in paths)


def _seeing(graph: fx.Graph, backbone: Iterable[fx.Node]) -> set[fx.Node]:
    """The backbone's layers with weights, and the floats computed from them, but for those of their shapes alone."""
    found = {node for node in backbone if OPERATORS.get(node.target) in WEIGHTED}
    for node in graph.nodes:
        sees = any(source in found for source in node.all_input_nodes)
        if sees and _holds_floats(node) and node.target not in _SHAPE_ALONE:
            found.add(node)
    return found


def _holds_floats(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return any(isinstance(one, torch.Tensor) and one.is_floating_point() for one in pytree.tree_leaves(value))


def _is_map(node: fx.Node, symbols: Symbols) -> bool:
    shape = shape_of(node) or ()
    if not symbols.batched(shape) or not symbols.spatial(shape) or len(shape) not in (3, 4):
        return False
    return is_number(shape[1]) if len(shape) == 4 else is_number(shape[2])


def _is_read(node: fx.Node, parts: dict[fx.Node, str], by: str = "", without: str = "") -> bool:
    """Whether tensors of one part, or of all but one, are computed from a value."""
    users = [user for user in node.users if isinstance(user.meta.get("val"), torch.Tensor)]
    return any(parts.get(user) == by if by else parts.get(user) != without for user in users)


def _batch_first(node: fx.Node, symbols: Symbols) -> TapPoint:
    """(positions, batch, channels), as ``nn.MultiheadAttention`` has it by default, as (batch, positions, channels)."""
    shape = shape_of(node) or ()
    turned = len(shape) == 3 and shape[1] == symbols.batch
    return TapPoint(node, (("transpose", 0, 1),) if turned else ())
