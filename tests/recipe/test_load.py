"""What a correct recipe becomes."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from qrecipe.errors import RecipeError, RecipeErrors
from qrecipe.recipe import (
    AlignSpec,
    CalibrationSpec,
    DataSpec,
    DistillSpec,
    InputSpec,
    LossSpec,
    Mark,
    MatchSpec,
    ModelSpec,
    OptimizerSpec,
    QuantizerSpec,
    QuantizeSpec,
    Recipe,
    Rule,
    ScheduleSpec,
    SplitSpec,
    StageSpec,
    SyntheticSpec,
    TargetSpec,
    TrainSpec,
    TransformSpec,
    WeightsSource,
    dump,
    load_recipe,
    recipe_from_mapping,
)
from tests.recipe.examples import FULL, MINIMAL, write


def full(folder: Path) -> Recipe:
    """FULL, written out by hand."""
    query, output = "decoder.cross_attention.query", "decoder.cross_attention.output"
    return Recipe(
        name="full",
        seed=7,
        output=folder / "runs",
        model=ModelSpec(
            architecture="detr",
            config={"backbone": "resnet50", "queries": 100, "nested": {"deep": [1, 2.5, None]}},
            labels="category_id",
            weights=WeightsSource(hub="facebook/detr-resnet-50", revision="no_timm"),
            family="detr",
            input=InputSpec(
                shortest=800, longest=1333, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), mask=True
            ),
            roles={"decoder.cross_attention": "model.decoder.*.q"},
        ),
        teacher=ModelSpec(
            factory=f"{folder}/models/mine.py:build",
            arguments={"pretrained": True},
            labels_argument="num_labels",
            weights=WeightsSource(file=folder / "weights/teacher.safetensors"),
            input=InputSpec(size=(320, 320)),
        ),
        quantize=QuantizeSpec(
            weight=QuantizerSpec(4, "lsq", "channel", "none"),
            activation=QuantizerSpec(4, "lsq+", "tensor", "integer"),
            attention=QuantizerSpec(8, "lsq+", "head", "real", "mse"),
            rules=(
                Rule(("role:backbone.stem",), ("quantize", "rules", 0), keep="float"),
                Rule(("role:decoder.*", "op:linear"), ("quantize", "rules", 1), weight={"bits": 8}, activation="float"),
            ),
            batch_norm="live",
            calibration=CalibrationSpec(2, 3),
        ),
        distill=DistillSpec(
            align=(AlignSpec(query, "query", "identity"),),
            targets=(
                TargetSpec(output, "all", "l2", 2.5, MatchSpec("foreground", 0.5, 1.0, 4.0)),
                TargetSpec(output, match=MatchSpec("all")),
            ),
        ),
        train=TrainSpec(
            stages=(StageSpec("backbone", 2, ("backbone",)), StageSpec("full", 3)),
            batch_size=16,
            optimizer=OptimizerSpec("adamw", 1e-4, 0.05, (0.9, 0.99), 1e-5, 2e-3),
            schedule=ScheduleSpec("step", 10, (3,), 0.2, 0.1),
            clip_norm=None,
            loss=LossSpec("focal", 0.2, 0.3, 1.0, 2.0, 4.0, 3.0, auxiliary=False),
            control=True,
            evaluate_every=2,
            precision="bf16",
        ),
        data=DataSpec(
            "coco",
            SplitSpec(folder / "coco/train", folder / "coco/train.json"),
            SplitSpec(folder / "coco/val", folder / "coco/val.json"),
            SplitSpec(Path("/coco/test"), Path("/coco/test.json")),
            SyntheticSpec(5, 4, 3, 64, 9),
            TransformSpec(0.25, (480, 512), crop=True),
            2,
        ),
    )


def test_every_key_arrives(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path, FULL)) == full(tmp_path)


def test_floats_are_floats_and_whole_numbers_are_whole(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, FULL))
    assert type(recipe.train.optimizer.lr) is float
    assert type(recipe.train.loss.focal_gamma) is float
    assert type(recipe.distill.targets[0].match.giou) is float
    assert type(recipe.train.batch_size) is int


def test_what_is_left_out_takes_the_default(tmp_path: Path) -> None:
    recipe = load_recipe(str(write(tmp_path, MINIMAL, "small.w4.yaml")))
    expected = Recipe(
        "small.w4", ModelSpec(architecture="demo"), QuantizeSpec(), DistillSpec(), TrainSpec(), DataSpec()
    )
    assert recipe == expected
    assert recipe.train.epochs == 0


def test_epochs_are_short_for_one_stage(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, MINIMAL + "train: {epochs: 3}\n"))
    assert recipe.train.stages == (StageSpec("train", 3),)
    assert recipe.where(("train", "stages", 0)).endswith("recipe.yaml:3:17: train.stages[0]")
    assert load_recipe(write(tmp_path, MINIMAL + "train: {epochs: 0}\n")).train.stages == ()


@pytest.mark.parametrize(
    ("operand", "quantizer", "offset"),
    [
        ("weight", "lsq", "none"),
        ("weight", "lsq+", "none"),
        ("weight", "minmax", "none"),
        ("activation", "lsq", "none"),
        ("activation", "lsq+", "integer"),
        ("activation", "mse", "integer"),
        ("attention", "minmax", "integer"),
        ("attention", "lsq", "none"),
    ],
)
def test_default_offsets(operand: str, quantizer: str, offset: str) -> None:
    quantize = {operand: {"bits": 4, "quantizer": quantizer, "per": "tensor"}}
    recipe = recipe_from_mapping({"version": 1, "model": {"architecture": "demo"}, "quantize": quantize})
    assert getattr(recipe.quantize, operand).offset == offset


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("-1.5e+3", -1500.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("1_000", 1000),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("=", "="),
        ("0x", "0x"),
        ("1e", "1e"),
        ("'1e-4'", "1e-4"),
        ("!!str 4", "4"),
        ("!!float 4", 4.0),
        ("~", None),
        ("", None),
        ("on", True),
        ("No", False),
        ("y", "y"),
        ('"no"', "no"),
    ],
)
def test_what_a_word_means(word: str, value: object, tmp_path: Path) -> None:
    path = write(tmp_path, f"version: 1\nmodel: {{architecture: a, config: {{x: {word} }}}}\n")
    found = load_recipe(path).model.config["x"]
    assert (type(found), found) == (type(value), value)


def test_precision_no_needs_no_quotes(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, MINIMAL + "train: {precision: no}\n"))
    assert recipe.train.precision == "no"
    assert recipe.resolved["train"]["precision"] == "no"


def test_recipe_errors_are_located(tmp_path: Path) -> None:
    path = write(tmp_path, FULL)
    recipe = load_recipe(path)
    assert recipe.marks[("quantize", "rules", 1, "weight", "bits")] == Mark(str(path), 26, 63)
    error = recipe.error(recipe.quantize.rules[1].path, "matches nothing", "look again")
    assert isinstance(error, RecipeError)
    assert str(error) == f"{path}:26:7: quantize.rules[1]: matches nothing (look again)"
    assert recipe.where(("train", "optimizer", "unheard")) == f"{path}:40:14: train.optimizer.unheard"


def test_a_resolved_recipe_reads_as_itself(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, FULL))
    again = recipe_from_mapping(recipe.resolved)
    assert again == recipe
    assert again.resolved == recipe.resolved
    kept = load_recipe(write(tmp_path / "elsewhere", dump(recipe.resolved), "resolved.yaml"))
    assert kept == recipe
    assert kept.resolved == recipe.resolved


def test_python_data_is_left_as_it_is() -> None:
    data = {
        "version": 1,
        "model": {"architecture": "a", "input": {"size": (3, 4)}},
        "output": Path("runs"),
        "train": {"epochs": 2},
    }
    before = copy.deepcopy(data)
    recipe = recipe_from_mapping(data, name="mine", base_folder="/somewhere")
    assert data == before
    assert (recipe.name, recipe.output, recipe.model.input.size) == ("mine", Path("/somewhere/runs"), (3, 4))
    assert recipe_from_mapping(recipe.resolved) == recipe


def test_a_recipe_can_be_sent_to_a_worker(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, FULL))
    assert pickle.loads(pickle.dumps(recipe)) == copy.deepcopy(recipe) == recipe
    assert replace(recipe, seed=1) != recipe


@pytest.mark.parametrize(
    "text",
    [
        "seed: 1\t\n",
        "seed:\t1\n",
        "seed: 1\t# the seed\n",
        "\t\nseed: 1\n",
        "train: {batch_size:\t2}\t\nseed: 1\n",
        "train: {\n\t}\nseed: 1\n",
    ],
)
def test_tabs_behind_what_a_line_says_are_white_space(tmp_path: Path, text: str) -> None:
    assert load_recipe(write(tmp_path, MINIMAL + text)).seed == 1


def test_an_override_of_thousands_of_characters_is_shown_short(tmp_path: Path) -> None:
    with pytest.raises(RecipeErrors) as caught:
        load_recipe(write(tmp_path, MINIMAL), overrides=["train.epochs=" + "many words " * 1000])
    assert len(str(caught.value)) < 500
