"""Finds the decoder's cross-attention: its modules, the query that alignment changes, and the values to tap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import fx

from ..graph.flow import exits_of, region_of, within
from ..graph.points import QueryPoint, TapPoint, viewed
from ..graph.program import Program
from ..graph.shapes import Extent, Symbols, is_float, shape_of
from ..vocabulary import FEATURE, KEY, LAYER_OUTPUT, LOGITS, QUERY
from .attending import layer_of, part_of_layer
from .deformable import sampled
from .dot_product import FUSED, attended, crosses, is_per_query, is_score

aten = torch.ops.aten

_PRODUCT = {FUSED, aten.matmul.default, aten.bmm.default, aten.baddbmm.default, aten.grid_sampler.default}


def find_cross_attention(program: Program) -> tuple[str, ...]:
    """The innermost attention modules that read something of the image's extent and return without it.

    A module counts as attention by its name; one without a linear of its own only where no other is around it. Where
    no name tells, those parts of layers are found in which queries without the image's extent meet keys that have it.
    Paths are in the order in which they run.
    """
    symbols = Symbols.of(program.graph)
    regions: dict[str, list[fx.Node]] = {}
    for node in program.graph.nodes:
        parts = node.meta.get("module", "").split(".")
        for length in range(1, len(parts) + 1):
            if node.op in ("call_function", "call_module") and "att" in parts[length - 1].lower():
                regions.setdefault(".".join(parts[:length]), []).append(node)
    found = [path for path, region in regions.items() if _crosses(region, symbols)]
    whole = [path for path in found if any(node.target is aten.linear.default for node in regions[path])]
    whole += [path for path in found if path not in whole and not any(within(path, other) for other in whole)]
    inner = [path for path in found if path in whole and not any(one != path and within(one, path) for one in whole)]
    return tuple(inner) or _by_products(program, symbols)


def _by_products(program: Program, symbols: Symbols) -> tuple[str, ...]:
    """The parts of layers that hold such a product and give (batch, queries, channels)."""
    parts = dict.fromkeys(
        part_of_layer(node.meta["module"])
        for node in program.graph.nodes
        if is_score(node) and crosses(node, symbols) and node.meta.get("module")
    )
    return tuple(
        part
        for part in parts
        if any(is_per_query(TapPoint(node), symbols) for node in exits_of(region_of(program.graph, part)))
    )


def _crosses(region: list[fx.Node], symbols: Symbols) -> bool:
    inside = set(region)
    mixes = any(node.target in _PRODUCT for node in region)
    reads_image = any(
        symbols.spatial(shape_of(source)) and len(shape_of(source) or ()) >= 3 and is_float(source)
        for node in region
        for source in node.all_input_nodes
        if source not in inside
    )
    features = [node for node in exits_of(region) if len(shape_of(node) or ()) >= 3]
    returns_image = any(symbols.spatial(shape_of(node)) for node in features)
    return mixes and reads_image and bool(features) and not returns_image


def by_layer(program: Program, cross: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Every decoder layer, in order, with its cross-attention's modules.

    Several that stand in one layer, as projections beside the attention do, are of that one. Where no number tells
    layers apart, each module that multiplies is a layer's own.
    """
    mixing = {node.meta.get("module", "") for node in program.graph.nodes if node.target in _PRODUCT}
    grouped: dict[str, list[str]] = {}
    for path in cross:
        grouped.setdefault(layer_of(path), []).append(path)
    found: list[tuple[str, tuple[str, ...]]] = []
    for layer, paths in grouped.items():
        whole = [path for path in paths if any(within(module, path) for module in mixing)]
        if layer.rpartition(".")[2].isdigit() or len(whole) < 2:
            found.append((layer, tuple(paths)))
        else:
            found += [(layer, (path,)) for path in whole]
    return found


@dataclass
class LayerPoints:
    """What one decoder layer's cross-attention has in one program: its query, if one was found, and taps by role.

    others: products that read further queries, which are not aligned.
    """

    query: QueryPoint | None = None
    others: tuple[fx.Node, ...] = ()
    taps: dict[str, TapPoint] = field(default_factory=dict)


def points_of_layer(program: Program, paths: Sequence[str], layer_path: str) -> LayerPoints:
    """The query and the taps of one decoder layer. ``paths`` are its cross-attention's, ``layer_path`` its own."""
    symbols, found = Symbols.of(program.graph), LayerPoints()
    around = region_of(program.graph, layer_path)
    region = [node for node in program.graph.nodes if node.op != "get_attr" and _in_any(node, paths)]
    ends = [node for node in exits_of(around) if len(shape_of(node) or ()) == 3]
    shaped = [node for node in exits_of(region) if len(shape_of(node) or ()) == 3]
    if any(node.target in _PRODUCT for node in region):
        feature = _attention(found, region, symbols)
        if found.query is None:
            feature = _deformable(found, region, around, symbols) or feature
        if found.query is not None:
            found.taps[QUERY] = TapPoint(found.query.node)
        if feature is None and shaped:
            feature = TapPoint(shaped[-1])
        if feature is not None:
            found.taps[FEATURE] = _batch_first(feature, symbols)
    if ends:
        found.taps[LAYER_OUTPUT] = _batch_first(TapPoint(_states(ends)), symbols)
    return found


def _states(ends: Sequence[fx.Node]) -> fx.Node:
    """Of what a layer gives, the last that is no boxes: a layer may refine these and return them behind its states."""
    wide = [node for node in ends if (shape_of(node) or (0,))[-1] not in (1, 2, 4)]
    return (wide or ends)[-1]


def shape_at(point: TapPoint) -> tuple[Extent, ...]:
    """The shape of what is tapped; () where that is unknown."""
    shape = shape_of(point.node)
    return () if shape is None else viewed(shape, point.views)


def _in_any(node: fx.Node, paths: Sequence[str]) -> bool:
    return any(within(node.meta.get("module", ""), path) for path in paths)


def _batch_first(point: TapPoint, symbols: Symbols) -> TapPoint:
    """(queries, batch, channels), as ``nn.MultiheadAttention`` has it by default, as (batch, queries, channels)."""
    shape = shape_at(point)
    if len(shape) != 3 or shape[1] != symbols.batch or shape[0] == symbols.batch:
        return point
    return TapPoint(point.node, (*point.views, ("transpose", 0, 1)))


def _attention(found: LayerPoints, region: Sequence[fx.Node], symbols: Symbols) -> TapPoint | None:
    """Notes the query, and the logits, or the key where the attention is one operation; returns the feature."""
    if not any(is_score(node) for node in region):
        return None
    attention = attended(region, symbols)
    found.query, found.others = attention.query, attention.others
    if attention.query is not None:
        first = attention.query.users[0][0]
        key = first.args[1]
        if first.target is not FUSED:
            found.taps[LOGITS] = TapPoint(first)
        elif isinstance(key, fx.Node):
            found.taps[KEY] = TapPoint(key)
    return attention.feature


def _deformable(
    found: LayerPoints, region: Sequence[fx.Node], around: Sequence[fx.Node], symbols: Symbols
) -> TapPoint | None:
    """Notes the query and the logits; returns the feature."""
    deformable = sampled(region, around, symbols)
    if deformable is None:
        return None
    found.taps[LOGITS], found.query = TapPoint(deformable.logits), deformable.query
    return deformable.feature
