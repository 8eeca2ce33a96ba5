"""The paper's protocol on Pascal VOC, as recipes."""

from __future__ import annotations

from pathlib import Path

import pytest

from qrecipe.commands.validate import validate
from qrecipe.recipe import load_recipe

ROOT = Path(__file__).parents[1]
VOC = [path for path in sorted((ROOT / "recipes" / "voc").glob("*.yaml")) if path.stem != "base"]


@pytest.mark.parametrize("path", VOC, ids=lambda path: path.stem)
def test_the_paper_s_protocol_on_voc(path: Path) -> None:
    """Students begin with what real_r50 trains and learn from what real_r101 does; the methods differ by themselves."""
    recipe, kind = load_recipe(path, data=False), path.stem.partition("_")[0]
    train, quantize = recipe.train, recipe.quantize
    assert (train.batch_size, train.epochs, train.schedule.drop_at, train.optimizer.lr) == (16, 300, (200,), 1e-4)
    assert train.evaluate_every == train.epochs  # the split that is scored chooses nothing
    assert recipe.data == load_recipe(VOC[0], data=False).data
    if kind == "real":
        assert recipe.model.config == {"backbone": f"resnet{path.stem.rpartition('r')[2]}"}
        assert not quantize.asks
        return
    found = [spec and spec.bits for spec in (quantize.weight, quantize.activation, quantize.attention)]
    assert found == [*[int(kind[1])] * 2, 8]
    assert recipe.model.weights is not None
    assert recipe.model.weights.file == ROOT / "runs/voc_real_r50/student/weights.safetensors"
    assert train == load_recipe(path.with_name("w4a4_lsq.yaml"), data=False).train
    assert [stage.quantize for stage in train.stages] == [("backbone",), None]
    if path.stem.endswith("_lsq"):
        assert (recipe.teacher, recipe.distill.targets, recipe.distill.align) == (None, (), ())
    else:
        assert recipe.distill == load_recipe(ROOT / "recipes" / "detr_r50_w4a4.yaml", data=False).distill
        assert recipe.teacher is not None
        assert recipe.teacher.config == {"backbone": "resnet101"}
        assert recipe.teacher.weights is not None
        assert recipe.teacher.weights.file == ROOT / "runs/voc_real_r101/student/weights.safetensors"


@pytest.mark.parametrize("path", VOC, ids=lambda path: path.stem)
def test_they_are_valid_where_there_is_no_data(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VOC", raising=False)
    opening = path.read_text(encoding="utf-8").partition("\n")[0]
    assert opening == f"# qrecipe apply recipes/voc/{path.name} --output runs/voc_{path.stem}"
    found = validate(path)
    assert found.valid
    assert all("VOC" in warning for warning in found.warnings)
