"""The products of quantized operands in a file, and which of them a runtime computes in integers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from ..runtimes import Operator, Runtime
from .equal import with_inner
from .integers import END, INTEGERS, PRODUCTS
from .kernels import Kernels

MOVES = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Expand", "Slice", "Gather", "Identity", "Flatten")
"""Operators behind which a value is still made of the same integers."""

FUSED = ("Relu",)
"""Operators that runtimes compute together with the product in front."""


@dataclass(frozen=True)
class Product:
    """A product whose two operands are quantized. node: its name in the file. sites: its operands' sites.

    name: the module whose weight it is, or the place of an attention product.
    feeds: what kinds of operators read its result behind what fuses with it, by name once each.
    """

    node: str
    name: str
    sites: tuple[str, str]
    feeds: tuple[str, ...] = ()


def products(model: onnx.ModelProto) -> tuple[Product, ...]:
    """In the order of the file."""
    made = {name: node for node in model.graph.node for name in node.output}
    readers = readers_of(model)
    found = []
    for node in model.graph.node:
        if node.op_type not in PRODUCTS:
            continue
        sites = [_site(made, name) for name in node.input[:2]]
        if sites[0] is not None and sites[1] is not None:
            own = (sites[0], sites[1])
            found.append(Product(node.name, _name(own), own, feeds(readers, node)))
    return tuple(found)


def readers_of(model: onnx.ModelProto) -> dict[str, list[onnx.NodeProto]]:
    """Which nodes read a value."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in with_inner(model.graph.node):
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers


def feeds(
    readers: Mapping[str, list[onnx.NodeProto]], node: onnx.NodeProto, through: Sequence[str] = FUSED
) -> tuple[str, ...]:
    """What kinds of operators read a node's result behind those of kind ``through``, by name once each."""
    kinds: list[str] = []
    for reader in readers.get(node.output[0], ()):
        kinds += feeds(readers, reader, through) if reader.op_type in through else [reader.op_type]
    return tuple(dict.fromkeys(kinds))


def count_kernels(model: onnx.ModelProto, runtime: Runtime, operators: Sequence[Operator] | None) -> Kernels | None:
    """None where the runtime does not say what it runs."""
    if operators is None:
        return None
    names = {name for one in operators if one.integer for name in one.names}
    found = products(model)
    scaled = {node.name.removesuffix(END) for node in model.graph.node if node.op_type == "Mul"}
    kind = onnx.TensorProto.INT4
    narrow = {one.name.removesuffix(INTEGERS) for one in model.graph.initializer if one.data_type == kind}
    return Kernels(
        runtime.name,
        runtime.version(),
        tuple(one.name for one in found if one.node in names),
        {one.name: _reason(one, scaled, narrow) for one in found if one.node not in names},
        dict(Counter(one.kind for one in operators if one.integer)),
    )


def _site(made: Mapping[str, onnx.NodeProto], name: str) -> str | None:
    """The site of the quantized operand that a value shows, moved or not; also of a weight that is stored in float."""
    node = made.get(name)
    while node is not None and node.op_type in MOVES and not node.name.endswith(END):
        name = node.input[0]
        node = made.get(name)
    name = name if node is None else node.name
    return name.removesuffix(END) if name.endswith(END) else None


def _name(sites: tuple[str, str]) -> str:
    for site in reversed(sites):
        own = site.removesuffix(".transposed")
        if own.endswith(".weight"):
            module, first = own.removesuffix(".weight"), sites[0].removesuffix(".input")
            return first if first.partition("@")[0] == module else module  # its second call is module@1
    return f"{sites[0]} x {sites[1].rpartition('.')[2]}"


def _reason(product: Product, scaled: set[str], narrow: set[str]) -> str:
    if any(site in scaled for site in product.sites):
        return "scales of each head"
    if narrow.intersection(product.sites):
        return "weights packed in 4 bits"
    others = [kind for kind in product.feeds if kind != "QuantizeLinear"]
    if others:
        return f"its result is read in float by {', '.join(others)}"
    return ""
