"""Constants of equal value, stored once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx

SMALL = 64
"""Bytes below which a constant keeps a place and a name of its own."""


def once_each(graph: onnx.GraphProto, tensors: Iterable[onnx.TensorProto]) -> list[onnx.TensorProto]:
    """The tensors without repetitions; nodes read the first of those that are equal, bit for bit."""
    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    other: dict[str, str] = {}
    given_out = {value.name for value in graph.output}
    kept = []
    for tensor in tensors:
        key = (tensor.data_type, tuple(tensor.dims), tensor.raw_data)
        shared = len(tensor.raw_data) >= SMALL and tensor.name not in given_out
        if shared and first.setdefault(key, tensor.name) != tensor.name:
            other[tensor.name] = first[key]
        else:
            kept.append(tensor)
    if other:
        for node in with_inner(graph.node):
            for place, name in enumerate(node.input):
                node.input[place] = other.get(name, name)
    return kept


def with_inner(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Nodes, each in front of those of the graphs inside it."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            yield from with_inner(attribute.g.node)
