"""``apply --limit N --epochs N``: a few images and epochs, and nobody takes it for the real figure."""

from __future__ import annotations

import json
from pathlib import Path

import qrecipe
from tests import tiny_commands as tiny

STAGES = {"stages": [{"name": "first", "epochs": 5, "quantize": ["backbone"]}, {"name": "all", "epochs": 3}]}


def test_it_is_short_and_marked(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path / "tiny.yaml", train={**STAGES, "batch_size": 2, "optimizer": {"lr": 1e-3}})
    folder = tmp_path / "run"
    words = ("apply", recipe, "--output", folder)
    out = tiny.qrecipe(*words, "--limit", 4, "--epochs", 1).fine
    for text in (
        "data: train has 4 images",
        "data: test has 4 images",
        "student: training for 2 epochs of 2 steps",
        "tiny: test split (SMOKE TEST)",
        "note: a smoke test, of the first 4 images of each split and at most 1 epoch of a stage: "
        "these are not the recipe's figures",
    ):
        assert text in out
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["smoke_test"] is True
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["smoke_test"]) for line in lines] == [("first", True), ("all", True)]
    assert qrecipe.apply(recipe, folder, limit=4, epochs=1).summary.smoke_test
    error = tiny.qrecipe(*words, "--resume", "--limit", 5).error
    assert "data.limit: 4 in the run, 5 now" in error
    assert "train.limit: 1 in the run, absent now" in error


def test_a_whole_run_is_not_marked(tmp_path: Path) -> None:
    loaded = qrecipe.load_recipe(tiny.recipe(tmp_path / "tiny.yaml"))
    assert loaded.limits == ()
    cut = qrecipe.load_recipe(tiny.recipe(tmp_path / "tiny.yaml", train=STAGES), ("train.limit=4", "data.limit=1"))
    assert [stage.epochs for stage in cut.train.stages] == [4, 3]
    assert cut.limits == ("the first 1 image of each split", "at most 4 epochs of a stage")
    assert tiny.qrecipe("apply", tmp_path / "tiny.yaml", "--limit", 0).code == 2
