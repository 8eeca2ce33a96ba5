"""What a weight is called: its parameter's first name, or a part of one, as a fused ``in_proj_weight[0]``."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import fx, nn

from ..graph.program import Program
from ..graph.shapes import is_number, shape_of
from ..graph.softmax import RESHAPES

aten = torch.ops.aten
_PARTS = {
    aten.split.Tensor,
    aten.split_with_sizes.default,
    aten.chunk.default,
    aten.unbind.int,
    aten.tensor_split.sections,
}
_TURNS = RESHAPES - {aten.expand.default}


def canonical_parameters(root: nn.Module) -> dict[str, str]:
    """Every name of every parameter to the first of its names: tied parameters share one quantizer."""
    first: dict[int, str] = {}
    names: dict[str, str] = {}
    for name, parameter in root.named_parameters(remove_duplicate=False):
        names[name] = first.setdefault(id(parameter), name)
    return names


def weight_name(source: Any, canonical: Mapping[str, str]) -> str | None:
    """The name of what a weight's operand reads; None where it is neither a parameter nor a part of one."""
    if not isinstance(source, fx.Node):
        return None
    if source.op == "get_attr":
        return canonical.get(str(source.target), str(source.target))
    parameter, part = _part(source)
    if parameter is None or parameter.op != "get_attr":
        return None
    return f"{canonical.get(str(parameter.target), str(parameter.target))}[{part}]"


def multiplied_parameters(root: nn.Module, products: Iterable[fx.Node]) -> tuple[str, ...]:
    """The parameters that products such as ``x @ self.weight`` read, reshaped or not, by first name.

    One that is expanded over the batch, as learned queries are, is none.
    """
    canonical = canonical_parameters(root)
    found: dict[str, None] = {}
    for product in products:
        for source in product.all_input_nodes:
            while source.target in _TURNS and isinstance(source.args[0], fx.Node):
                source = source.args[0]
            if source.op == "get_attr" and str(source.target) in canonical:
                found[canonical[str(source.target)]] = None
    return tuple(found)


def _part(node: fx.Node) -> tuple[fx.Node | None, str]:
    """The tensor that a node takes a part of, and which part."""
    source = node.all_input_nodes[0] if node.all_input_nodes else None
    if source is None:
        return None, ""
    if node.target is operator.getitem and source.target in _PARTS:
        return source.all_input_nodes[0], str(node.args[1])
    if node.target is aten.slice.Tensor:
        dim, start, end = (*node.args[1:], *(0, None, None)[len(node.args) - 1 :])[:3]
        whole = shape_of(source)
        last = whole[dim] if whole is not None and isinstance(dim, int) else None
        until = last if end is None or (isinstance(end, int) and isinstance(last, int) and end > last) else end
        return source, f"{':, ' * int(str(dim))}{start or 0}:{until}"
    if node.target is aten.select.int:
        return source, f"{':, ' * int(str(node.args[1]))}{node.args[2]}"
    return None, ""


def parameter_sizes(root: nn.Module, programs: Mapping[Any, Program]) -> dict[str, int]:
    """The number of elements of every parameter, by first name; one whose parts are weights of their own, part by part.

    Parts stand for the whole only where they cover it.
    """
    canonical = canonical_parameters(root)
    sizes = {name: parameter.numel() for name, parameter in root.named_parameters() if canonical[name] == name}
    parts: dict[str, dict[str, int]] = {}
    for program in programs.values():
        for node in program.graph.nodes:
            name = weight_name(node, canonical) if node.op == "call_function" else None
            shape = shape_of(node)
            if name is not None and shape is not None and all(is_number(extent) for extent in shape):
                count = 1
                for extent in shape:
                    count *= int(extent)
                parts.setdefault(name[: name.rindex("[")], {})[name] = count
    for whole, found in parts.items():
        if sum(found.values()) == sizes.get(whole):
            at = list(sizes).index(whole)
            items = list(sizes.items())
            sizes = dict([*items[:at], *found.items(), *items[at + 1 :]])
    return sizes
