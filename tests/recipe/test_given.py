"""A recipe as a command is given it."""

from __future__ import annotations

from pathlib import Path

import pytest

from qrecipe.errors import RecipeErrors
from qrecipe.recipe import load_recipe, recipe_from_mapping
from qrecipe.recipe.given import read_recipe, without_weights

TEXT = "version: 1\nmodel: {architecture: demo, weights: {builtin: demo}}\n"


def test_a_file_and_a_recipe_are_read_alike(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(TEXT)
    recipe = load_recipe(file)
    assert read_recipe(recipe) is recipe
    for given in (file, str(file), recipe):
        read = read_recipe(given, ["seed=3"], random_weights=True)
        assert (read.seed, read.model.weights, read.name) == (3, None, "mine")
        with pytest.raises(RecipeErrors, match="sead: unknown key"):
            read_recipe(given, ["sead=3"])
    assert recipe.seed == 0


def test_without_weights_is_the_recipe_without_them() -> None:
    model = {"architecture": "demo", "weights": {"builtin": "demo"}}
    data = {"version": 1, "model": model, "teacher": model}
    plain = without_weights(recipe_from_mapping(data))
    assert plain == recipe_from_mapping(
        {"version": 1, "model": {"architecture": "demo"}, "teacher": {"architecture": "demo"}}
    )
    assert recipe_from_mapping(plain.resolved) == plain
    assert "weights" in recipe_from_mapping(data).resolved["model"]
