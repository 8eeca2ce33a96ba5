"""A file for ONNX Runtime holds weights in float where that computes with them in float, and says the same."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from qrecipe.deploy import export_student
from tests.deploy.exported import Files, translated_once

onnx = pytest.importorskip("onnx", reason="qrecipe[onnx] is not installed")
pytest.importorskip("onnxruntime", reason="qrecipe[onnx] is not installed")

from qrecipe.deploy.float_weights import put_floats  # noqa: E402  # it needs onnx
from qrecipe.deploy.prune import prune  # noqa: E402


def test_the_same_values_and_the_same_count(files: Files, tmp_path: Path) -> None:
    """Only convolutions whose result something reads in float; the integers of others stay, and nothing else goes."""
    student = copy.deepcopy(files.student)
    student.recipe = replace(student.recipe, target="onnxruntime")
    with translated_once():
        found = export_student(student, tmp_path / "own.onnx")
        others = export_student(files.student, tmp_path / "any.onnx")
        assert export_student(student, tmp_path / "packed.onnx", "packed").floats == 0
        assert export_student(student, tmp_path / "other.onnx", runtime="openvino").floats == 0
    assert f"in integers, {found.floats} weights in float, whose convolutions onnxruntime computes" in found.held
    assert others.held.endswith(" activations in integers")
    assert (others.floats, found.weights + found.floats) == (0, others.weights)
    assert found.floats > 0
    assert found.size > others.size
    assert found.kernels == others.kernels

    models = {name: onnx.load(tmp_path / f"{name}.onnx") for name in ("own", "any")}
    held = {
        name: {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
        for name, model in models.items()
    }
    floats = [name.removesuffix("/dequantize") for name in held["own"] if name.endswith("/dequantize")]
    assert len(floats) == found.floats
    shown = {node.name: node for node in models["any"].graph.node if node.op_type == "DequantizeLinear"}
    for site in floats:
        node = shown[f"{site}/dequantize"]
        integers, scale, zero = (held["any"][name] for name in node.input)
        shape = (-1, *[1] * (integers.ndim - 1))
        expected = (integers.astype(np.float32) - zero.reshape(shape)) * scale.reshape(shape)
        assert np.array_equal(held["own"][node.name], expected)
        assert f"{site}/integers" not in held["own"]
    nodes = list(models["any"].graph.node)
    names = {node.output[0]: node.name for node in nodes}
    for node in nodes:
        if node.op_type == "Conv" and node.input[1] in names:
            behind = [other for other in nodes if node.output[0] in other.input]
            while {other.op_type for other in behind} == {"Relu"}:
                behind = [other for other in nodes if behind[0].output[0] in other.input]
            quantized = {other.op_type for other in behind} == {"QuantizeLinear"}
            assert (names[node.input[1]].removesuffix("/dequantize") in floats) is not quantized

    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    own = Files(student, {"integer": tmp_path / "own.onnx"}, {}, {})
    for mine, theirs in zip(
        own.outputs("integer", pixels, optimised=False), files.outputs("integer", pixels, optimised=False), strict=True
    ):
        assert np.array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("between", "kept"),
    [
        (["Relu", "QuantizeLinear"], True),
        (["Relu", "MaxPool", "QuantizeLinear"], True),
        (["Transpose", "QuantizeLinear"], True),
        (["QuantizeLinear"], True),
        (["Sigmoid", "QuantizeLinear"], False),
        (["Relu"], False),
    ],
)
def test_what_the_runtime_may_round_anew_stays(between: list[str], kept: bool) -> None:
    """Of a weight in float it would take one scale, whatever the student's are."""
    made = onnx.helper
    pools = {"kernel_shape": [1, 1]}
    scales = np.array([0.5, 0.25], np.float32)
    held = {"weight/integers": np.ones((2, 3, 1, 1), np.int8), "scale": scales, "zero": np.zeros(2, np.int8)}
    held |= {"step": np.float32(0.1), "nought": np.uint8(0)}
    nodes = [
        made.make_node("DequantizeLinear", ["weight/integers", "scale", "zero"], ["w"], "weight/dequantize", axis=0),
        made.make_node("Conv", ["x", "w"], ["y0"], "conv"),
    ]
    for place, kind in enumerate(between):
        more = ["step", "nought"] if kind == "QuantizeLinear" else []
        named = pools if kind == "MaxPool" else {}
        nodes.append(made.make_node(kind, [f"y{place}", *more], [f"y{place + 1}"], f"node{place}", **named))
    kind = onnx.TensorProto.UINT8 if between[-1] == "QuantizeLinear" else onnx.TensorProto.FLOAT
    x = made.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 4, 4])
    y = made.make_tensor_value_info(f"y{len(between)}", kind, None)
    constants = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()]
    model = made.make_model(made.make_graph(nodes, "one", [x], [y], constants))
    assert put_floats(model) == (not kept)
    prune(model)
    assert ("weight/integers" in {tensor.name for tensor in model.graph.initializer}) == kept
    found = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    if not kept:
        assert found["weight/dequantize"][:, 0, 0, 0].tolist() == scales.tolist()
