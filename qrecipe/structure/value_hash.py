"""What each node of a graph computes, as a hash: how calls of two graphs are told to be the same."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..graph.checksum import checksum
from ..graph.program import Program
from ..vocabulary import CONSTANTS, DROPOUTS

aten = torch.ops.aten
_LAYOUT = {aten.contiguous.default, aten.clone.default}
"""Left out of a graph where the tensor has that layout already, which can depend on the mode."""
_RESHAPES = {aten.reshape.default, aten.expand.default, aten.repeat.default, aten.tile.default}
_JOINS = {aten.cat.default, aten.concat.default, aten.concatenate.default}
_SUMS = {aten.add.Tensor, aten.add_.Tensor}
_ATTENTION_OPTIONS = ("attn_mask", "dropout_p", "is_causal")
_SIZE = "a size"


def value_hashes(
    program: Program, root: nn.Module, canonical: Mapping[str, str], extra: Collection[str] = ()
) -> dict[fx.Node, str]:
    """What each node computes, as a hash over operators, constants and parameter names.

    Dropout and a tensor's layout in memory count for nothing.

    Args:
        extra: inputs that the other graph does not read, such as those of a denoising branch. What comes from them
            alone counts for nothing where it is added or put beside something else; and as that makes tensors larger,
            sizes count for nothing then.
    """
    hashes: dict[fx.Node, str] = {}
    beside: set[fx.Node] = set()

    def text(value: Any) -> str:
        if isinstance(value, fx.Node):
            return hashes[value]
        if isinstance(value, list | tuple):
            return "[" + ",".join(text(item) for item in value) + "]"
        if isinstance(value, dict):
            return text(sorted((key, text(item)) for key, item in value.items()))
        return repr(value)

    for node in program.graph.nodes:
        if (node.op == "placeholder" and node.target in extra) or _from_these(node, beside):
            beside.add(node)
        source = _same_as(node, beside)
        if source is not None:
            hashes[node] = hashes[source]
            continue
        if extra and node.op == "call_function" and not isinstance(node.meta.get("val", _SIZE), Tensor | list | tuple):
            hashes[node] = _SIZE
            continue
        args: Any = node.args[:1] if extra and node.target in _RESHAPES else node.args
        if node.target is aten.scaled_dot_product_attention.default:
            given = dict(zip(_ATTENTION_OPTIONS, args[3:], strict=False))  # without dropout they are often left out
            mask = given.get("attn_mask")
            args = (*args[:3], None if mask in beside else mask, given.get("is_causal", False))
        kwargs = {
            key: value
            for key, value in node.kwargs.items()
            if key != "dropout_p" and not (isinstance(value, fx.Node) and value in beside)
        }
        name = canonical.get(str(node.target), str(node.target)) if node.op == "get_attr" else str(node.target)
        if node.op == "get_attr" and name.startswith(f"{CONSTANTS}."):
            value = getattr(root.get_submodule(CONSTANTS), name.removeprefix(f"{CONSTANTS}."))
            name = checksum(value) if isinstance(value, Tensor) else name
        hashes[node] = hashlib.sha256(f"{node.op} {name} {text(args)} {text(kwargs)}".encode()).hexdigest()
    return hashes


def _from_these(node: fx.Node, beside: set[fx.Node]) -> bool:
    """Whether a value comes from some of these nodes, and otherwise from parameters and sizes alone."""
    sources = [
        source
        for source in node.all_input_nodes
        if source.op != "get_attr" and isinstance(source.meta.get("val"), Tensor)
    ]
    return bool(sources) and all(source in beside for source in sources)


def _same_as(node: fx.Node, beside: set[fx.Node]) -> fx.Node | None:
    """The input that a node passes on, as far as this comparison goes."""
    is_dropout = node.op == "call_module" and str(node.target).startswith(f"{DROPOUTS}.")
    if is_dropout or node.target in _LAYOUT:
        return node.all_input_nodes[0]
    joined: Any = node.args[0] if node.target in _JOINS else node.args[:2] if node.target in _SUMS else ()
    others = [item for item in joined if item not in beside]
    alone = others[0] if len(others) == 1 < len(joined) else None
    return alone if isinstance(alone, fx.Node) else None
