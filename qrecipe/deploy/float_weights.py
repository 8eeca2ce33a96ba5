"""Weights of convolutions that ONNX Runtime computes in float, stored as the floats that their integers stand for.

It computes a convolution in integers only where all that reads its result is quantized. Of any other it would make
floats of the integers anew for every image, and its fastest kernels (NCHWc), which lay weights out when the file is
opened, take constants alone.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from .integers import END, INTEGERS
from .products import FUSED, MOVES, feeds, readers_of

CONVOLUTIONS = ("Conv", "ConvTranspose")
PASSED = (*FUSED, *MOVES, "MaxPool", "Clip")
"""ONNX Runtime may take a rounding to the front of these, and would round a weight of floats anew, by one scale."""


def put_floats(model: onnx.ModelProto) -> int:
    """Where the result of a convolution is read in float, in place. No value changes. Returns how many weights."""
    graph = model.graph
    made = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    values = {tensor.name: tensor for tensor in graph.initializer}
    readers = readers_of(model)
    for node in graph.node:
        if node.op_type not in CONVOLUTIONS or node.input[1] not in made:
            continue
        weight = made[node.input[1]]
        if weight.input[0] not in values or (
            node.op_type == "Conv" and feeds(readers, node, PASSED) == ("QuantizeLinear",)
        ):
            continue
        if weight.name not in values:
            values[weight.name] = numpy_helper.from_array(_floats(weight, values), weight.name)
            graph.initializer.append(values[weight.name])
        node.input[1] = weight.name
    return _drop_unread(graph)


def _floats(node: onnx.NodeProto, values: dict[str, onnx.TensorProto]) -> NDArray[np.float32]:
    """What a DequantizeLinear of constants gives."""
    integers, scale, zero = (numpy_helper.to_array(values[name]).astype(np.float32) for name in node.input)
    axis = next((entry.i for entry in node.attribute if entry.name == "axis"), 0)
    shape = [-1 if place == axis else 1 for place in range(integers.ndim)] if scale.ndim else []
    found: NDArray[np.float32] = (integers - zero.reshape(shape)) * scale.reshape(shape)
    return found


def _drop_unread(graph: onnx.GraphProto) -> int:
    """The integers whose floats were taken, and what showed them. Returns of how many weights."""
    read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    nodes = [node for node in graph.node if not node.name.endswith(END) or node.output[0] in read]
    del graph.node[:]
    graph.node.extend(nodes)
    read = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    dropped: int = sum(tensor.name.endswith(INTEGERS) and tensor.name not in read for tensor in graph.initializer)
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return dropped
