"""Deformable attention: the query that offsets and weights are computed from, and the weighted sum of samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import fx

from ..graph.points import QueryPoint, TapPoint
from ..graph.shapes import Extent, Symbols, is_number, shape_of
from .dot_product import ahead, projection_input

aten = torch.ops.aten

_SUMS = {aten.sum.dim_IntList, aten.sum.default}


@dataclass(frozen=True)
class Sampled:
    """logits: of the attention weights. feature: what the output projection reads; None where it was not found."""

    query: QueryPoint
    logits: fx.Node
    feature: TapPoint | None


def sampled(region: Sequence[fx.Node], around: Sequence[fx.Node], symbols: Symbols) -> Sampled | None:
    """The deformable attention in a region of nodes; None where there is none.

    around: the nodes of its layer, in which the projections of its query may stand.
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
    width, weights = shape_of(query), shape_of(softmax)
    users = _linears_of(query, region) or _linears_of(query, around)
    if not isinstance(query, fx.Node) or width is None or len(width) != 3 or weights is None or not users:
        return None
    heads = heads_of(weights, width, symbols)
    reached = ahead([softmax], set(region))
    sums = [node for node in region if node.target in _SUMS and node in reached]
    feature = projection_input(sums[-1], set(sums), symbols) if sums else None
    return Sampled(QueryPoint(query, users, "bld", heads, int(width[-1]) // heads), logits, feature)


def _linears_of(query: object, nodes: Sequence[fx.Node]) -> tuple[tuple[fx.Node, int], ...]:
    return tuple((node, 0) for node in nodes if node.target is aten.linear.default and node.args[0] is query)


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
