"""A recipe whose data is somewhere else: what needs no data reads it all the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from qrecipe.cli import main
from qrecipe.errors import RecipeErrors
from qrecipe.recipe import load_recipe

TEXT = """\
version: 1
model: {architecture: demo}
data:
  format: coco
  train: {images: "$QR_NOWHERE/train", annotations: "${QR_NOWHERE}/train.json"}
  val: {images: val, annotations: "a$$b.json"}
"""


def test_variables_that_are_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QR_NOWHERE", raising=False)
    path = tmp_path / "recipe.yaml"
    path.write_text(TEXT)
    with pytest.raises(RecipeErrors, match="QR_NOWHERE is not set"):
        load_recipe(path)
    data = load_recipe(path, data=False).data
    assert data.train is not None
    assert data.val is not None
    assert data.train.images == tmp_path / "$QR_NOWHERE" / "train"
    assert data.train.annotations == tmp_path / "${QR_NOWHERE}" / "train.json"
    assert data.val.annotations == tmp_path / "a$b.json"
    monkeypatch.setenv("QR_NOWHERE", str(tmp_path))
    for needed in (True, False):
        found = load_recipe(path, data=needed).data.train
        assert found is not None
        assert found.images == tmp_path / "train"


def test_validate_warns_of_data_that_is_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("QR_NOWHERE", raising=False)
    path = tmp_path / "recipe.yaml"
    path.write_text(TEXT)
    assert main(["validate", str(path)]) == 0
    out, err = capsys.readouterr()
    assert out == f"{path}: valid\n"
    lines = err.splitlines()
    assert lines[0].startswith(
        f"warning: {path}:5:19: data.train.images: the environment variable QR_NOWHERE is not set"
    )
    assert lines[2] == f"warning: {path}:6:17: data.val.images: there is no {tmp_path / 'val'}"
    assert lines[3].endswith(f"there is no {tmp_path / 'a$b.json'}")
    # With another mistake all come at once.
    path.write_text(TEXT + "sede: 1\n")
    assert main(["validate", str(path)]) == 2
    assert capsys.readouterr().err.count("error: ") == 3


def test_validate_data_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QR_NOWHERE", str(tmp_path))
    path = tmp_path / "recipe.yaml"
    path.write_text(TEXT)
    for name in ("train", "val"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "1.png")
    image = {"id": 1, "file_name": "1.png", "width": 8, "height": 8}
    sound = {"images": [image], "annotations": [], "categories": [{"id": 1, "name": "a"}]}
    for name in ("train.json", "a$b.json"):
        (tmp_path / name).write_text(json.dumps(sound))
    assert main(["validate", "--data", str(path)]) == 0
    assert "data: train has 1 images and 0 boxes" in capsys.readouterr().out
    (tmp_path / "a$b.json").write_text("[")
    assert main(["validate", "--data", str(path)]) == 2
    assert "a$b.json: the annotation file is not json" in capsys.readouterr().err
    (tmp_path / "train").rename(tmp_path / "gone")
    assert main(["validate", str(path)]) == 0
