"""Finds the decoder's cross-attention: its modules, the query that alignment changes, and the values to tap."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import torch
from torch import fx

from ..graph.flow import exits_of, region_of, within
from ..graph.points import QueryPoint, TapPoint, viewed
from ..graph.program import Program
from ..graph.shapes import Extent, Symbols, is_float, is_number, shape_of
from ..graph.softmax import leads_to_softmax
from ..vocabulary import FEATURE, KEY, LAYER_OUTPUT, LOGITS, QUERY

aten = torch.ops.aten

_PRODUCT = {aten.scaled_dot_product_attention.default, aten.matmul.default, aten.bmm.default, aten.baddbmm.default}
_SUMS = {aten.sum.dim_IntList, aten.sum.default}
_ZEROS = {aten.zeros.default, aten.zeros_like.default, aten.new_zeros.default}
_ADDS = {aten.add.Tensor, aten.add_.Tensor}
_MERGES = {
    aten.transpose.int,
    aten.reshape.default,
    aten.permute.default,
    aten.movedim.int,
    aten.contiguous.default,
    aten.clone.default,
    aten.flatten.using_ints,
}


def find_cross_attention(program: Program) -> tuple[str, ...]:
    """The innermost attention modules that hold a linear, read something of the image's extent, and return without it.

    A module counts as attention by its name. Paths are in the order in which they run.
    """
    symbols = Symbols.of(program.graph)
    regions: dict[str, list[fx.Node]] = {}
    for node in program.graph.nodes:
        parts = node.meta.get("module", "").split(".")
        for length in range(1, len(parts) + 1):
            if node.op in ("call_function", "call_module") and "att" in parts[length - 1].lower():
                regions.setdefault(".".join(parts[:length]), []).append(node)
    found = [path for path, region in regions.items() if _crosses(region, symbols)]
    return tuple(path for path in found if not any(other != path and within(other, path) for other in found))


def _crosses(region: list[fx.Node], symbols: Symbols) -> bool:
    inside = set(region)
    mixes = any(node.target in _PRODUCT or node.target is aten.grid_sampler.default for node in region)
    holds_linear = any(node.target is aten.linear.default for node in region)
    reads_image = any(
        symbols.spatial(shape_of(source)) and len(shape_of(source) or ()) >= 3 and is_float(source)
        for node in region
        for source in node.all_input_nodes
        if source not in inside
    )
    features = [node for node in exits_of(region) if len(shape_of(node) or ()) >= 3]
    returns_image = any(symbols.spatial(shape_of(node)) for node in features)
    return mixes and holds_linear and reads_image and bool(features) and not returns_image


@dataclass
class LayerPoints:
    """What one decoder layer's cross-attention has in one program: its query, if one was found, and taps by role."""

    query: QueryPoint | None = None
    taps: dict[str, TapPoint] = field(default_factory=dict)


def points_of_layer(program: Program, path: str, layer_path: str) -> LayerPoints:
    """The query and the taps of one decoder layer. ``path`` is its cross-attention's, ``layer_path`` its own."""
    symbols, found = Symbols.of(program.graph), LayerPoints()
    region = region_of(program.graph, path)
    shaped = [node for node in exits_of(region) if len(shape_of(node) or ()) == 3]
    if not shaped:
        return found
    output = _dot_product(found, region)
    if found.query is None:
        output = _deformable(found, region, symbols)
    if found.query is not None:
        found.taps[QUERY] = TapPoint(found.query.node)
    if output is None or not _is_per_query(output, symbols):
        output = TapPoint(shaped[-1])
    found.taps[FEATURE] = _batch_first(output, symbols)
    ends = [node for node in exits_of(region_of(program.graph, layer_path)) if len(shape_of(node) or ()) == 3]
    if ends:
        found.taps[LAYER_OUTPUT] = _batch_first(TapPoint(ends[-1]), symbols)
    return found


def shape_at(point: TapPoint) -> tuple[Extent, ...]:
    """The shape of what is tapped; () where that is unknown."""
    shape = shape_of(point.node)
    return () if shape is None else viewed(shape, point.views)


def _is_per_query(point: TapPoint, symbols: Symbols) -> bool:
    """Whether a value is (batch, queries, channels) or (queries, batch, channels), without the image's extent."""
    shape = shape_at(point)
    return len(shape) == 3 and symbols.batch in shape[:2] and not symbols.spatial(shape)


def _batch_first(point: TapPoint, symbols: Symbols) -> TapPoint:
    """(queries, batch, channels), as ``nn.MultiheadAttention`` has it by default, as (batch, queries, channels)."""
    shape = shape_at(point)
    if len(shape) != 3 or shape[1] != symbols.batch or shape[0] == symbols.batch:
        return point
    return TapPoint(point.node, (*point.views, ("transpose", 0, 1)))


def _dot_product(found: LayerPoints, region: list[fx.Node]) -> TapPoint | None:
    """Query, key and co-attended feature of softmax(q k^T) v: what the output projection reads (2.26).

    Notes the query, and the logits, or the key where the attention is one operation; returns the feature.
    """
    for node in region:
        if node.target is aten.scaled_dot_product_attention.default:
            last = node
        elif node.target is aten.matmul.default and leads_to_softmax(node):
            last = _value_product(node, region)
        else:
            continue
        query, key = node.args[0], node.args[1]
        shape = shape_of(query)
        if not isinstance(query, fx.Node) or shape is None or len(shape) != 4:
            return None
        if isinstance(key, fx.Node) and node.target is aten.scaled_dot_product_attention.default:
            found.taps[KEY] = TapPoint(key)
        elif isinstance(key, fx.Node):
            found.taps[LOGITS] = TapPoint(node)
        found.query = QueryPoint(query, ((node, 0),), "bhld", int(shape[1]), int(shape[3]))
        return _projection_input(last) or _merged_heads(last)
    return None


def _value_product(product: fx.Node, region: list[fx.Node]) -> fx.Node:
    later = region[region.index(product) + 1 :]
    return next((node for node in later if node.target is aten.matmul.default), product)


def heads_of(weights: tuple[Extent, ...], query: tuple[Extent, ...], symbols: Symbols) -> int:
    """The heads of attention weights (batch, queries, heads, samples) in that or another order, or without heads.

    A number that does not divide the query's channels is none of heads.
    """
    found: Extent = 1
    if len(weights) == 3:  # heads folded into the batch, or one head
        found = symbols.per_image(weights[0]) or 1
    elif len(weights) > 3:
        found = weights[1] if weights[2] == query[1] != weights[1] else weights[2]
    return int(found) if is_number(found) and int(query[-1]) % int(found) == 0 else 1


def _projection_input(
    last: fx.Node, sums: Collection[fx.Node] = (), region: Collection[fx.Node] = ()
) -> TapPoint | None:
    """Follow the heads' merge to its end: the tensor that the output projection reads, where there is one.

    sums: a deformable attention's weighted sums in its region. It may sample one feature level after the other and add
    them up; anything else that is added, such as a residual, is no part of the feature.
    """
    current = last
    while (following := next(iter(current.users), None)) is not None:
        levels = following in region and following.target in _ADDS and _of_sums(following, sums)
        if following.target not in _MERGES and not levels:
            break
        current = following
    return TapPoint(current) if len(shape_of(current) or ()) == 3 else None


def _of_sums(node: fx.Node, sums: Collection[fx.Node]) -> bool:
    """Whether a value is made of weighted sums and numbers by addition and reshaping alone."""
    pending = list(node.args[:2])
    while pending:
        value = pending.pop()
        if not isinstance(value, fx.Node) or value in sums or value.target in _ZEROS:
            continue
        if value.target not in _ADDS and value.target not in _MERGES:
            return False
        pending.extend(value.args[:2] if value.target in _ADDS else value.args[:1])
    return True


def _merged_heads(value: fx.Node) -> TapPoint | None:
    """(batch, heads, queries, head_dim) as (batch, queries, channels), for models that merge heads in another order."""
    if len(shape_of(value) or ()) != 4:
        return None
    return TapPoint(value, (("transpose", 1, 2), ("flatten", 2, 3)))


def _deformable(found: LayerPoints, region: list[fx.Node], symbols: Symbols) -> TapPoint | None:
    """The query is what sampling offsets and attention weights are computed from; the feature, the weighted sum.

    Notes the query and the logits; returns the feature.
    """
    softmax = next((node for node in region if node.target is aten.softmax.int), None)
    if softmax is None or not any(node.target is aten.grid_sampler.default for node in region):
        return None
    logits = softmax.args[0]
    assert isinstance(logits, fx.Node)
    linear = logits
    while linear.target is not aten.linear.default:
        sources = [source for source in linear.all_input_nodes if shape_of(source) is not None]
        if not sources:
            return None
        linear = sources[0]
    query = linear.args[0]
    assert isinstance(query, fx.Node)
    users = tuple((node, 0) for node in region if node.target is aten.linear.default and node.args[0] is query)
    width, weights = shape_of(query), shape_of(softmax)
    assert width is not None
    assert weights is not None
    heads = heads_of(weights, width, symbols)
    found.taps[LOGITS] = TapPoint(logits)
    found.query = QueryPoint(query, users, "bld", heads, int(width[-1]) // heads)
    sums = [node for node in region if node.target in _SUMS]
    return _projection_input(sums[-1], set(sums), set(region)) if sums else None
