"""One way to write each reshaping: what asks for a layout in memory, and other names of the same, are rewritten."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from ...graph.shapes import shape_of

aten = torch.ops.aten

_RENAMED: dict[Any, Any] = {
    aten.view.default: aten.reshape.default,
    aten._unsafe_view.default: aten.reshape.default,
    aten.swapaxes.default: aten.transpose.int,
    aten.swapdims.default: aten.transpose.int,
}
_TURNED = {aten.mT.default, aten.t.default, aten.numpy_T.default}
"""Of a matrix, or of matrices, the last two dimensions in exchange."""


def unify_reshapes(graph: fx.Graph) -> None:
    """Views become reshapes, and every exchange of two dimensions a ``transpose``.

    A view holds only for the layout in memory that was traced, and passes change layouts: ``attention(q, k, v)
    .transpose(1, 2).contiguous().view(...)`` is captured without ``contiguous``, as the fused attention's result has
    that layout already; that of the products it is decomposed into has another.
    """
    for node in graph.nodes:
        if node.target in _RENAMED:
            node.target = _RENAMED[node.target]
        elif node.target in _TURNED and (len(shape_of(node) or ()) == 2 or node.target is aten.mT.default):
            node.args, node.target = (node.args[0], -2, -1), aten.transpose.int
