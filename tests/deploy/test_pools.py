"""What a max-pooling reads is quantized as what it gives, and nothing changes."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="qrecipe[onnx] is not installed")
pytest.importorskip("onnxruntime", reason="qrecipe[onnx] is not installed")

from qrecipe.deploy.pools import quantize_before_pools  # noqa: E402  # it needs onnx
from qrecipe.runtimes import find_runtime  # noqa: E402

KINDS = ["QuantizeLinear", "Clip", "DequantizeLinear"]


def pooled(narrow: bool, more: str) -> onnx.ModelProto:
    """A pooling with padding and its quantizer. narrow: a grid of 4 bits. more: who reads what besides."""
    make, floats = onnx.helper, onnx.TensorProto.FLOAT
    chain = KINDS if narrow else [KINDS[0], KINDS[2]]
    more_inputs = {"QuantizeLinear": ["scale", "zero"], "Clip": ["low", "high"], "DequantizeLinear": ["scale", "zero"]}
    nodes = [make.make_node("MaxPool", ["x"], ["v0"], "pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])]
    for place, kind in enumerate(chain):
        nodes.append(make.make_node(kind, [f"v{place}", *more_inputs[kind]], [f"v{place + 1}"], f"site/{kind}"))
    nodes.append(make.make_node("Neg", [f"v{len(chain)}"], ["y"], "neg"))
    read = {"": None, "pool": "v0", "integers": "v1"}[more]
    outputs = [make.make_tensor_value_info("y", floats, None)]
    if read:
        nodes.append(make.make_node("Cast", [read], ["other"], "other", to=floats))
        outputs.append(make.make_tensor_value_info("other", floats, None))
    held = {"scale": np.float32(0.11), "zero": np.uint8(7), "low": np.uint8(0), "high": np.uint8(15)}
    constants = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()]
    x = make.make_tensor_value_info("x", floats, [2, 3, 9, 8])
    graph = make.make_graph(nodes, "g", [x], outputs, constants)
    return make.make_model(graph, opset_imports=[make.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize("narrow", [True, False])
@pytest.mark.parametrize("more", ["", "pool", "integers"])
def test_the_same_values(narrow: bool, more: str) -> None:
    """Unless something else reads the real values, or the integers on their way."""
    model = pooled(narrow, more)
    x = np.random.default_rng(0).normal(size=(2, 3, 9, 8)).astype(np.float32) * 2
    before = find_runtime().open(model.SerializeToString()).run({"x": x})
    names = [node.name for node in model.graph.node]
    quantize_before_pools(model)
    kinds = [node.op_type for node in model.graph.node]
    after = find_runtime().open(model.SerializeToString()).run({"x": x})
    assert {name: value.tobytes() for name, value in after.items()} == {
        name: value.tobytes() for name, value in before.items()
    }
    if more:
        assert [node.name for node in model.graph.node] == names
        return
    chain = KINDS if narrow else [KINDS[0], KINDS[2]]
    assert kinds == [*chain, "MaxPool", *chain, "Neg"]
    assert len({node.name for node in model.graph.node}) == len(model.graph.node)
