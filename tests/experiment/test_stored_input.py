"""What a run was made with stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qrecipe.experiment.stored_input import with_input_of_run
from qrecipe.recipe import recipe_from_mapping
from qrecipe.recipe.definition import InputSpec
from qrecipe.run.checkpoint import Checkpoint, save_checkpoint

MODEL = {"architecture": "detr", "weights": {"hub": "me/mine"}, "input": {"size": 96}}
RECIPE = recipe_from_mapping({"version": 1, "model": MODEL})


def checkpoint(folder: Path, values: Any) -> None:
    save_checkpoint(folder, Checkpoint(weights={}, extra={"input": values}))


def test_a_run_of_before_keeps_its_input(tmp_path: Path) -> None:
    old = {"size": [64, 64], "shortest": None, "longest": None, "mean": None, "std": None, "mask": False}
    checkpoint(tmp_path / "calibrated", old)
    made = with_input_of_run(RECIPE, tmp_path)
    # Values in 0..1, whatever is stored beside the weights by now.
    assert made.model.input == InputSpec(size=(64, 64), mean=(0, 0, 0), std=(1, 1, 1), mask=False)
    assert made.resolved == RECIPE.resolved
    checkpoint(tmp_path / "student", {**old, "size": None, "shortest": 32, "longest": 48, "std": [0.5, 0.5, 0.5]})
    made = with_input_of_run(RECIPE, tmp_path)
    assert (made.model.input.size, made.model.input.shortest, made.model.input.longest) == (None, 32, 48)
    assert made.model.input.std == (0.5, 0.5, 0.5)


def test_weights_beside_which_nothing_is_stored(tmp_path: Path) -> None:
    checkpoint(tmp_path / "student", {"size": [64, 64]})
    own = recipe_from_mapping({"version": 1, "model": {"architecture": "demo", "weights": {"builtin": "demo"}}})
    assert with_input_of_run(own, tmp_path) is own


def test_a_run_without_a_checkpoint_is_its_recipe(tmp_path: Path) -> None:
    assert with_input_of_run(RECIPE, tmp_path) is RECIPE
