"""A recipe whose data is somewhere else: what needs no data reads it all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

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
