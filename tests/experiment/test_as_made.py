"""What a run was made with stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qrecipe.experiment.as_made import as_made
from qrecipe.recipe import recipe_from_mapping
from qrecipe.recipe.definition import InputSpec
from qrecipe.run.checkpoint import Checkpoint, save_checkpoint

RECIPE = recipe_from_mapping({"version": 1, "model": {"architecture": "demo", "input": {"size": 96}}})


def checkpoint(folder: Path, values: Any) -> None:
    save_checkpoint(folder, Checkpoint(weights={}, extra={"input": values}))


def test_a_run_of_before_keeps_its_input(tmp_path: Path) -> None:
    old = {"size": [64, 64], "shortest": None, "longest": None, "mean": None, "std": None, "mask": False}
    checkpoint(tmp_path / "calibrated", old)
    made = as_made(RECIPE, tmp_path)
    # Values in 0..1, whatever is stored beside the weights by now.
    assert made.model.input == InputSpec(size=(64, 64), mean=(0, 0, 0), std=(1, 1, 1), mask=False)
    assert made.source == RECIPE.source
    checkpoint(tmp_path / "student", {**old, "size": None, "shortest": 32, "longest": 48, "std": [0.5, 0.5, 0.5]})
    made = as_made(RECIPE, tmp_path)
    assert (made.model.input.size, made.model.input.shortest, made.model.input.longest) == (None, 32, 48)
    assert made.model.input.std == (0.5, 0.5, 0.5)


def test_a_run_without_a_checkpoint_is_its_recipe(tmp_path: Path) -> None:
    assert as_made(RECIPE, tmp_path) is RECIPE
