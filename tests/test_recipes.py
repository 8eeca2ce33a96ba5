"""Every recipe that is shipped is valid, and fits its model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from qrecipe.commands.bind import bind
from qrecipe.commands.workshop import without_weights
from qrecipe.recipe import load_recipe

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
PIECES = sorted((ROOT / "recipes" / "base").glob("*.yaml"))
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*/*.yaml"))

BACKBONE = (
    "{model_type: resnet, embedding_size: 8, hidden_sizes: [8, 8, 16, 16], depths: [1, 1, 1, 1], layer_type: basic, "
    "out_features: [stage4]}"
)
DETR = (
    f"{{backbone_config: {BACKBONE}, d_model: 16, encoder_layers: 1, decoder_layers: 1, encoder_attention_heads: 2, "
    "decoder_attention_heads: 2, encoder_ffn_dim: 16, decoder_ffn_dim: 16, num_queries: 6}"
)
SMALL: dict[str, tuple[str, ...]] = {
    "demo": ("data.synthetic={train: 2, val: 2, test: 2}",),
    "detr": (f"model.config={DETR}",),
}
"""By architecture: what makes a recipe's model small, and nothing else of it."""


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """COCO, and whatever else a recipe looks for, with one image; a cache; and no network."""
    monkeypatch.setenv("QRECIPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("COCO", "COCO_FREE", "BCCD"):
        monkeypatch.setenv(name, str(tmp_path / "data"))
    (tmp_path / "data" / "annotations").mkdir(parents=True)
    categories = [{"id": 2 * number + 1, "name": f"category {number}"} for number in range(3)]
    image = {"id": 1, "file_name": "1.png", "width": 8, "height": 8}
    for split in ("train2017", "val2017"):
        (tmp_path / "data" / split).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / "data" / split / "1.png")
        file = tmp_path / "data" / "annotations" / f"instances_{split}.json"
        file.write_text(json.dumps({"images": [image], "annotations": [], "categories": categories}))


def test_there_are_recipes() -> None:
    assert len(RECIPES) >= 3
    assert len(PIECES) >= 3
    assert len(BENCHMARKS) >= 4


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_fits_its_model(path: Path) -> None:
    """Compiled as ``validate --bind`` does it, teacher included, with random weights and no network."""
    architecture = load_recipe(path).model.architecture
    assert architecture is not None
    changes = list(SMALL[architecture])
    if load_recipe(path).teacher is not None:
        changes += [change.replace("model.", "teacher.") for change in changes if change.startswith("model.")]
    recipe = without_weights(load_recipe(path, changes))
    plan = bind(recipe, lambda text: None)
    assert bool(plan.quantizers) == (recipe.quantize.weight is not None)
    assert len(plan.alignments) == (recipe.model.config.get("decoder_layers", 3) if recipe.distill.align else 0)


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_benchmark_is_valid(path: Path) -> None:
    if path.stem == "base":
        assert any("base.yaml" in other.read_text() for other in path.parent.glob("*.yaml") if other != path)
    recipe = load_recipe(path, ["model.factory=somewhere/build.py:build"])
    assert (
        recipe.model.factory == "somewhere/build.py:build"
        or Path(str(recipe.model.factory).split(":")[0]).is_absolute()
    )


@pytest.mark.parametrize("path", PIECES, ids=lambda path: path.stem)
def test_a_piece_is_part_of_a_recipe(path: Path) -> None:
    assert any(f"base/{path.name}" in other.read_text() for other in [*RECIPES, *BENCHMARKS])


@pytest.mark.parametrize("path", [*RECIPES, *PIECES, *BENCHMARKS], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_recipe_says_what_it_is(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("# ")
