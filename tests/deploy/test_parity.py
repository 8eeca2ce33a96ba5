"""A file in its runtime beside its student: what is told, and how a damaged file is found."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import qrecipe
from qrecipe.deploy import Parity, open_file
from qrecipe.detection.prediction import Prediction
from qrecipe.errors import ExportError
from qrecipe.experiment.target import find_target
from qrecipe.experiment.workspace import Workspace
from qrecipe.student.store import load
from tests import tiny_commands as tiny
from tests.deploy.exported import Files
from tests.tiny_commands import Finished

onnx = pytest.importorskip("onnx", reason="qrecipe[onnx] is not installed")
pytest.importorskip("onnxruntime", reason="qrecipe[onnx] is not installed")
pytest.importorskip("onnxscript", reason="qrecipe[onnx] is not installed")

DAMAGED = "encoder.0.ffn.fc1"


@pytest.fixture(scope="module")
def damaged(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The integer file with the weight of one layer turned round."""
    model = files.model("integer")
    weight = next(one for one in model.graph.initializer if one.name.startswith(f"{DAMAGED}.weight.tr"))
    assert weight.name.endswith("/integers")
    values = np.ascontiguousarray(onnx.numpy_helper.to_array(weight)[::-1])
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    path: Path = tmp_path_factory.mktemp("damaged") / "damaged.onnx"
    onnx.save(model, path)
    return path


def exported(files: Files, path: Path) -> Any:
    from qrecipe.deploy import Exported
    from qrecipe.deploy.lower import lower

    return Exported(path, "integer", 1, 1, 1, lower(files.student))


def compared(finished: Finished, files: Files, path: Path, **more: Any) -> Any:
    from qrecipe.experiment.compare_file import compare_file

    workspace = Workspace(find_target(finished.folder).recipe, ("val",))
    own = {"tolerance": 0.2, "runtime": "onnxruntime", **more}
    return compare_file(exported(files, path), files.student, workspace, **own)


def test_a_file_is_compared_with_its_student(files: Files) -> None:
    told = files.told["parity"]
    assert (told["images"], told["split"], told["runtime"]) == (8, "val", "onnxruntime")
    assert told["passed"]
    assert told["points"] == pytest.approx(100 * (told["file"] - told["student"]))
    assert told["differences"]["queries"] == 8 * 5
    assert not told["departure"]["plain"]
    assert "0.2 allowed)" in files.said["integer"]
    assert "queries paired by nearness: " in files.said["integer"]


def test_the_first_layer_that_departs_is_named(finished: Finished, files: Files, damaged: Path) -> None:
    """Behind the damaged layer; and as an error of the export, for it is there without the runtime's rewrites too."""
    for samples in (2, 3, 5):  # a top-k may well choose otherwise in each of a few images
        fine = compared(finished, files, files.paths["integer"], samples=samples)
        assert (fine.images, fine.departure.plain) == (samples, False)
    found = compared(finished, files, damaged, samples=3)
    assert not found.passed
    assert found.departure.plain
    assert found.departure.site == "encoder.0.ffn.fc2.input"
    assert found.departure.line().endswith("also without the runtime's rewrites: an error of the export")


def test_export_fails_where_the_file_departs(
    finished: Finished, files: Files, damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(student: Any, output: Path, *_: Any, **__: Any) -> Any:
        shutil.copy(damaged, output)
        return exported(files, Path(output))

    monkeypatch.setattr("qrecipe.commands.export.export_student", export)
    monkeypatch.setattr("qrecipe.commands.export.load", lambda folder, cache: files.student)
    out = tmp_path / "out.onnx"
    answer = tiny.qrecipe("export", finished.folder, "--out", out, "--json", "--samples", "2")
    assert answer.code == 3
    assert answer.err.splitlines()[-1].startswith(f"error: {out}: the file departs from its student (encoder.0.ffn.fc2")
    assert json.loads(answer.out)["parity"]["passed"] is False
    answer = tiny.qrecipe("export", finished.folder, "--out", tmp_path / "b.onnx", "--no-check")
    assert (answer.code, answer.err) == (0, "")


def test_images_without_boxes_show_nothing(files: Files) -> None:
    from qrecipe.deploy.departure import Departure

    fine = Departure("a", 0.01, None, 0.0, False, False, (), True)
    differences = dict.fromkeys(files.told["parity"]["differences"], 0.0)
    found = Parity("onnxruntime", "1", "val", 2, None, None, differences, fine, 0.2)
    assert (found.points, found.passed) == (None, False)
    assert "(no boxes to find, 0.2 allowed)" in found.lines()[0]
    assert "the images that were compared hold no boxes" in found.advice
    assert found.to_dict()["points"] is None


def test_what_cannot_be_compared_is_said_before_anything_is_written(finished: Finished, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    asked = ("export", finished.folder, "--out", out)
    error = tiny.qrecipe(*asked, "--height", 480).error
    assert error.startswith("its height is fixed to 480, and the images are prepared to 64 (fix the other side too")
    assert "there is no runtime 'other'" in tiny.qrecipe(*asked, "--no-check", "--runtime", "other").error
    with pytest.raises(ExportError, match="samples is 0"):
        qrecipe.export(finished.folder, out, samples=0)
    assert not out.exists()


def test_images_are_prepared_to_the_size_that_a_file_is_fixed_to(finished: Finished, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    fixed = ("--height", 48, "--width", 96, "--batch", 1)
    said = tiny.qrecipe("export", finished.folder, "--out", out, *fixed, "--json")
    assert "export: images for this file are resized to 48x96 (height x width), whatever their aspect" in said.err
    parity = json.loads(said.out)["parity"]
    assert (parity["images"], parity["passed"]) == (8, True)
    own = load(find_target(finished.folder, None, (), data=True).student)
    opened = open_file(out)
    assert opened.metadata.input == dataclasses.replace(own.input, size=(48, 96))
    assert opened.metadata.fixed == (1, 48, 96)
    assert json.loads(tiny.qrecipe("evaluate", out, "--split", "val", "--json").out)["AP"] == parity["file"]


def test_queries_are_paired_by_nearness() -> None:
    """Two queries that changed places differ in nothing; another one is counted."""
    from qrecipe.deploy.differences import Differences

    generator = torch.Generator().manual_seed(0)
    logits, boxes = torch.randn(1, 4, 3, generator=generator), torch.rand(1, 4, 4, generator=generator)
    order = torch.tensor([1, 0, 2, 3])
    shown = Prediction(logits[:, order].clone(), boxes[:, order].clone())
    found = Differences()
    found.add(Prediction(logits, boxes), shown)
    told = found.to_dict()
    assert (told["moved"], told["other"], told["logits_95"], told["boxes_95"]) == (0.5, 0, 0, 0)
    shown.boxes[0, 3] += 0.4
    found.add(Prediction(logits, boxes), shown)
    assert found.to_dict()["other"] == 1 / 8
    assert found.queries == 8


def test_sums_that_leave_16_bits() -> None:
    from qrecipe.deploy.saturation import largest_pair

    value = np.array([[[200, 3, 255]]], dtype=np.uint8)
    weight = np.array([[100, -100], [50, 50], [-127, 1]])
    assert largest_pair(value, weight, convolution=False) == 255 * 127
    kernel = np.moveaxis(weight[..., None, None], 1, 0)
    assert largest_pair(value.reshape(1, 3, 1, 1), kernel, convolution=True) == 255 * 127


def test_values_with_heads_beside_the_images_are_compared_by_image() -> None:
    from qrecipe.deploy.departure import images_apart

    generator = np.random.default_rng(0)
    own = generator.integers(0, 255, (2 * 8, 5, 4))
    other = own.copy()
    other[8:] = generator.integers(0, 255, (8, 5, 4))
    share, others = images_apart(own, other, 2)
    assert others.tolist() == [False, True]
    assert share == pytest.approx((own != other).mean())
    shared = generator.integers(0, 255, (3, 4))
    assert images_apart(shared, shared, 2)[1].tolist() == [False, False]


def test_what_rounding_alone_may_do_is_no_departure() -> None:
    """Near uniform attention beside a tie: a level that tips tips nearly everywhere."""
    from qrecipe.deploy.departure import images_apart

    own = np.full((2, 100), 3)
    found = own + np.array([[1], [3]])
    assert images_apart(own, found, 2)[1].tolist() == [True, True]
    assert images_apart(own, found, 2, own + 1)[1].tolist() == [False, True]
    assert images_apart(own, found, 2, own)[1].tolist() == [True, True]


def test_most_queries_must_be_others_for_an_error() -> None:
    from qrecipe.deploy.departure import mostly_others

    logits, boxes = np.zeros((2, 4, 3), dtype=np.float32), np.full((2, 4, 4), 0.2, dtype=np.float32)
    expected = Prediction(torch.from_numpy(logits), torch.from_numpy(boxes.copy()))
    boxes[:, :2] = 0.7
    assert not mostly_others(expected, Prediction(torch.from_numpy(logits), torch.from_numpy(boxes)))
    boxes[0, 2] = 0.7
    assert mostly_others(expected, Prediction(torch.from_numpy(logits), torch.from_numpy(boxes)))


def test_what_a_departure_says() -> None:
    from qrecipe.deploy.departure import Departure

    found = Departure("a", 0.01, None, 0.0, False, False, (), True)
    assert found.line() == "the first activation to differ is a, in 0.01 of its values: rounding"
    found = dataclasses.replace(found, site="b", images=0.5)
    assert "grows to b" in found.line()
    several = dataclasses.replace(found, saturating=("c", "d", "e", "f", "g"), vnni=False)
    assert "sums leave 16 bits on this processor in c, d, e and 2 more; weights of 7 bits" in several.line()
    assert "a top-k then chooses otherwise in 50% of the images" in dataclasses.replace(found, behind=True).line()
    assert "every integer" in dataclasses.replace(found, first=None).line()
