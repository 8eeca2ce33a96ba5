"""What each node of a graph computes, as a hash: how calls of two graphs are told to be the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from .face import Face

aten = torch.ops.aten
_LAYOUT = {aten.contiguous.default, aten.clone.default}
"""Left out of a graph where the tensor has that layout already, which can depend on the mode."""
_ATTENTION_OPTIONS = ("attn_mask", "dropout_p", "is_causal")


def value_hashes(face: Face, root: nn.Module, canonical: Mapping[str, str]) -> dict[fx.Node, str]:
    """What each node computes, as a hash over operators, constants and parameter names.

    Dropout and a tensor's layout in memory count for nothing.
    """
    hashes: dict[fx.Node, str] = {}

    def text(value: Any) -> str:
        if isinstance(value, fx.Node):
            return hashes[value]
        if isinstance(value, list | tuple):
            return "[" + ",".join(text(item) for item in value) + "]"
        if isinstance(value, dict):
            return text(sorted((key, text(item)) for key, item in value.items()))
        return repr(value)

    for node in face.graph.nodes:
        is_dropout = node.op == "call_module" and str(node.target).startswith("dropouts.")
        if is_dropout or node.target in _LAYOUT:
            hashes[node] = hashes[node.all_input_nodes[0]]
            continue
        args: Any = node.args
        if node.target is aten.scaled_dot_product_attention.default:
            given = dict(zip(_ATTENTION_OPTIONS, args[3:], strict=False))  # without dropout they are often left out
            args = (*args[:3], given.get("attn_mask"), given.get("is_causal", False))
        kwargs = {key: value for key, value in node.kwargs.items() if key != "dropout_p"}
        name = canonical.get(str(node.target), str(node.target)) if node.op == "get_attr" else str(node.target)
        if node.op == "get_attr" and name.startswith("constants."):
            value = getattr(root.get_submodule("constants"), name.removeprefix("constants."))
            name = _digest(value) if isinstance(value, Tensor) else name
        hashes[node] = hashlib.sha256(f"{node.op} {name} {text(args)} {text(kwargs)}".encode()).hexdigest()
    return hashes


def _digest(value: Tensor) -> str:
    return hashlib.sha256(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()
