"""Detecting and scoring with an exported file and nothing beside it."""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from qrecipe.deploy import read_metadata
from qrecipe.deploy.metadata import KEY
from qrecipe.errors import ExportError
from tests import tiny_commands as tiny
from tests.deploy.exported import Files

onnx = pytest.importorskip("onnx", reason="qrecipe[onnx] is not installed")
pytest.importorskip("onnxruntime", reason="qrecipe[onnx] is not installed")
pytest.importorskip("onnxscript", reason="qrecipe[onnx] is not installed")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


def test_the_file_alone_detects(files: Files, images: Path, tmp_path: Path) -> None:
    documents = []
    for batch in (1, 2):
        output = tmp_path / f"by {batch}"
        words = "predict", files.paths["integer"], images, "--output", output, "--batch", batch, "--threshold", "0.1"
        assert tiny.qrecipe(*words).fine.count(" with a score of 0.1 or more") == 3
        documents.append(json.loads((output / "detections.json").read_text()))
        assert len(list(output.glob("*.png"))) == 3
    first, second = documents
    labels = files.student.label_map
    assert labels is not None
    assert {one["id"]: one["name"] for one in first["categories"]} == dict(labels.names)
    assert first["images"] == second["images"]
    scores = [[one["score"] for one in document["annotations"]] for document in documents]
    assert np.allclose(*scores, atol=1e-4)


def test_its_ap_is_the_parity_gates(files: Files) -> None:
    said = json.loads(tiny.qrecipe("evaluate", files.paths["integer"], "--json").out)
    assert said["AP"] == pytest.approx(files.told["parity"]["file"])


def test_a_fixed_batch_and_padding(files: Files) -> None:
    """A batch that is too small is filled up and cut; padded images run alone."""
    from dataclasses import replace

    from qrecipe.deploy import open_file

    opened = open_file(files.paths["integer"])
    pixels = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = opened.predict(pixels)
    fixed = replace(opened, metadata=replace(opened.metadata, fixed=(2, None, None)))
    found = fixed.predict(pixels)
    assert torch.allclose(found.boxes, expected.boxes, atol=1e-4)
    mask = torch.ones(3, 64, 64, dtype=torch.int64)
    mask[1, :, 32:] = 0
    found = opened.predict(pixels, mask)
    assert torch.allclose(found.boxes[1:2], opened.predict(pixels[1:2, :, :, :32]).boxes, atol=1e-4)


def test_what_is_refused(files: Files, images: Path, tmp_path: Path) -> None:
    other = onnx.load(files.paths["packed"])
    del other.metadata_props[:]
    onnx.save(other, tmp_path / "other.onnx")
    (tmp_path / "text.onnx").write_text("text")
    output = tmp_path / "out"
    for name, said in (
        ("other.onnx", "this ONNX file is another program's (it says pytorch)"),
        ("text.onnx", "this is no ONNX file"),
        ("gone.onnx", "the file cannot be read: No such file or directory"),
    ):
        error = tiny.qrecipe("predict", tmp_path / name, images, "--output", output).error
        assert error.startswith(f"{tmp_path / name}: {said}")
    file = files.paths["integer"]
    assert "has no calibrated model" in tiny.qrecipe("evaluate", file, "--model", "calibrated").error
    (images / "no.png").write_text("text")
    assert f"{images / 'no.png'}: " in tiny.qrecipe("predict", file, images, "--output", output).error
    assert not output.exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 2),
        ("scores", "bogus"),
        ("mode", "other"),
        ("input", "x"),
        ("input", {}),
        ("input.size", [0, 0]),
        ("input.size", "big"),
        ("input.mean", [1]),
        ("input.std", [0, 0, 0]),
        ("input.std", [math.nan] * 3),
        ("input.grey_range", [9, 1]),
        ("classes", 0),
        ("fixed", [0, None, None]),
        ("names", 3),
    ],
)
def test_what_a_file_says_of_itself_is_checked(files: Files, tmp_path: Path, key: str, value: Any) -> None:
    model = onnx.load(files.paths["packed"])
    (entry,) = [one for one in model.metadata_props if one.key == KEY]
    said = json.loads(entry.value)
    *outer, last = key.split(".")
    functools.reduce(dict.__getitem__, outer, said)[last] = value
    entry.value = json.dumps(said)
    path = tmp_path / "edited.onnx"
    onnx.save(model, path)
    with pytest.raises(ExportError, match="what this file says of itself is damaged") as caught:
        read_metadata(path)
    assert caught.value.where == str(path)


def test_nested_without_end(files: Files, tmp_path: Path) -> None:
    model = onnx.load(files.paths["packed"])
    (entry,) = [one for one in model.metadata_props if one.key == KEY]
    entry.value = "[" * 100_000
    onnx.save(model, tmp_path / "edited.onnx")
    with pytest.raises(ExportError, match="damaged"):
        read_metadata(tmp_path / "edited.onnx")
