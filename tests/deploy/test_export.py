"""The exported file in ONNX Runtime against the student in torch, on the same images; what is in the file."""

from __future__ import annotations

import copy
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qrecipe.data.batch import Batch
from qrecipe.run.deployed import exports_of
from qrecipe.student import Student, calibrate, compile
from tests import tiny_commands as tiny
from tests.deploy.exported import Files
from tests.specimens import W4A4, a_recipe
from tests.tiny_commands import Finished
from tests.tiny_detectors import stir
from tests.toys import ToyDetector

onnx = pytest.importorskip("onnx", reason="qrecipe[onnx] is not installed")
pytest.importorskip("onnxruntime", reason="qrecipe[onnx] is not installed")
pytest.importorskip("onnxscript", reason="qrecipe[onnx] is not installed")


@pytest.mark.parametrize("size", [(2, 64, 64), (1, 96, 64)])
@pytest.mark.parametrize("mode", ["integer", "packed"])
@torch.no_grad()
def test_it_computes_what_the_student_computes(files: Files, mode: str, size: tuple[int, int, int]) -> None:
    """Batch and size are open. Nothing is left but float rounding; an integer file's biases the runtime rounds
    when it rewrites the graph."""
    pixels = torch.rand(size[0], 3, *size[1:], generator=torch.Generator().manual_seed(0))
    expected = files.student.predict(pixels)
    logits, boxes = files.outputs(mode, pixels, optimised=mode == "packed")
    assert np.allclose(logits, expected.logits, atol=1e-5)
    assert np.allclose(boxes, expected.boxes, atol=1e-5)


def test_weights_are_the_students_integers(files: Files) -> None:
    """In 8 bits times a power of two, with a scale as much finer: runtimes round biases to multiples of the scales."""
    own = {name: one for name, one in files.student.quantizers.items() if one.operand.is_weight}
    name = next(name for name in own if name.endswith("fc1.weight"))
    expected = own[name].integers(files.student.get_parameter(name)).numpy()
    scale = own[name].encoding().scale.detach().numpy()
    for mode, kind, finer in (("integer", onnx.TensorProto.INT8, 16), ("packed", onnx.TensorProto.INT4, 1)):
        found = {one.name: one for one in files.model(mode).graph.initializer}
        weights = {key: one for key, one in found.items() if key.endswith("/integers")}
        assert {one.data_type for one in weights.values()} == {kind}
        assert len(weights) == len(own) > 20
        stored = onnx.numpy_helper.to_array(weights[f"{name}.transposed/integers"]).astype(np.int64).T
        assert np.array_equal(stored, expected * finer)
        assert np.array_equal(onnx.numpy_helper.to_array(found[f"{name}.transposed/scale"]), scale / finer)


@pytest.mark.parametrize(("partner", "finer"), [(15, 16), (128, 8), (255, 8), (None, 1)])
def test_finer_weights_cannot_saturate(partner: int | None, finer: int) -> None:
    """Two products of 8 and 8 bits do not fit into 16 bits, in which processors without VNNI add them."""
    from qrecipe.deploy.integers import finer_weight
    from qrecipe.deploy.operand import StoredOperand

    weight = np.array([[-8, 7], [3, 0]])
    one = np.ones((), np.float32)
    operand = StoredOperand("here", 4, None, one, np.zeros((), np.int64), -8, 7, 0, weight)
    assert finer_weight(operand, partner) == finer
    assert partner is None or 2 * 8 * finer * partner < 2**15


def test_it_counts_what_runs_in_integers(files: Files) -> None:
    """A product of two quantized operands runs in integers or is named. Sums read convolutions in float here."""
    text = files.said["integer"]
    kernels = files.told["kernels"]
    assert f"computes {len(kernels['integer'])} of {len(kernels['integer']) + len(kernels['float'])}" in text
    linear = {name for name, one in files.student.quantizers.items() if name.endswith("fc1.weight")}
    assert {name.removesuffix(".weight") for name in linear} <= set(kernels["integer"])
    assert kernels["operators"]["MatMulIntegerToFloat"] > 10
    assert kernels["operators"]["QLinearConv"] >= 1
    assert "scales of each head: encoder.0.self_attention.attention.query x key" in text
    assert kernels["float"]["backbone.stage1.1.conv"] == "its result is read in float by Add"


def test_what_is_in_the_graph(files: Files) -> None:
    """No mark of ours is left, no BatchNorm; a clip of integers for every grid of 4 bits."""
    for mode in ("integer", "packed"):
        model = files.model(mode)
        onnx.checker.check_model(model, full_check=True)
        counts = Counter(node.op_type for node in model.graph.node)
        assert {entry.domain for entry in model.opset_import} == {""}
        assert "BatchNormalization" not in counts
        biased = [node for node in model.graph.node if node.op_type == "Conv" and len(node.input) > 2]
        assert len(biased) == (1 if mode == "packed" else counts["Conv"])  # the stem is in float
        assert [one.name for one in model.graph.input] == ["pixel_values"]
        assert [one.name for one in model.graph.output] == ["logits", "boxes"]
        assert counts["QuantizeLinear"] > 15
        assert f"{mode}," in files.said[mode]
    assert files.paths["packed"].stat().st_size < files.paths["integer"].stat().st_size


def test_what_it_says_of_itself(files: Files) -> None:
    from qrecipe.deploy.metadata import KEY, Metadata

    (entry,) = [one for one in files.model("integer").metadata_props if one.key == KEY]
    found = Metadata.read(entry.value)
    assert found.label_map == files.student.label_map
    assert found.input == files.student.input
    assert found.scores == files.student.family.scores
    assert found.fixed == (None, None, None)


def test_what_cannot_be_exported(
    finished: Finished, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "student.onnx"
    assert "is not overwritten" in tiny.qrecipe("export", finished.folder, "--out", files.paths["packed"]).error
    assert "no such folder" in tiny.qrecipe("export", finished.folder, "--out", tmp_path / "gone" / "a.onnx").error
    assert "no student here to export" in tiny.qrecipe("export", finished.recipe, "--out", out).error
    bare = tmp_path / "bare"
    shutil.copytree(finished.folder, bare, ignore=shutil.ignore_patterns("student", "calibrated"))
    assert "has ended and has no trained model" in tiny.qrecipe("export", bare, "--out", out).error
    assert "neither a run nor a student" in tiny.qrecipe("export", tmp_path, "--out", out).error
    words = "export", finished.folder, "--out", out
    assert 'did you mean "onnxruntime"' in tiny.qrecipe(*words, "--runtime", "onnxruntim").error
    monkeypatch.setattr("qrecipe.runtimes.needs.find_spec", lambda name: None)
    said = tiny.qrecipe(*words).error
    assert said.startswith("the file could not be compared with its student: onnxruntime is not installed")
    assert said.endswith("(--no-check writes it without comparing)")
    assert not out.exists()


def test_a_folder_without_permission(finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != tmp_path)
    said = tiny.qrecipe("export", finished.folder, "--out", tmp_path / "a.onnx").error
    assert said == f"{tmp_path}: this folder cannot be written (choose another --out)"


def test_an_operator_that_onnx_lacks() -> None:
    from qrecipe.deploy.lower import Lowered
    from qrecipe.deploy.translate import translate
    from qrecipe.errors import ExportError

    class Odd(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.linalg.qr(pixels.mean(1))[0], pixels

    with pytest.raises(ExportError, match=r"does not translate this student: .*aten\.linalg_qr"):
        translate(Lowered(Odd()), (2, 32, 32), (True, True, True))


def test_a_size_that_the_model_fixes_itself() -> None:
    """The file says so, though it was to stay open; and what depends on values is refused."""
    from qrecipe.deploy.lower import Lowered
    from qrecipe.deploy.traced import traced
    from qrecipe.deploy.translate import fixed_sizes, translate
    from qrecipe.errors import ExportError

    class Fixed(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return pixels + torch.ones(32, 1), pixels

    class Asks(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels if pixels.sum() > 0 else -pixels

    assert fixed_sizes(translate(Lowered(Fixed()), (2, 32, 40), (True, True, True))) == (None, 32, None)
    with pytest.raises(ExportError, match="does not trace this student: Could not guard on data-dependent"):
        traced(Asks(), (2, 32, 32), (True, True, True))


def test_a_student_in_float64(files: Files, tmp_path: Path) -> None:
    from qrecipe.deploy import export_student
    from qrecipe.errors import ExportError

    student = copy.deepcopy(files.student).double()
    with pytest.raises(ExportError, match="computes in float64"):
        export_student(student, tmp_path / "a.onnx")


def test_an_offset_between_integers_is_refused(files: Files) -> None:
    from qrecipe.deploy.operand import stored
    from qrecipe.errors import ExportError
    from qrecipe.quantizers import QuantizedOperand, build
    from qrecipe.recipe import QuantizerSpec

    operand = QuantizedOperand("here", (None, 3), None, 1, is_weight=False, batched=True)
    quantizer = build(QuantizerSpec(4, "lsq+", "tensor", offset="real"), operand)
    quantizer.observe(torch.randn(8, 3))
    quantizer.finish_calibration()
    with pytest.raises(ExportError, match="here: its offset is real"):
        stored(quantizer, "here", None)


def test_names_of_what_stays_open(files: Files) -> None:
    def shape(value: Any) -> list[Any]:
        return [one.dim_param or one.dim_value for one in value.type.tensor_type.shape.dim]

    graph = files.model("integer").graph
    assert shape(graph.input[0]) == ["batch", 3, "height", "width"]
    assert [shape(value)[0] for value in graph.output] == ["batch", "batch"]


def small_student() -> Student:
    """Of few layers, calibrated, in float32."""
    torch.manual_seed(0)
    student = compile(stir(ToyDetector(layers=1)).eval(), a_recipe(W4A4), torch.rand(2, 3, 64, 64))
    label = {"class_labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]])}
    calibrate(student, [Batch(torch.rand(2, 3, 64, 64), None, [label, label], [0, 1], torch.tensor([[64, 64]] * 2))])
    return student.eval()


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.full)], ids=["few layers", "the run's"])
def test_a_program_of_torch_export(whole: bool, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Loaded again by torch alone, it gives the student's outputs, at another batch and size too."""
    path = tmp_path / "student.pt2"
    student = request.getfixturevalue("files").student if whole else small_student()
    made = student.export(path, to="pt2")
    assert (made.to_dict()["path"], made.parity) == (str(path), None)
    extra = {"qrecipe": ""}
    program = torch.export.load(path, extra_files=extra).module()
    assert json.loads(extra["qrecipe"])["input"]
    targets = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert not [name for name in targets if "qrecipe" in name]
    pixels = torch.rand(3, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():  # not around all of it: the run's fixture trains
        expected = student.predict(pixels)
        logits, boxes = program(pixels)
    assert torch.allclose(logits, expected.logits, atol=1e-4)
    assert torch.allclose(boxes, expected.boxes, atol=1e-4)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("signed", [True, False])
@torch.no_grad()
def test_containers_with_and_without_sign(bits: int, signed: bool) -> None:
    """A symmetric activation in int8 with zero point 0, as TensorRT has it, or shifted into uint8: one value."""
    from qrecipe.deploy.integers import DOMAIN, MARK, put_integers
    from qrecipe.deploy.operand import stored
    from qrecipe.quantizers import QuantizedOperand, build
    from qrecipe.recipe import QuantizerSpec
    from qrecipe.runtimes import find_runtime

    operand = QuantizedOperand("here", (None, 3), None, 1, is_weight=False, batched=True)
    quantizer = build(QuantizerSpec(bits, "lsq", "tensor"), operand)
    value = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)) * 3
    quantizer.observe(value)
    quantizer.finish_calibration()
    quantizer.set_mode("on")
    make = onnx.helper
    ends = [make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 3]) for name in "xy"]
    node = make.make_node(MARK, ["x"], ["y"], domain=DOMAIN, site="here")
    opsets = [make.make_opsetid("", 21), make.make_opsetid(DOMAIN, 1)]
    model = make.make_model(make.make_graph([node], "g", ends[:1], ends[1:]), opset_imports=opsets, ir_version=10)
    put_integers(model, {"here": stored(quantizer, "here", None, signed=signed)}, "integer")
    zero = next(one for one in model.graph.initializer if one.name == "here/zero_point")
    assert zero.data_type == (onnx.TensorProto.INT8 if signed else onnx.TensorProto.UINT8)
    assert int(onnx.numpy_helper.to_array(zero)) == (0 if signed else 2 ** (bits - 1))
    found = find_runtime().open(model.SerializeToString()).run({"x": value.numpy() * 2})["y"]
    assert np.allclose(found, quantizer(value * 2), atol=1e-6)


def test_a_run_keeps_what_its_page_shows(finished: Finished, files: Files) -> None:
    (kept,) = (one for one in exports_of(finished.folder) if one["path"] == files.told["path"])
    assert kept == files.told
