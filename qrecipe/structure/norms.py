"""Normalisations with running statistics, torch's own or written by hand."""

from __future__ import annotations

from torch import fx, nn


def is_norm(root: nn.Module, node: fx.Node) -> bool:
    """Whether a node calls a normalisation with running statistics, torch's own or one written by hand."""
    if node.op != "call_module":
        return False
    module = root.get_submodule(str(node.target))
    return {"running_mean", "running_var"} <= {*module._parameters, *module._buffers}
