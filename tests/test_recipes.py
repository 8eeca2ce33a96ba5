"""Every recipe that is shipped is valid, fits its model, and has a plan."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from torch import nn

from qrecipe.commands.bind import bind
from qrecipe.commands.plan import plan
from qrecipe.experiment import workspace
from qrecipe.planning import cost_of
from qrecipe.recipe import Recipe, load_recipe
from qrecipe.recipe.given import without_weights
from qrecipe.student import Original, capture_original

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
PIECES = sorted((ROOT / "recipes" / "base").glob("*.yaml"))
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*/*.yaml"))
DETR_R50 = [path for path in RECIPES if path.stem.startswith("detr_r50_")]

BACKBONE = (
    "{model_type: resnet, embedding_size: 8, hidden_sizes: [8, 8, 16, 16], depths: [1, 1, 1, 1], layer_type: basic, "
    "out_features: [stage4]}"
)
DETR = (
    f"{{backbone_config: {BACKBONE}, d_model: 16, encoder_layers: 1, decoder_layers: 1, encoder_attention_heads: 2, "
    "decoder_attention_heads: 2, encoder_ffn_dim: 16, decoder_ffn_dim: 16, num_queries: 6}"
)
DEFORMABLE_DETR = (
    DETR.replace("d_model: 16", "d_model: 32, num_feature_levels: 2, encoder_n_points: 2, decoder_n_points: 2")
    .replace("decoder_layers: 1", "decoder_layers: 2")
    .replace("[stage4]", "[stage3, stage4]")
)
YOLOS = (
    "{hidden_size: 16, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 16, image_size: [64, 96], "
    "num_detection_tokens: 6, use_mid_position_embeddings: false}"
)
RT_DETR = (
    "{backbone_config: {model_type: rt_detr_resnet, embedding_size: 8, hidden_sizes: [8, 16, 16, 16], "
    "depths: [1, 1, 1, 1], layer_type: basic, out_features: [stage2, stage3, stage4]}, encoder_hidden_dim: 16, "
    "encoder_in_channels: [16, 16, 16], feat_strides: [8, 16, 32], encode_proj_layers: [2], encoder_ffn_dim: 16, "
    "encoder_attention_heads: 2, d_model: 16, num_queries: 7, decoder_in_channels: [16, 16, 16], decoder_ffn_dim: 16, "
    "num_feature_levels: 3, decoder_n_points: 2, decoder_layers: 2, decoder_attention_heads: 2}"
)
D_FINE = (
    "{backbone_config: {model_type: hgnet_v2, stem_channels: [3, 8, 8], stage_in_channels: [8, 8, 16, 16], "
    "stage_mid_channels: [4, 4, 8, 8], stage_out_channels: [8, 16, 16, 16], stage_num_blocks: [1, 1, 1, 1], "
    "stage_numb_of_layers: [1, 1, 1, 1], hidden_sizes: [8, 16, 16, 16], out_features: [stage2, stage3, stage4]}, "
    "depth_mult: 0.34, max_num_bins: 8, "
) + RT_DETR.partition("[stage2, stage3, stage4]}, ")[2].replace("decoder_n_points: 2", "decoder_n_points: [2, 2, 2]")
LW_DETR = (
    "{backbone_config: {model_type: lw_detr_vit, hidden_size: 16, num_hidden_layers: 2, num_attention_heads: 2, "
    "image_size: 64, window_block_indices: [0], num_windows: 4, out_indices: [1, 2]}, projector_scale_factors: [1.0], "
    "d_model: 16, decoder_layers: 1, decoder_self_attention_heads: 2, decoder_cross_attention_heads: 2, "
    "decoder_ffn_dim: 16, decoder_n_points: 2, num_queries: 5, group_detr: 2, c2f_num_blocks: 1}"
)
RF_DETR = (
    "{backbone_config: {model_type: rf_detr_dinov2, hidden_size: 16, num_hidden_layers: 2, num_attention_heads: 2, "
    "image_size: 64, patch_size: 16, num_windows: 2, out_features: [stage1, stage2]}, "
) + LW_DETR.partition("projector_scale_factors: [1.0], ")[2]
GROUNDING_DINO = (
    "{prompt_ids: [101, 300, 1012, 400, 1012, 500, 1012, 102], backbone_config: {model_type: swin, embed_dim: 8, "
    "depths: [1, 1, 1, 1], num_heads: [1, 1, 1, 1], window_size: 4, out_indices: [3, 4]}, text_config: {model_type: "
    "bert, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 16, vocab_size: 1100}, "
    "encoder_n_points: 2, num_feature_levels: 2, max_text_len: 32, "
) + DETR[1:].partition("}, ")[2].replace("d_model: 16", "d_model: 32").replace("decoder_layers: 1", "decoder_layers: 2")
SMALL: dict[str, tuple[str, ...]] = {
    "demo": (
        "model.config={width: 16, queries: 6, decoder_layers: 1, heads: 2}",
        "data.synthetic={train: 2, val: 2, test: 2}",
    ),
    "detr": (f"model.config={DETR}",),
    "conditional_detr": (f"model.config={DETR}",),
    "dab-detr": (f"model.config={DETR.replace('d_model', 'hidden_size')}",),
    "table-transformer": (f"model.config={DETR}",),
    "deformable_detr": (f"model.config={DEFORMABLE_DETR}",),
    "yolos": (f"model.config={YOLOS}",),
    "rt_detr": (f"model.config={RT_DETR}", "model.input.size=128"),
    "rt_detr_v2": (f"model.config={RT_DETR}", "model.input.size=128"),
    "d_fine": (f"model.config={D_FINE}", "model.input.size=128"),
    "deimv2": ("model.config.decoder_layers=2", "model.config.num_queries=20", "model.input.size=128"),
    "lw_detr": (f"model.config={LW_DETR}",),
    "rf_detr": (f"model.config={RF_DETR}",),
    "grounding-dino": (f"model.config={GROUNDING_DINO}",),
}
"""By architecture: what makes a recipe's model small, and nothing else of it."""

BITS = {
    "fp32": None,
    "w8a8": (8, 8, 8),
    "w8a8_calibrated": (8, 8, 8),
    "w4a4": (4, 4, 8),
    "w4a4_lsq": (4, 4, 8),
    "w3a3": (3, 3, 8),
    "w2a2": (2, 2, 8),
}
"""Of each detr_r50 recipe: bits of weights, activations, attention."""

_ORIGINALS: dict[str, Original] = {}


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """COCO, and whatever else a recipe looks for, with one image; a cache; no network; models captured once."""
    monkeypatch.setenv("QRECIPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(workspace, "capture_original", _original)
    for name in ("COCO", "COCO_FREE", "BCCD", "TABLES"):
        monkeypatch.setenv(name, str(tmp_path / "data"))
    (tmp_path / "data" / "annotations").mkdir(parents=True)
    categories = [{"id": 2 * number + 1, "name": f"category {number}"} for number in range(3)]
    image = {"id": 1, "file_name": "1.png", "width": 8, "height": 8}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 0}
    for split in ("train2017", "val2017", "train", "val"):
        (tmp_path / "data" / split).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / "data" / split / "1.png")
        name = f"instances_{split}" if split.endswith("2017") else split
        file = tmp_path / "data" / "annotations" / f"{name}.json"
        file.write_text(json.dumps({"images": [image], "annotations": [box], "categories": categories}))


def _original(model: nn.Module, family: Any, image_input: Any, example: Any = None, label_map: Any = None) -> Original:
    """The capture of a model of the same structure: nothing here looks at weights."""
    key = repr((model, family.name, family.loss_spec, image_input))
    if key not in _ORIGINALS:
        _ORIGINALS[key] = capture_original(model, family, image_input)
    return dataclasses.replace(_ORIGINALS[key], label_map=label_map)


def small(path: Path) -> Recipe:
    """A recipe with a small model, and a small teacher, of random weights."""
    architecture = load_recipe(path).model.architecture
    assert architecture is not None
    changes = list(SMALL[architecture])
    if load_recipe(path).teacher is not None:
        changes += [change.replace("model.", "teacher.") for change in changes if change.startswith("model.")]
    return without_weights(load_recipe(path, changes))


def test_there_are_recipes() -> None:
    assert {path.stem for path in DETR_R50} == {f"detr_r50_{name}" for name in BITS}
    assert len(RECIPES) >= 8
    assert len(PIECES) >= 3
    assert len(BENCHMARKS) >= 4


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_fits_its_model(path: Path) -> None:
    """Compiled as ``validate --bind`` does it, teacher included, with random weights and no network."""
    recipe = small(path)
    bound = bind(recipe)
    assert bool(bound.quantizers) == (recipe.quantize.weight is not None)
    assert len(bound.alignments) == (recipe.model.config["decoder_layers"] if recipe.distill.align else 0)
    planned = plan(recipe, image_size=(96, 128))
    assert planned.sites == bound.sites
    cost = cost_of(planned)
    assert (cost.operations < cost.macs) == (recipe.quantize.weight is not None)


@pytest.mark.parametrize("path", DETR_R50, ids=lambda path: path.stem)
def test_the_paper_s_detr(path: Path) -> None:
    """The names keep their promise, and every one of them is the same detector."""
    recipe, own = load_recipe(path), load_recipe(ROOT / "recipes" / "detr_r50_w4a4.yaml")
    assert recipe.model == own.model
    assert recipe.data == own.data
    name = path.stem.removeprefix("detr_r50_")
    quantize = recipe.quantize
    found = [spec and spec.bits for spec in (quantize.weight, quantize.activation, quantize.attention)]
    assert found == list(BITS[name] or (None, None, None))
    if name in ("w4a4", "w3a3", "w2a2"):
        assert recipe.teacher is not None
        assert recipe.teacher.config == {"backbone": "resnet101"}
        assert recipe.distill == own.distill
        assert [rule.match for rule in quantize.rules] == [("role:backbone.stem",), ("role:head",)]
    if name in ("w4a4", "w3a3", "w2a2", "w4a4_lsq"):
        train = recipe.train
        assert (train.batch_size, train.epochs, train.schedule.drop_at, train.optimizer.lr) == (
            16,
            500,
            (200, 400),
            1e-4,
        )
        assert [stage.quantize for stage in train.stages] == [("backbone",), None]
    else:
        assert recipe.distill.targets == recipe.distill.align == ()
    if name == "w8a8":
        specs = (quantize.weight, quantize.activation, quantize.attention)
        assert [(spec.per, spec.offset) for spec in specs if spec] == [
            ("channel", "none"), ("tensor", "integer"), ("tensor", "integer"),
        ]  # fmt: skip


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


@pytest.mark.parametrize("path", [*PIECES, *BENCHMARKS], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_piece_says_what_it_is(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_opens_with_its_command_and_names_its_schema(path: Path) -> None:
    """The modeline is a comment of its own before the first key, and resolves from the recipe's folder."""
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] in (f"# qrecipe {command} recipes/{path.name}" for command in ("apply", "evaluate"))
    comments = lines[: next(number for number, line in enumerate(lines) if not line.startswith("#"))]
    assert len(comments) >= 3  # the command, what it is, the modeline
    prefix = "# yaml-language-server: $schema="
    (modeline,) = [line for line in comments if line.startswith(prefix)]
    named = (path.parent / modeline.removeprefix(prefix)).resolve()
    assert named == ROOT / "qrecipe" / "recipe" / "schema.json"
    assert json.loads(named.read_text())["$schema"] == "https://json-schema.org/draft/2020-12/schema"
