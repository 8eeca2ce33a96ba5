"""``qrecipe plan`` and ``qrecipe validate --bind``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_commands as tiny
from tiny_commands import Finished

from qrecipe.commands.workshop import Workshop, without_weights
from qrecipe.recipe import load_recipe, recipe_from_mapping

DETR = {
    "architecture": "detr",
    "config": {
        "backbone_config": {
            "model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1],
            "layer_type": "basic", "out_features": ["stage4"],
        },
        "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "num_queries": 6,
    },
    "weights": {"hub": "nobody/nothing"},
}  # fmt: skip
GONE = {"images": "gone", "annotations": "gone.json"}


def test_the_plan_is_the_run_s(finished: Finished) -> None:
    answer = tiny.qrecipe("plan", finished.recipe, "--json")
    assert answer.code == 0
    assert json.loads(answer.out) == json.loads((finished.folder / "plan.json").read_text())
    assert "capture: " in answer.err  # standard output is json alone


def test_what_is_printed(finished: Finished) -> None:
    out = tiny.qrecipe("plan", finished.recipe, "--image-size", "128x96").fine
    assert "costs of one image of 128x96" in out
    assert all(len(line.rstrip()) <= 80 for line in out.splitlines() if not line.startswith(("data:", "capture:")))
    for text in ("\nbackbone.stem  ", "\ndecoder.cross_attention  4-4-8 ", "x fewer)", "\noperations: multiply-acc"):
        assert text in out
    for word in ("…", "sites\n"):
        assert word not in out
    sites = tiny.qrecipe("plan", finished.recipe, "--sites").fine
    assert sum("lsq+ per head" in line for line in sites.splitlines()) == 12


def test_costs_grow_with_the_image(finished: Finished) -> None:
    sizes = ("64x64", "128x128")
    plans = [json.loads(tiny.qrecipe("plan", finished.recipe, "--json", "--image-size", size).out) for size in sizes]
    macs = [
        sum(product["macs"] for operation in plan["operations"] for product in operation["products"]) for plan in plans
    ]
    assert 3.5 < macs[1] / macs[0] < 5


@pytest.mark.parametrize("text", ["800", "0x10", "-1x10", "axb", "10x"])
def test_sizes_that_are_none(finished: Finished, text: str) -> None:
    answer = tiny.qrecipe("plan", finished.recipe, f"--image-size={text}")
    assert answer.code == 2
    assert "is no size; write HxW" in answer.err


def test_a_plan_needs_no_data(tmp_path: Path) -> None:
    """Images that are not there, weights that are not there: the plan of the published head's size."""
    recipe = tiny.recipe(
        tmp_path / "detr.yaml", model=DETR, data={"format": "coco", "train": GONE, "val": GONE}, train={"epochs": 1}
    )
    answer = tiny.qrecipe("plan", recipe, "--random-weights", "--json")
    assert answer.code == 0, answer
    assert "gone.json: the annotation file is missing" in answer.err
    assert "as if it had 91 categories" in answer.err
    parameters = json.loads(answer.out)["parameters"]
    assert parameters["class_labels_classifier.bias"] == 92
    for words in (("validate", "--bind"), ("evaluate",)):
        error = tiny.qrecipe(words[0], recipe, *words[1:], "--random-weights").error
        assert "the annotation file is missing" in error


def test_bind(finished: Finished) -> None:
    out = tiny.qrecipe("validate", finished.recipe, "--bind").fine
    assert out.endswith(f"{finished.recipe}: valid, and binds: 65 quantizers, queries aligned in 1 decoder layer\n")


def test_a_rule_that_matches_nothing(tmp_path: Path) -> None:
    quantize = {**tiny.TINY["quantize"], "rules": [{"match": "decoder.9.*", "keep": "float"}]}
    recipe = tiny.recipe(tmp_path / "wrong.yaml", quantize=quantize)
    assert tiny.qrecipe("validate", recipe).code == 0  # its text is in order
    for words in (("validate", "--bind"), ("plan",), ("apply", "--output", tmp_path / "run")):
        error = tiny.qrecipe(words[0], recipe, *words[1:]).error
        assert "wrong.yaml:" in error
        assert "decoder.9" in error


def test_random_weights_are_of_the_seed(finished: Finished) -> None:
    def first(seed: int) -> float:
        recipe = load_recipe(finished.recipe, [f"seed={seed}"])
        model = Workshop(recipe, ("val",), lambda text: None).built.model
        return next(model.parameters()).flatten()[0].item()

    assert first(0) == first(0) != first(1)


def test_without_weights_is_the_recipe_without_them() -> None:
    model = {"architecture": "demo", "weights": {"builtin": "demo"}}
    data = {"version": 1, "model": model, "teacher": model}
    plain = without_weights(recipe_from_mapping(data))
    assert plain == recipe_from_mapping(
        {"version": 1, "model": {"architecture": "demo"}, "teacher": {"architecture": "demo"}}
    )
    assert recipe_from_mapping(plain.source) == plain
    assert "weights" in recipe_from_mapping(data).source["model"]
