"""``qrecipe plan`` and ``qrecipe validate --bind``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from qrecipe.experiment.workspace import Workspace
from qrecipe.recipe import load_recipe
from tests import tiny_commands as tiny
from tests.tiny_commands import Finished

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


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("by", ["role", "module", "rule"])
def test_what_is_printed(finished: Finished, by: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    out = tiny.qrecipe("plan", finished.recipe, "--by", by, "--image-size", "128x96").fine
    places = ("data:", "capture:", "  quantize.", "  additions")
    assert all(len(line.rstrip()) <= columns for line in out.splitlines() if not line.startswith(places))
    for text in ("x fewer)", "\noperations: multiply-acc", "\nbit operations: MACs of one image"):
        assert text in out
    shown = {
        "role": (
            "costs of one image of 128x96",
            "\nbackbone.stem  ",
            "\ndecoder.cross_attention   "[: 25 + columns // 100],
        ),
        "module": ("costs of one image of 128x96", "\ndecoder.0.cross_attention "),
        "rule": ("\nquantize.rules[0]: role:backbone.stem  ", "\n  ", "tiny.yaml:"),
    }
    for text in shown[by]:
        assert text in out
    assert re.search(
        r"quantize\.rules\[0\]: role:backbone\.stem \(.*tiny\.yaml:\d+\)\n    backbone\.stem .*conv 2\n", out
    )


def test_every_site_can_be_listed(finished: Finished) -> None:
    sites = tiny.qrecipe("plan", finished.recipe, "--sites").fine
    assert sum("lsq+ per head" in line for line in sites.splitlines()) == 12


def test_depth(finished: Finished) -> None:
    one, three = (tiny.qrecipe("plan", finished.recipe, "--by", "module", "--depth", depth).fine for depth in (1, 3))
    assert "\ndecoder.0 " in one
    assert "q_proj" not in one
    assert "q_proj" in three
    data = json.loads(tiny.qrecipe("plan", finished.recipe, "--json", "--depth", 1).out)
    assert "decoder.0" in [row["module"] for row in data["by_module"]]
    assert "is no count" in tiny.qrecipe("plan", finished.recipe, "--depth", 0).err


def test_warnings_are_said_everywhere(tmp_path: Path) -> None:
    rules = [{"match": "role:head.class", "keep": "float"}, {"match": "role:head", "keep": "float"}]
    quantize = {**tiny.TINY["quantize"], "rules": rules}
    recipe = tiny.recipe(tmp_path / "vain.yaml", quantize=quantize, train={"epochs": 0})
    text = "quantize.rules[0]: 'role:head.class' decides nothing: wherever it applies, later rules set the same again"
    printed = tiny.qrecipe("plan", recipe).fine
    assert re.search(rf"\nwarning: .*vain\.yaml:\d+:\d+: {re.escape(text)}: rules\[1\] \(.*vain\.yaml:\d+\)", printed)
    (warning,) = json.loads(tiny.qrecipe("plan", recipe, "--json").out)["warnings"]
    assert text in warning
    for words in (("validate", "--bind"), ("apply", "--output", tmp_path / "run")):
        answer = tiny.qrecipe(words[0], recipe, *words[1:])
        assert answer.code == 0
        assert f"warning: {warning}" in answer.out + answer.err


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
        assert re.match(r".*wrong\.yaml:\d+:\d+: quantize\.rules\[0\]\.match: 'decoder\.9\.\*' matches nothing", error)


def test_student_and_teacher_are_held_to_the_recipe_at_once(tmp_path: Path) -> None:
    """Rules and roles of both models in one go; then the widths of both targets."""
    small = {**tiny.TINY["model"], "config": {**tiny.TINY["model"]["config"], "width": 8}}
    quantize = {**tiny.TINY["quantize"], "rules": [{"match": "role:neck", "keep": "float"}]}
    lost = {**small, "roles": {"decoder.cross_attention": "nowhere"}}
    recipe = tiny.recipe(tmp_path / "both.yaml", quantize=quantize, teacher=lost)
    answer = tiny.qrecipe("validate", recipe, "--bind")
    assert answer.code == 2
    assert re.search(r"both\.yaml:\d+:\d+: quantize\.rules\[0\]\.match: 'role:neck' matches nothing", answer.err)
    assert re.search(r"both\.yaml:\d+:\d+: teacher\.roles\.decoder\.cross_attention: no module matches", answer.err)
    targets = [{"at": "decoder.cross_attention.output"}, {"at": "decoder.layer.output"}]
    recipe = tiny.recipe(tmp_path / "widths.yaml", teacher=small, distill={"targets": targets})
    answer = tiny.qrecipe("validate", recipe, "--bind")
    assert answer.code == 2
    for index in (0, 1):
        pattern = rf"widths\.yaml:\d+:\d+: distill\.targets\[{index}\]: \S+: the student's feature has 16 channels and "
        assert re.search(pattern + "the teacher's 8", answer.err), answer.err


def test_a_teacher_has_its_own_roles(tmp_path: Path) -> None:
    """The model's roles name modules that the teacher need not have, and the other way round."""
    roles = {"decoder.cross_attention": "decoder.0.cross_attention"}
    teacher = {**tiny.TINY["model"], "config": {**tiny.TINY["model"]["config"], "decoder_layers": 2}}
    recipe = tiny.recipe(
        tmp_path / "roles.yaml",
        model={**tiny.TINY["model"], "roles": roles},
        teacher={**teacher, "roles": {"decoder.cross_attention": "decoder.1.cross_attention"}},
    )
    assert tiny.qrecipe("validate", recipe, "--bind").code == 0


def test_random_weights_are_of_the_seed(finished: Finished) -> None:
    def first(seed: int) -> float:
        recipe = load_recipe(finished.recipe, [f"seed={seed}"])
        model = Workspace(recipe, ("val",), lambda event: None).built.model
        return next(model.parameters()).flatten()[0].item()

    assert first(0) == first(0) != first(1)
