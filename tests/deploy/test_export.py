"""The exported file in ONNX Runtime against the student in torch, on the same images; what is in the file."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import qrecipe
from qrecipe.student import Student
from tests import tiny_commands as tiny
from tests.tiny_commands import Finished

onnx = pytest.importorskip("onnx", reason="qrecipe[onnx] is not installed")
ort = pytest.importorskip("onnxruntime", reason="qrecipe[onnx] is not installed")
pytest.importorskip("onnxscript", reason="qrecipe[onnx] is not installed")


@dataclass
class Files:
    student: Student
    paths: dict[str, Path]
    said: dict[str, str]

    def model(self, mode: str) -> Any:
        return onnx.load(self.paths[mode])

    def outputs(self, mode: str, pixels: torch.Tensor, *, optimised: bool) -> tuple[Any, Any]:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        levels = ort.GraphOptimizationLevel
        options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
        session = ort.InferenceSession(str(self.paths[mode]), options, providers=["CPUExecutionProvider"])
        logits, boxes = session.run(["logits", "boxes"], {"pixel_values": pixels.numpy()})
        return logits, boxes


@pytest.fixture(scope="session")
def files(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The tiny run's student in both modes."""
    folder = tmp_path_factory.mktemp("exported")
    paths = {mode: folder / f"{mode}.onnx" for mode in ("integer", "packed")}
    with translated_once():
        said = {
            mode: tiny.qrecipe("export", finished.folder, "--to", "onnx", "--out", path, "--mode", mode).fine
            for mode, path in paths.items()
        }
    return Files(qrecipe.load(finished.folder / "student"), paths, said)


@contextmanager
def translated_once() -> Iterator[None]:
    """torch's exporter takes most of an export's time: what it gives for the one mode serves the other."""
    from qrecipe.deploy import translate

    own, kept = translate.translate, []

    def once(*arguments: Any) -> Any:
        if not kept:
            kept.append(own(*arguments))
        return copy.deepcopy(kept[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(translate, "translate", once)
        yield


@pytest.mark.parametrize("size", [(2, 64, 64), (1, 96, 64)])
@torch.no_grad()
def test_it_computes_what_the_student_computes(files: Files, size: tuple[int, int, int]) -> None:
    """Batch and size are open. Without the runtime's own rewrites nothing is left but float rounding."""
    pixels = torch.rand(size[0], 3, *size[1:], generator=torch.Generator().manual_seed(0))
    expected = files.student.predict(pixels)
    logits, boxes = files.outputs("packed", pixels, optimised=False)
    assert np.allclose(logits, expected.logits, atol=1e-5)
    assert np.allclose(boxes, expected.boxes, atol=1e-5)


def test_weights_are_the_students_integers(files: Files) -> None:
    for mode, kinds in (("integer", {onnx.TensorProto.INT8}), ("packed", {onnx.TensorProto.INT4})):
        model = files.model(mode)
        found = {one.name: one for one in model.graph.initializer if one.name.endswith("/integers")}
        weights = {name: one for name, one in found.items() if one.data_type != onnx.TensorProto.INT32}
        assert {one.data_type for one in weights.values()} == kinds
        own = {name: one for name, one in files.student.quantizers.items() if one.operand.is_weight}
        assert len(weights) == len(own) > 20
        name = next(name for name in own if name.endswith("fc1.weight"))
        scale = own[name].encoding().scale
        weight = files.student.get_parameter(name)
        stored = onnx.numpy_helper.to_array(weights[f"{name}.transposed/integers"]).astype(np.int64).T
        assert np.array_equal(stored, own[name].integers(weight))
        scales = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
        assert np.array_equal(scales[f"{name}.transposed/scale"], scale.detach())


def test_what_is_in_the_graph(files: Files) -> None:
    """No mark of ours is left, no BatchNorm; a clip of integers for every grid of 4 bits."""
    for mode in ("integer", "packed"):
        model = files.model(mode)
        onnx.checker.check_model(model, full_check=True)
        counts = Counter(node.op_type for node in model.graph.node)
        assert {entry.domain for entry in model.opset_import} == {""}
        assert "BatchNormalization" not in counts
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


def test_what_cannot_be_exported(finished: Finished, files: Files, tmp_path: Path) -> None:
    out = tmp_path / "student.onnx"
    assert "is not overwritten" in tiny.qrecipe("export", finished.folder, "--out", files.paths["packed"]).error
    assert "no such folder" in tiny.qrecipe("export", finished.folder, "--out", tmp_path / "gone" / "a.onnx").error
    assert "no student here to export" in tiny.qrecipe("export", finished.recipe, "--out", out).error
    assert "neither a run nor a student" in tiny.qrecipe("export", tmp_path, "--out", out).error
    assert not out.exists()


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
