"""An attention by dot products: its queries and keys, and the co-attended feature, which softmaxes may lead to in turn.

Attention along rows and columns has a softmax for each and multiplies the values by one after the other; others add up
the scores of contents and of positions, or what two attentions give. Source: Q-DETR (arXiv 2304.00253), eq. 2.26.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import fx

from ..graph.flow import downstream
from ..graph.points import QueryPoint, TapPoint, View, viewed
from ..graph.shapes import Symbols, is_number, shape_of
from ..graph.softmax import from_softmax, leads_to_softmax
from .operands import OPERATORS, WEIGHTED

aten = torch.ops.aten

FUSED = aten.scaled_dot_product_attention.default
_SUMS = {aten.add.Tensor, aten.add_.Tensor}
_JOINS = {aten.cat.default, aten.concat.default}
_ZEROS = {aten.zeros.default, aten.zeros_like.default, aten.new_zeros.default}
_MERGES = {
    aten.transpose.int,
    aten.reshape.default,
    aten.permute.default,
    aten.movedim.int,
    aten.contiguous.default,
    aten.clone.default,
    aten.flatten.using_ints,
    aten.unflatten.int,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.unsqueeze.default,
    aten.to.dtype,
}


@dataclass(frozen=True)
class Attended:
    """scores: the products of queries and keys, or fused attentions, in their order. query: the first one that can be
    aligned, with all that read it; others: scores whose query is another one, or cannot be aligned.

    feature: what the output projection reads; None where it is not made by products of this region.
    """

    scores: tuple[fx.Node, ...]
    query: QueryPoint | None
    others: tuple[fx.Node, ...]
    feature: TapPoint | None


def attended(region: Sequence[fx.Node], symbols: Symbols) -> Attended:
    """The attention in a region of nodes, which holds a score: the first call's, where a module is called again.

    Where queries meet the image in some of several products, those of queries with themselves are another attention's.
    """
    scores = [node for node in region if is_score(node)]
    if any(crosses(node, symbols) for node in scores):
        scores = [node for node in scores if crosses(node, symbols) or not _is_square(node)]
    behind = downstream(scores[0].graph, {scores[0]})
    scores = [scores[0], *(node for node in scores[1:] if node not in behind)]
    points = {node: _query(node, symbols) for node in scores}
    first = next((point for point in points.values() if point is not None), None)
    users = tuple((node, 0) for node in scores if first is not None and node.args[0] is first.node)
    query = None if first is None else QueryPoint(first.node, users, first.layout, first.heads, first.head_dim)
    others = tuple(node for node in scores if (node, 0) not in users)
    return Attended(tuple(scores), query, others, _feature(scores, set(region), symbols))


def is_score(node: fx.Node) -> bool:
    """Whether a node multiplies queries and keys: a product before a softmax, or a fused attention."""
    return node.target is FUSED or (node.target is aten.matmul.default and leads_to_softmax(node))


def crosses(node: fx.Node, symbols: Symbols) -> bool:
    """Whether a product of queries and keys is of something per query with something of the image's extent."""
    query, key = (shape_of(source) for source in node.args[:2])
    return symbols.spatial(key) and not symbols.spatial(query)


def _is_square(node: fx.Node) -> bool:
    """Whether there are as many keys as queries, as in self-attention."""
    query, key = (shape_of(source) or (0,) for source in node.args[:2])
    return query[-2:-1] == (key[-2:-1] if node.target is FUSED else key[-1:])


def _query(node: fx.Node, symbols: Symbols) -> QueryPoint | None:
    """(batch, heads, queries, head_dim), or (batch, queries, channels) of one head."""
    query, key = node.args[0], node.args[1]
    shape = shape_of(query)
    turned = symbols.spatial(shape) and not symbols.spatial(shape_of(key))
    if not isinstance(query, fx.Node) or shape is None or turned or not is_number(shape[-1]):
        return None
    if len(shape) == 4 and is_number(shape[1]):
        return QueryPoint(query, (), "bhld", int(shape[1]), int(shape[3]))
    if len(shape) == 3 and shape[0] == symbols.batch:
        return QueryPoint(query, (), "bld", 1, int(shape[2]))
    return None


def _feature(scores: Sequence[fx.Node], region: Collection[fx.Node], symbols: Symbols) -> TapPoint | None:
    """What the last product with attention weights gives, its heads merged: softmaxes before it are on the way."""
    reached = ahead(scores, region)
    products = [node for node in region if node in reached and weighs(node)]
    last = max(products, key=_places(scores).__getitem__, default=None)
    return None if last is None else projection_input(last, set(products), symbols)


def _places(scores: Sequence[fx.Node]) -> dict[fx.Node, int]:
    return {node: place for place, node in enumerate(scores[0].graph.nodes)}


def weighs(node: fx.Node) -> bool:
    """Whether a node multiplies values by attention weights, and its result is not the score of a further softmax."""
    if node.target is FUSED:
        return True
    product, operator = node, aten.matmul.default
    if node.target is aten.sum.dim_IntList and isinstance(node.args[0], fx.Node):
        product, operator = node.args[0], aten.mul.Tensor
    multiplies = product.target is operator and any(from_softmax(source) for source in product.args[:2])
    return multiplies and not leads_to_softmax(node)


def ahead(starts: Sequence[fx.Node], region: Collection[fx.Node]) -> set[fx.Node]:
    """What is computed from some nodes within a region, up to the next layer with weights."""
    found, pending = set(starts), list(starts)
    while pending:
        for user in pending.pop().users:
            if user in region and user not in found and OPERATORS.get(user.target) not in WEIGHTED:
                found.add(user)
                pending.append(user)
    return found


def projection_input(last: fx.Node, products: Collection[fx.Node], symbols: Symbols) -> TapPoint | None:
    """Follow the heads' merge: the tensor with a row for each query that the output projection reads.

    products: all that attention weights multiply. An attention may add up or join what several of them give; anything
    else that is added, such as a residual, is no part of the feature.
    """
    chain = [last]
    while (following := _merge_of(chain[-1], products)) is not None:
        chain.append(following)
    found = next((node for node in reversed(chain) if is_per_query(TapPoint(node), symbols)), None)
    if found is not None:
        return TapPoint(found)
    views: tuple[View, ...] = (("transpose", 1, 2), ("flatten", 2, 3))  # for models that merge heads in another order
    apart = [node for node in chain if len(shape_of(node) or ()) == 4]
    merged = (TapPoint(node, views) for node in reversed(apart))
    return next((point for point in merged if is_per_query(point, symbols)), None)


def is_per_query(point: TapPoint, symbols: Symbols) -> bool:
    """Whether a value is (batch, queries, channels) or (queries, batch, channels), without the image's extent."""
    shape = shape_of(point.node)
    shape = () if shape is None else viewed(shape, point.views)
    return len(shape) == 3 and symbols.batch in shape[:2] and is_number(shape[2]) and not symbols.spatial(shape)


def _merge_of(node: fx.Node, products: Collection[fx.Node]) -> fx.Node | None:
    """The first of a node's readers that rearranges it, or adds it to or joins it with more of the same attention."""
    for user in node.users:
        if user.target in _MERGES or (user.target in _SUMS | _JOINS and _made_of(user, products)):
            return user
    return None


def _made_of(node: fx.Node, products: Collection[fx.Node]) -> bool:
    """Whether a value is made of an attention's products and numbers by addition, joins and reshaping alone."""
    pending: list[object] = [node]
    while pending:
        value = pending.pop()
        if not isinstance(value, fx.Node) or value in products or value.target in _ZEROS:
            continue
        if value.target in _SUMS:
            pending.extend(value.args[:2])
        elif value.target in _JOINS:
            pending.extend(value.all_input_nodes)
        elif value.target in _MERGES:
            pending.append(value.args[0])
        else:
            return False
    return True
