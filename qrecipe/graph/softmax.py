"""Which values come from a softmax, and which lead to one: what tells an attention's products from others."""

from __future__ import annotations

from operator import getitem
from typing import Any

import torch
from torch import fx

from ..vocabulary import DROPOUTS

aten = torch.ops.aten

RESHAPES = {
    aten.reshape.default,
    aten.transpose.int,
    aten.permute.default,
    aten.contiguous.default,
    aten.unsqueeze.default,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.movedim.int,
    aten.flatten.using_ints,
    aten.unflatten.int,
    aten.expand.default,
    aten.slice.Tensor,
    aten.to.dtype,
    aten.clone.default,
}
PARTS = {
    aten.select.int,
    aten.narrow.default,
    aten.unbind.int,
    aten.split.Tensor,
    aten.split_with_sizes.default,
    aten.chunk.default,
    getitem,
}
"""A loop over feature levels reads one level of the weights after the other. A part of a product that goes into a
softmax is something else: the product may be a projection for several purposes."""
_SCALING = {
    aten.mul.Tensor,
    aten.div.Tensor,
    aten.add.Tensor,
    aten.sub.Tensor,
    aten.clamp.default,
    aten.masked_fill.Scalar,
    aten.where.self,
}
_SOFTMAX = {aten.softmax.int, aten._softmax.default}


def leads_to_softmax(node: fx.Node) -> bool:
    """Whether a product reaches a softmax through scaling, shifts, bounds, masks and reshaping only."""
    pending, seen = [node], set()
    through = RESHAPES | _SCALING
    while pending:
        for user in pending.pop().users:
            if user.target in _SOFTMAX:
                return True
            if user.target in through and user not in seen:
                seen.add(user)
                pending.append(user)
    return False


def from_softmax(value: Any) -> bool:
    """Whether a value is a softmax's or part of it, through reshaping and dropout only."""
    return _softmax_of(value) is not None


def from_scores(value: Any) -> bool:
    """Whether a value is a softmax's, and what that reads is a product, through scaling, masks and reshaping only."""
    softmax = _softmax_of(value)
    source = softmax.args[0] if softmax is not None else None
    while isinstance(source, fx.Node) and source.target in RESHAPES | _SCALING:
        source = source.args[0]
    return isinstance(source, fx.Node) and source.target is aten.matmul.default


def _softmax_of(value: Any) -> fx.Node | None:
    while isinstance(value, fx.Node):
        if value.target in _SOFTMAX:
            return value
        is_dropout = value.op == "call_module" and str(value.target).startswith(f"{DROPOUTS}.")
        if value.target not in RESHAPES | PARTS and not is_dropout:
            return None
        value = value.args[0]
    return None
