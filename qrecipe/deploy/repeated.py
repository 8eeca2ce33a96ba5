"""Constants that repeat themselves, stored without their repetitions.

At a fixed size a detector's tables of positions and anchors are constants of every place, though most of them differ
along one side of the image alone. A runtime expands them when it opens the file.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from .integers import PRODUCTS

LARGE = 4096
"""Bytes from which it is worth two more nodes."""
CONSTANT = (*PRODUCTS, "DequantizeLinear", "QuantizeLinear", "PRelu")
NORMALIZATION = "Normalization"
"""Operators whose fastest kernels want constants as they are, as do those whose names end so."""

Values = NDArray[np.generic]


def store_once(model: onnx.ModelProto) -> None:
    """Replace large constants that are the same along a dimension, or a part of one, by what differs. In place.

    No value changes.
    """
    graph = model.graph
    kept_whole = {name for node in graph.node if _wants_constants(node) for name in node.input}
    read = {name for node in graph.node for name in node.input}
    constants, nodes = [], []
    for tensor in graph.initializer:
        found = None
        if len(tensor.raw_data) >= LARGE and tensor.name in read - kept_whole:
            found = _smallest(numpy_helper.to_array(tensor))
        if found is None:
            constants.append(tensor)
            continue
        part, shape = found
        named = {"once": part, "expanded": np.array(shape), "shape": np.array(tensor.dims)}
        constants += [numpy_helper.from_array(value, f"{tensor.name}/{end}") for end, value in named.items()]
        whole = f"{tensor.name}/whole"
        nodes.append(helper.make_node("Expand", [f"{tensor.name}/once", f"{tensor.name}/expanded"], [whole], whole))
        nodes.append(helper.make_node("Reshape", [whole, f"{tensor.name}/shape"], [tensor.name], tensor.name))
    del graph.initializer[:]
    graph.initializer.extend(constants)
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])


def _wants_constants(node: onnx.NodeProto) -> bool:
    return node.op_type in CONSTANT or bool(node.op_type.endswith(NORMALIZATION))


def _smallest(value: Values) -> tuple[Values, tuple[int, ...]] | None:
    """What differs, and the shape that it is to be expanded to before it has the value's own; None if all does."""
    bits = value.view(f"u{value.itemsize}")
    part, shape = min(_parts(bits), key=lambda one: one[0].size)
    return (part.view(value.dtype), shape) if part.size <= value.size // 2 else None


def _parts(value: Values) -> Iterator[tuple[Values, tuple[int, ...]]]:
    """The value without its repetitions, with each of its dimensions in one piece or as a grid of two."""
    yield _part(value), value.shape
    for axis, count in enumerate(value.shape):
        for rows in range(2, count):
            if count % rows == 0:
                grid = value.reshape(*value.shape[:axis], rows, count // rows, *value.shape[axis + 1 :])
                yield _part(grid), grid.shape


def _part(value: Values) -> Values:
    """One of every dimension along which all are the same."""
    for axis in range(value.ndim):
        first = value.take([0], axis)
        if (value == first).all():
            value = first
    return value
