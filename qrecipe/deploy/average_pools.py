"""Average pools as all runtimes compute them.

Where a pool's size is rounded up (``ceil_mode``), its last windows hang over the edge. torch divides by what of a
window is image or padding; ONNX Runtime's integer kernel, told to count padding, divides by the whole window.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from ..errors import ExportError

POOL = torch.ops.aten.avg_pool2d.default
NAMES = ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")


def settle_average_pools(graph: fx.Graph) -> None:
    """Let pools without padding count none, which changes nothing in torch, in place.

    Raises: ExportError: a pool that no file expresses so that every runtime computes it alike.
    """
    for node in graph.nodes:
        if node.target is not POOL:
            continue
        given: dict[str, Any] = {**dict(zip(NAMES, node.args, strict=False)), **node.kwargs}
        padded = bool(torch.tensor(given.get("padding", 0)).any())
        counts = given.get("count_include_pad", True)
        if given.get("divisor_override") is not None:
            raise _refused(node, "divides by a number of its own", "leave divisor_override out")
        if padded and counts and given.get("ceil_mode", False):
            raise _refused(node, "pads, counts the padding and rounds its size up", "set one of the three otherwise")
        if counts and not padded:
            values = [given.get(name, default) for name, default in zip(NAMES[2:5], ([], 0, False), strict=True)]
            node.args = (node.args[0], given["kernel_size"], *values, False)
            node.kwargs = {}


def _refused(node: fx.Node, what: str, remedy: str) -> ExportError:
    return ExportError(
        f"an average pool {what}, which files and runtimes do not express alike",
        where=str(node.meta.get("module") or node.name),
        remedy=f"{remedy} in the model",
    )
