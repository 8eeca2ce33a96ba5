"""Puts the integers of quantized operands in the place of their marks in a translated ONNX graph.

An activation becomes QuantizeLinear, an integer Clip where its grid is narrower than 8 bits, and DequantizeLinear; a
weight a constant of integers and DequantizeLinear. A clip of floats in front would keep ONNX Runtime from its integer
kernels. Scales of each head of an attention's product are divided out in front of the rounding and multiplied back
behind it as plain arithmetic: ONNX Runtime fails at run time on products of operands with several scales.

Biases stay float, which is exact wherever a runtime adds them in float. ONNX Runtime rounds those of its integer
convolutions to whole multiples of both operands' scales when it opens the file, and 4-bit grids make that step coarse.
So the integers of a narrow weight are multiplied by a power of two and its scale is divided by it: no value changes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from .added import widen_biases
from .mode import ExportMode
from .operand import CONTAINER, RANK, StoredOperand

MARK = "Operand"
DOMAIN = "qrecipe"
PRODUCTS = ("Conv", "ConvTranspose", "MatMul", "Gemm")
BITS = 8
"""Of a container."""
NARROW = 4
"""Most bits of a weight that is packed."""
PAIR = 2**15 - 1
"""What the sum of two products may reach: x86 processors without VNNI add pairs in 16 bits, and saturate."""


def put_integers(model: onnx.ModelProto, operands: Mapping[str, StoredOperand], mode: ExportMode) -> None:
    """Replace every mark in the graph, in place. Constants that nothing reads any more are left to ``prune``."""
    widen_biases(model.graph)
    writer = _Writer(model.graph, operands, mode, _partners(model.graph, operands))
    nodes = [made for node in model.graph.node for made in writer.replaced(node)]
    if mode == "packed":
        nodes = [made for node in nodes for made in writer.without_bias(node)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for made in model.graph.node:  # where each came from in torch: most of a small file
        del made.metadata_props[:]
        made.doc_string = ""
    del model.graph.value_info[:]
    domains = [entry for entry in model.opset_import if entry.domain != DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(domains)


class _Writer:
    """partners: by a weight's key, the largest integer that it is multiplied with. packed: dimensions of the weights of
    4 bits, by the names of their values."""

    def __init__(
        self,
        graph: onnx.GraphProto,
        operands: Mapping[str, StoredOperand],
        mode: ExportMode,
        partners: Mapping[str, int],
    ) -> None:
        self.graph, self.operands, self.mode, self.partners = graph, operands, mode, partners
        self.values = {tensor.name: tensor for tensor in graph.initializer}
        self.packed: dict[str, int] = {}
        self._count: dict[str, int] = {}

    def replaced(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """What stands for a node: itself unless it is a mark."""
        if node.domain != DOMAIN or node.op_type != MARK:
            return [node]
        key = _site(node)
        operand, output = self.operands[key], node.output[0]
        count = self._count[key] = self._count.get(key, -1) + 1
        name = f"{key}/{count}" if count else key
        if operand.weight is not None:
            return [self._weight(operand, key, name, output)]
        if operand.axis is None:
            return self._activation(operand, name, node.input[0], output)
        return self._several(operand, name, node.input[0], output)

    def without_bias(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """A convolution with packed weights and its bias as a sum behind it, where no runtime rounds it."""
        if node.op_type != "Conv" or len(node.input) < 3 or node.input[2] not in self.values:
            return [node]
        weight = self.packed.get(node.input[1])
        if weight is None:
            return [node]
        bias = numpy_helper.to_array(self.values[node.input[2]]).reshape(-1, *([1] * (weight - 2)))
        added = self.constant(f"{node.output[0]}/bias", bias)
        product = f"{node.output[0]}/product"
        sum_ = helper.make_node("Add", [product, added], list(node.output), f"{node.name}/bias")
        del node.input[2:]
        node.output[0] = product
        return [node, sum_]

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        """The name of a constant; it is stored once."""
        if name not in self.values:
            self.values[name] = tensor = numpy_helper.from_array(np.asarray(value), name)
            self.graph.initializer.append(tensor)
        return name

    def _weight(self, operand: StoredOperand, key: str, name: str, output: str) -> onnx.NodeProto:
        assert operand.weight is not None
        packed = self.mode == "packed" and operand.bits <= NARROW
        integers, zero, step = f"{key}{INTEGERS}", f"{key}/zero_point", operand.scale
        if packed and bool((np.abs(operand.zero_point) <= 8).all()):
            self.packed[output] = operand.weight.ndim
            self._packed(integers, operand.weight)
            self._packed(zero, operand.zero_point)
        else:
            finer = finer_weight(operand, self.partners.get(key))
            self.constant(integers, (operand.weight * finer).astype(np.int8))
            self.constant(zero, (operand.zero_point * finer).astype(np.int8))
            step = (step / np.float32(finer)).astype(np.float32)
        scale = self.constant(f"{key}/scale", step)
        axis = {} if operand.axis is None else {"axis": operand.axis}
        return helper.make_node("DequantizeLinear", [integers, scale, zero], [output], f"{name}{END}", **axis)

    def _packed(self, name: str, value: NDArray[np.int64]) -> None:
        if name not in self.values:
            self.values[name] = tensor = pack(name, value)
            self.graph.initializer.append(tensor)

    def _activation(self, operand: StoredOperand, name: str, value: str, output: str) -> list[onnx.NodeProto]:
        scale = self.constant(f"{operand.site}/scale", operand.scale)
        zero = self.constant(f"{operand.site}/zero_point", operand.zero_point.astype(_container(operand)))
        nodes = [helper.make_node("QuantizeLinear", [value, scale, zero], [f"{name}/integers"], f"{name}/quantize")]
        nodes += self._clip(operand, name)
        stored = nodes[-1].output[0]
        return [*nodes, helper.make_node("DequantizeLinear", [stored, scale, zero], [output], f"{name}{END}")]

    def _clip(self, operand: StoredOperand, name: str) -> list[onnx.NodeProto]:
        kind = _container(operand)
        bounds = np.iinfo(kind)
        if operand.lo <= bounds.min and operand.hi >= bounds.max:
            return []
        lo = self.constant(f"{kind.__name__}_{operand.lo}", np.array(operand.lo, kind))
        hi = self.constant(f"{kind.__name__}_{operand.hi}", np.array(operand.hi, kind))
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
        return [*nodes, helper.make_node("Mul", [f"{name}/centred", scale], [output], f"{name}{END}")]


def pack(name: str, value: NDArray[np.int64]) -> onnx.TensorProto:
    """Integers of 4 bits as raw bytes, two in each: as numbers of the file's message a pair takes up to two bytes."""
    low, high = np.pad(value.reshape(-1), (0, value.size % 2)).astype(np.uint8).reshape(-1, 2).T & 0xF
    return helper.make_tensor(name, onnx.TensorProto.INT4, value.shape, (low | high << 4).tobytes(), raw=True)


def finer_weight(operand: StoredOperand, partner: int | None) -> int:
    """The largest power of two by which a weight's integers can be multiplied: they stay in int8, and no pair of
    products with integers up to ``partner`` saturates in 16 bits. 1 where it is multiplied with floats (None)."""
    if partner is None or operand.weight is None or operand.bits >= BITS:
        return 1
    lowest = int(min(operand.weight.min(), operand.zero_point.min()))
    highest = int(max(operand.weight.max(), operand.zero_point.max()))
    own = max(highest, -lowest, 1)
    most = min(PAIR / (2 * own * max(partner, 1)), (CONTAINER - 1) / max(highest, 1), CONTAINER / max(-lowest, 1))
    return int(2 ** np.floor(np.log2(max(most, 1))))


END = "/dequantize"
"""Behind the name of a site in the name of the node that shows its operand."""
INTEGERS = "/integers"
"""Behind the name of a weight's site in the name of the constant that holds it."""


def _container(activation: StoredOperand) -> type[np.int8] | type[np.uint8]:
    return np.int8 if activation.lo < 0 else np.uint8


def _partners(graph: onnx.GraphProto, operands: Mapping[str, StoredOperand]) -> dict[str, int]:
    """By the key of a weight, the largest integer of the activations that it is multiplied with."""
    marks = {node.output[0]: _site(node) for node in graph.node if node.domain == DOMAIN}
    found: dict[str, int] = {}
    for node in graph.node:
        keys = [marks[name] for name in node.input[:2] if name in marks]
        if node.op_type in PRODUCTS and len(keys) == 2 and operands[keys[1]].weight is not None:
            found[keys[1]] = max(found.get(keys[1], 0), operands[keys[0]].hi)
    return found


def _site(mark: onnx.NodeProto) -> str:
    return str(next(entry.s.decode() for entry in mark.attribute if entry.name == "site"))
