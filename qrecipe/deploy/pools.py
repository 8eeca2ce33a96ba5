"""Quantization in front of a max-pooling, besides behind it.

The greatest of rounded values is the greatest value rounded, so nothing changes; but a convolution in front then gives
integers and the pooling reads them, where a runtime does not see that by itself (OpenVINO).
"""

from __future__ import annotations

import onnx

from .products import readers_of


def quantize_before_pools(model: onnx.ModelProto) -> None:
    """Where one quantizer alone reads what a max-pooling gives, in place."""
    graph = model.graph
    readers = readers_of(model)
    outputs = {value.name for value in graph.output}
    nodes = []
    for node in graph.node:
        if node.op_type == "MaxPool" and len(node.output) == 1 and node.output[0] not in outputs:
            nodes += _earlier(node, _quantizer(node.output[0], readers))
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _quantizer(value: str, readers: dict[str, list[onnx.NodeProto]]) -> list[onnx.NodeProto]:
    """The nodes from a value to its integers and back, where there are no other readers; else none."""
    found: list[onnx.NodeProto] = []
    for kind in ("QuantizeLinear", "Clip", "DequantizeLinear"):
        behind = readers.get(value, [])
        if len(behind) == 1 and behind[0].op_type == kind:
            found.append(behind[0])
            value = behind[0].output[0]
        elif kind != "Clip":
            return []
    return found


def _earlier(pool: onnx.NodeProto, quantizer: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The same quantizer on what a pooling reads."""
    made = []
    for node in quantizer:
        name = f"{node.output[0]}/{pool.name}"
        own = onnx.NodeProto()
        own.CopyFrom(node)
        own.name = own.output[0] = name
        own.input[0] = pool.input[0]
        made.append(own)
        pool.input[0] = name
    return made
