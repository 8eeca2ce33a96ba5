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

from .products import FUSED, MOVES, feeds, readers_of

CONVOLUTIONS = ("Conv", "ConvTranspose")
PASSED = (*FUSED, *MOVES, "MaxPool", "Clip")
"""ONNX Runtime may take a rounding to the front of these, and would round a weight of floats anew, by one scale."""


def put_floats(model: onnx.ModelProto) -> int:
    """Where the result of a convolution is read in float, in place. No value changes. Returns of how many weights
    nothing reads the integers any more; they are left to ``prune``."""
    graph = model.graph
    made = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    values = {tensor.name: tensor for tensor in graph.initializer}
    readers = readers_of(model)
    taken = set()
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
        taken.add(weight.input[0])
    read = {name for node in graph.node for name in node.input}
    return len(taken - {node.input[0] for name, node in made.items() if name in read})


def _floats(node: onnx.NodeProto, values: dict[str, onnx.TensorProto]) -> NDArray[np.float32]:
    """What a DequantizeLinear of constants gives."""
    integers, scale, zero = (numpy_helper.to_array(values[name]).astype(np.float32) for name in node.input)
    axis = next((entry.i for entry in node.attribute if entry.name == "axis"), 0)
    shape = [-1 if place == axis else 1 for place in range(integers.ndim)] if scale.ndim else []
    found: NDArray[np.float32] = (integers - zero.reshape(shape)) * scale.reshape(shape)
    return found
