"""Puts the integers of quantized operands in the place of their marks in a translated ONNX graph.

An activation becomes QuantizeLinear, an integer Clip where its grid is narrower than 8 bits, and DequantizeLinear; a
weight a constant of integers and DequantizeLinear. A clip of floats in front would keep ONNX Runtime from its integer
kernels. Scales of each head of an attention's product are divided out in front of the rounding and multiplied back
behind it as plain arithmetic: ONNX Runtime fails at run time on products of operands with several scales.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from .mode import ExportMode
from .operand import CONTAINER, StoredOperand

MARK = "Operand"
DOMAIN = "qrecipe"
NARROW = 4
"""Most bits of a weight that is packed."""
LARGEST = 2**31 - 1


def put_integers(model: onnx.ModelProto, operands: Mapping[str, StoredOperand], mode: ExportMode) -> None:
    """Replace every mark in the graph, in place."""
    writer = _Writer(model.graph, operands, mode)
    nodes = [made for node in model.graph.node for made in writer.replaced(node)]
    if mode == "integer":
        nodes = [*_integer_biases(writer, nodes), *nodes]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    for made in model.graph.node:  # where each came from in torch: most of a small file
        del made.metadata_props[:]
        made.doc_string = ""
    del model.graph.value_info[:]
    domains = [entry for entry in model.opset_import if entry.domain != DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(domains)


class _Writer:
    """scales: (scale, axis) of what a DequantizeLinear gives, by its output's name."""

    def __init__(self, graph: onnx.GraphProto, operands: Mapping[str, StoredOperand], mode: ExportMode) -> None:
        self.graph, self.operands, self.mode = graph, operands, mode
        self.values = {tensor.name: tensor for tensor in graph.initializer}
        self.scales: dict[str, tuple[NDArray[np.float32], int | None]] = {}
        self._count: dict[str, int] = {}

    def replaced(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """What stands for a node: itself unless it is a mark."""
        if node.domain != DOMAIN or node.op_type != MARK:
            return [node]
        key = next(entry.s.decode() for entry in node.attribute if entry.name == "site")
        operand, output = self.operands[key], node.output[0]
        count = self._count[key] = self._count.get(key, -1) + 1
        name = f"{key}/{count}" if count else key
        if operand.weight is not None:
            return [self._weight(operand, key, name, output)]
        if operand.axis is None:
            return self._activation(operand, name, node.input[0], output)
        return self._several(operand, name, node.input[0], output)

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        """The name of a constant; it is stored once."""
        if name not in self.values:
            self.values[name] = tensor = numpy_helper.from_array(np.asarray(value), name)
            self.graph.initializer.append(tensor)
        return name

    def _weight(self, operand: StoredOperand, key: str, name: str, output: str) -> onnx.NodeProto:
        assert operand.weight is not None
        packed = self.mode == "packed" and operand.bits <= NARROW
        integers, zero = f"{key}/integers", f"{key}/zero_point"
        if packed and bool((np.abs(operand.zero_point) <= 8).all()):
            self._packed(integers, operand.weight)
            self._packed(zero, operand.zero_point)
        else:
            self.constant(integers, operand.weight.astype(np.int8))
            self.constant(zero, operand.zero_point.astype(np.int8))
        scale = self.constant(f"{key}/scale", operand.scale)
        self.scales[output] = operand.scale, operand.axis
        axis = {} if operand.axis is None else {"axis": operand.axis}
        return helper.make_node("DequantizeLinear", [integers, scale, zero], [output], f"{name}/dequantize", **axis)

    def _packed(self, name: str, value: NDArray[np.int64]) -> None:
        if name not in self.values:
            flat = [int(number) for number in value.reshape(-1)]
            tensor = helper.make_tensor(name, onnx.TensorProto.INT4, value.shape, flat)
            self.values[name] = tensor
            self.graph.initializer.append(tensor)

    def _activation(self, operand: StoredOperand, name: str, value: str, output: str) -> list[onnx.NodeProto]:
        scale = self.constant(f"{operand.site}/scale", operand.scale)
        zero = self.constant(f"{operand.site}/zero_point", operand.zero_point.astype(np.uint8))
        self.scales[output] = operand.scale, None
        nodes = [helper.make_node("QuantizeLinear", [value, scale, zero], [f"{name}/integers"], f"{name}/quantize")]
        nodes += self._clip(operand, name)
        stored = nodes[-1].output[0]
        return [*nodes, helper.make_node("DequantizeLinear", [stored, scale, zero], [output], f"{name}/dequantize")]

    def _clip(self, operand: StoredOperand, name: str) -> list[onnx.NodeProto]:
        if operand.lo <= 0 and operand.hi >= 2 * CONTAINER - 1:
            return []
        lo = self.constant(f"integer_{operand.lo}", np.array(operand.lo, np.uint8))
        hi = self.constant(f"integer_{operand.hi}", np.array(operand.hi, np.uint8))
        return [helper.make_node("Clip", [f"{name}/integers", lo, hi], [f"{name}/clipped"], f"{name}/clip")]

    def _several(self, operand: StoredOperand, name: str, value: str, output: str) -> list[onnx.NodeProto]:
        """Scales of their own along one dimension. Marks stand on activations (batch, heads, tokens, channels)."""
        assert operand.axis is not None
        shape = (-1, *([1] * (RANK - 1 - operand.axis)))
        scale = self.constant(f"{operand.site}/scale", operand.scale.reshape(shape))
        zero = self.constant(f"{operand.site}/zero_point", operand.zero_point.astype(np.float32).reshape(shape))
        lo = self.constant(f"float_{operand.lo}", np.array(operand.lo, np.float32))
        hi = self.constant(f"float_{operand.hi}", np.array(operand.hi, np.float32))
        steps = (
            ("Div", [value, scale], "divided"),
            ("Round", [f"{name}/divided"], "rounded"),
            ("Add", [f"{name}/rounded", zero], "shifted"),
            ("Clip", [f"{name}/shifted", lo, hi], "integers"),
            ("Sub", [f"{name}/integers", zero], "centred"),
        )
        nodes = [helper.make_node(kind, inputs, [f"{name}/{end}"], f"{name}/{end}") for kind, inputs, end in steps]
        return [*nodes, helper.make_node("Mul", [f"{name}/centred", scale], [output], f"{name}/dequantize")]


RANK = 4
"""Dimensions of what has a scale for each head."""


def _integer_biases(writer: _Writer, nodes: Iterable[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Biases of convolutions in int32, at the scale of their sums, where both operands are integers.

    Edits the convolutions; returns what dequantizes their biases.
    """
    made = []
    for node in nodes:
        if node.op_type != "Conv" or len(node.input) < 3 or node.input[2] not in writer.values:
            continue
        if node.input[0] not in writer.scales or node.input[1] not in writer.scales:
            continue
        bias = numpy_helper.to_array(writer.values[node.input[2]]).astype(np.float64)
        scale = (writer.scales[node.input[0]][0] * writer.scales[node.input[1]][0]).astype(np.float32)
        integers = np.rint(bias / scale)
        if np.abs(integers).max(initial=0) > LARGEST:
            continue
        key = f"{node.output[0]}/bias"
        stored = writer.constant(f"{key}/integers", integers.astype(np.int32))
        own = writer.constant(f"{key}/scale", np.broadcast_to(scale, bias.shape).copy())
        made.append(helper.make_node("DequantizeLinear", [stored, own], [key], f"{key}/dequantize", axis=0))
        node.input[2] = key
    return made
