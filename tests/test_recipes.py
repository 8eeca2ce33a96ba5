"""Every recipe that is shipped is valid, fits its model, and has a plan; every family does as docs/coverage.md says."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from benchmarks.coverage import CLASSES, Q_DETR, Subject, captured, family_recipes, measure, stir
from qrecipe.commands.bind import bind
from qrecipe.commands.plan import plan
from qrecipe.data.labels import LabelMap
from qrecipe.experiment import workspace
from qrecipe.models.families import Family
from qrecipe.models.loading.build import build_model
from qrecipe.planning import cost_of
from qrecipe.recipe import Recipe, load_recipe
from qrecipe.recipe.definition import InputSpec
from qrecipe.recipe.given import without_weights
from qrecipe.student import Original, load, make_student, save, store
from qrecipe.vocabulary import DISTILLABLE, PREDICTIONS
from tests.capture_cache.sameness import again, require_same
from tests.small_models import SMALL
from tests.specimens import ALIGN, TARGETS, W4A4, a_recipe

ROOT = Path(__file__).parents[1]
SHIPPED = sorted((ROOT / "recipes").glob("*.yaml"))
SWEEPS = [path for path in SHIPPED if "\nbase: " in path.read_text(encoding="utf-8")]
RECIPES = [path for path in SHIPPED if path not in SWEEPS]
VOC = [path for path in sorted((ROOT / "recipes" / "voc").glob("*.yaml")) if path.stem != "base"]
PIECES = sorted((ROOT / "recipes" / "base").glob("*.yaml"))
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*/*.yaml"))
ELSEWHERE = {"detr", "deimv2", "demo"}
TRAINED_AND_CALIBRATED = [path for path in RECIPES if path.with_stem(f"{path.stem}_calibrated") in RECIPES]
DETR_R50 = [path for path in RECIPES if path.stem.startswith("detr_r50_")]

SIZE = (2, 128, 160)
"""(batch, height, width) of the captures."""
CATEGORIES = [(2 * number + 1, f"category {number}") for number in range(CLASSES)]

MEASURED = [path for path in family_recipes() if load_recipe(path, data=False).model.architecture not in ELSEWHERE]
"""A recipe of every family, but those whose captures other tests have: tests/specimens.py."""
DECODER = {"decoder.self_attention", "decoder.cross_attention", "decoder.feed_forward"}
WITHOUT_DECODER = "yolos"

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

_SUBJECTS: dict[str, Subject] = {}


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """COCO, and whatever else a recipe looks for, with one image; a cache; no network; models captured once."""
    monkeypatch.setenv("QRECIPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(workspace, "capture_original", _original)
    for name in ("COCO", "COCO_FREE", "BCCD", "TABLES", "VOC"):
        monkeypatch.setenv(name, str(tmp_path / "data"))
    (tmp_path / "data" / "annotations").mkdir(parents=True)
    categories = [{"id": number, "name": name} for number, name in CATEGORIES]
    image = {"id": 1, "file_name": "1.png", "width": 8, "height": 8}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 0}
    for split in ("train2017", "val2017", "train", "val", "trainval0712", "test2007"):
        (tmp_path / "data" / split).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / "data" / split / "1.png")
        name = f"instances_{split}" if split.endswith("2017") else split
        file = tmp_path / "data" / "annotations" / f"{name}.json"
        file.write_text(json.dumps({"images": [image], "annotations": [box], "categories": categories}))


def subject(model: nn.Module, family: Family, image_input: InputSpec) -> Subject:
    """A model of the same structure and its capture, made once: its weights are those of the first that asked."""
    key = repr((model, family.name, family.loss_spec))
    if key not in _SUBJECTS:
        _SUBJECTS[key] = captured(model, family, image_input, SIZE)
    return _SUBJECTS[key]


def _original(
    model: nn.Module, family: Family, image_input: InputSpec, label_map: LabelMap | None = None, **_: object
) -> Original:
    """What binding captures: it looks at no weights."""
    original = subject(model, family, image_input).original
    return dataclasses.replace(original, family=family, input=image_input, label_map=label_map)


def small(path: Path) -> Recipe:
    """A recipe with a small model, and a small teacher, of random weights."""
    recipe = load_recipe(path)
    assert recipe.model.architecture is not None
    changes = [f"model.config={json.dumps(SMALL[recipe.model.architecture])}"]
    if recipe.model.input.size is not None:
        changes.append("model.input.size=128")
    if recipe.teacher is not None:
        changes += [change.replace("model.", "teacher.", 1) for change in changes]
    if recipe.data.format == "synthetic":
        changes.append("data.synthetic={train: 2, val: 2, test: 2}")
    return without_weights(load_recipe(path, changes))


def test_there_are_recipes() -> None:
    assert {path.stem for path in DETR_R50} == {f"detr_r50_{name}" for name in BITS}
    assert len(RECIPES) >= 8
    assert len(PIECES) >= 3
    assert len(BENCHMARKS) >= 4
    assert len(VOC) == 8


@pytest.mark.parametrize("path", [*RECIPES, *VOC], ids=lambda path: path.stem)
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


def test_coverage_distils_as_in_the_paper() -> None:
    pieces = [load_recipe(PIECES[0].with_name("q_detr.yaml"), ["model.architecture=demo"], data=False)]
    pieces.append(
        load_recipe(PIECES[0].with_name("same_queries.yaml"), ["model.architecture=demo", *Q_DETR], data=False)
    )
    assert pieces[0].distill == pieces[1].distill


@pytest.mark.parametrize("path", MEASURED, ids=lambda path: path.stem)
def test_a_family(path: Path) -> None:
    """Trained, saved, loaded and copied, as docs/coverage.md has it, with all but the heads quantized."""
    own = small(path)
    spec, queries = own.model, own.model.architecture != WITHOUT_DECODER
    built = build_model(spec, CATEGORIES, own.train.loss, random_weights=True)
    recipe = a_recipe(
        {**W4A4, "rules": [{"match": "role:head", "keep": "float"}]},
        align=ALIGN if queries else (),
        targets=TARGETS if queries else (),
    )
    found = measure(path.stem, subject(built.model, built.family, built.input), recipe, ((1, 160, 128), (3, 136, 170)))
    whole = subject(built.model, built.family, built.input)
    inputs = whole.family.inputs(torch.rand(2, 3, 128, 160, dtype=whole.dtype), None)
    require_same(again(whole.original.captured, whole.model), whole.original.captured, inputs)
    compared = [pair for pair in found.differences.values() if pair is not None]
    assert len(compared) >= 2
    outputs, gradients = (1e-9, 1e-7) if found.dtype == "float64" else (1e-4, 1e-2)
    assert max(value for value, _ in compared) < outputs
    assert max(value for _, value in compared) < gradients
    assert found.covered >= 0.99
    assert "backbone.stem" in found.roles
    assert {"head.class", "head.box"} <= set(found.roles)
    assert (set(found.roles) >= DECODER) is queries
    assert ({"encoder.text", "decoder.text_attention"} <= set(found.roles)) is (spec.architecture == "grounding-dino")
    assert found.aligned == found.layers == (spec.config["decoder_layers"] if queries else 0)
    assert all(0 < loss < float("inf") for loss in found.losses)
    # A first layer that reads zeros, and inputs that only a top-k reads, have none: docs/coverage.md names them.
    assert found.scales[0] >= 0.9 * found.scales[1]
    assert found.reloaded == found.copied == 0.0
    assert all(found.targets.values())
    assert set(found.targets) == set(DISTILLABLE if queries else PREDICTIONS)


def test_a_saved_student_keeps_its_prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which its recipe does not say; the tokenizer that wrote it is not needed to load it."""
    (path,) = (one for one in MEASURED if load_recipe(one, data=False).model.architecture == "grounding-dino")
    own = small(path)
    prompt = own.model.config["prompt_ids"]
    built = build_model(own.model, CATEGORIES, own.train.loss, random_weights=True)
    whole = subject(built.model, built.family, built.input)
    config = {key: value for key, value in own.model.config.items() if key != "prompt_ids"}
    original = dataclasses.replace(whole.original, family=built.family, label_map=built.label_map)
    student = make_student(original, a_recipe(architecture="grounding-dino", config=config))
    stir(student, seed=1)
    save(student, tmp_path / "student")

    def capture_again(model: Any, family: Family, *_: object, label_map: LabelMap, **__: object) -> Original:
        assert model.config.prompt_ids == prompt
        return dataclasses.replace(whole.original, family=family, label_map=label_map)

    monkeypatch.setattr(store, "capture_original", capture_again)
    loaded = load(tmp_path / "student")
    assert loaded.recipe.model.config["prompt_ids"] == prompt
    pixels = torch.rand(1, 3, 64, 96, dtype=whole.dtype)
    torch.testing.assert_close(loaded.predict(pixels).logits, student.eval().predict(pixels).logits, rtol=0, atol=0)


@pytest.mark.parametrize("path", TRAINED_AND_CALIBRATED, ids=lambda path: path.stem)
def test_what_is_only_calibrated_is_quantized_as_what_is_trained(path: Path) -> None:
    trained, calibrated = (load_recipe(one) for one in (path, path.with_stem(f"{path.stem}_calibrated")))
    own = calibrated.quantize.calibration
    assert dataclasses.replace(trained.quantize, calibration=own) == calibrated.quantize
    assert trained.model == calibrated.model
    assert calibrated.train.epochs == 0


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
    assert any(f"base/{path.name}" in other.read_text() for other in [*RECIPES, *BENCHMARKS, *VOC])


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
