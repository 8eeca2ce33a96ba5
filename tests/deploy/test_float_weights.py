"""A file for ONNX Runtime holds weights in float where that computes with them in float, and says the same."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from qrecipe.deploy import export_student
from qrecipe.deploy import student as room
from tests import tiny_commands as tiny
from tests.deploy.exported import Files, translated_once
from tests.tiny_commands import Finished

onnx = pytest.importorskip("onnx", reason="qrecipe[onnx] is not installed")
pytest.importorskip("onnxruntime", reason="qrecipe[onnx] is not installed")


def test_the_same_values_and_the_same_count(
    files: Files, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only convolutions whose result something reads in float; the integers of others stay, and nothing else goes."""
    student = copy.deepcopy(files.student)
    student.recipe = replace(student.recipe, target="onnxruntime")
    with translated_once():
        found = export_student(student, tmp_path / "own.onnx")
        others = export_student(files.student, tmp_path / "any.onnx")
        assert export_student(student, tmp_path / "packed.onnx", "packed").floats == 0
        monkeypatch.setattr(room, "FLOATS", None)  # the tiny recipe names no runtime
        said = tiny.qrecipe("export", finished.folder, "--out", tmp_path / "said.onnx").out
    assert f", {found.floats} weights in float, whose convolutions the runtime computes in float" in said
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
