"""Writes into part of a tensor, as values: ``new[..., :n] = x`` becomes what ``new`` is from then on.

A node that is written into behind its back hides where its values come from: a head that fills a larger tensor would
not be seen to lead to the logits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from ...graph.calls import call_like
from ...graph.shapes import shape_of

aten = torch.ops.aten

_SCATTERS: dict[Any, Any] = {
    aten.slice.Tensor: aten.slice_scatter.default,
    aten.select.int: aten.select_scatter.default,
}
"""Views of part of a tensor, and what puts values into that part."""


def unfold_assignments(graph: fx.Graph) -> int:
    """Rewrite copies into slices of tensors that the graph itself made; returns how many.

    Where the copied value has another shape than the slice, or the slice is read elsewhere, it is left. A tensor that
    is read before it is written into keeps its writes: what was read may be a view, which sees them.
    """
    order = {node: index for index, node in enumerate(graph.nodes)}
    copies = [node for node in graph.nodes if node.target is aten.copy_.default]
    return sum(_unfold(graph, copy, order) for copy in copies)


def _unfold(graph: fx.Graph, copy: fx.Node, order: dict[fx.Node, int]) -> bool:
    base, views = copy.args[0], list[fx.Node]()  # from the part that is written outwards
    while isinstance(base, fx.Node) and base.target in _SCATTERS:
        views.append(base)
        base = base.args[0]
    if not isinstance(base, fx.Node) or not _makes_its_own(base) or not views or copy.users:
        return False
    value = copy.args[1]
    if not isinstance(value, fx.Node) or shape_of(value) is None or shape_of(value) != shape_of(views[0]):
        return False
    chain = {copy, *views}
    if any(not set(view.users) <= chain for view in views) or any(
        order[user] < order[copy] and user not in chain and isinstance(user.meta.get("val"), Tensor)
        for user in base.users
    ):
        return False
    with graph.inserting_before(copy):
        if value.meta["val"].dtype != views[0].meta["val"].dtype:
            value = call_like(graph, copy, aten.to.dtype, (value, views[0].meta["val"].dtype))
            order[value] = order[copy]
        for view in views:
            value = call_like(graph, copy, _SCATTERS[view.target], (view.args[0], value, *view.args[1:]))
            order[value] = order[copy]
    base.replace_all_uses_with(value, delete_user_cb=lambda user: order.get(user, -1) > order[copy])
    graph.erase_node(copy)
    return True


def _makes_its_own(node: fx.Node) -> bool:
    """Whether a call returns memory that no other tensor looks at. Whatever may be a view counts as one."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and not any(value.alias_info for value in schema.returns)
