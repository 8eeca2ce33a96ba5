"""A recipe as a command is given it: a file or one that is read already, with what is said beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from .definition import Recipe
from .load import load_recipe, recipe_from_mapping


def read_recipe(
    recipe: Recipe | Path | str, overrides: Sequence[str] = (), random_weights: bool = False, *, data: bool = True
) -> Recipe:
    """A recipe from its file, or one that is there already.

    Args:
        overrides: as ``load_recipe`` takes them. random_weights: leave the recipe's weights out.
        data: whether a recipe's data will be read, as in ``load_recipe``.

    Raises:
        RecipeErrors: everything that is wrong with it.
    """
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe, tuple(overrides), data=data)
    elif overrides:
        recipe = recipe_from_mapping(recipe.resolved, recipe.name, overrides=overrides)
    return without_weights(recipe) if random_weights else recipe


def smoke_test(limit: int | None, epochs: int | None) -> list[str]:
    """The overrides of a smoke test: the first so many images of each split, at most so many epochs of each stage."""
    given = {"data.limit": limit, "train.limit": epochs}
    return [f"{key}={value}" for key, value in given.items() if value is not None]


def without_weights(recipe: Recipe) -> Recipe:
    """The recipe as if it named no weights, in its ``resolved`` too: what ``--random-weights`` asks for."""
    resolved = dict(recipe.resolved)
    for key in ("model", "teacher"):
        if isinstance(resolved.get(key), Mapping):
            resolved[key] = {name: value for name, value in resolved[key].items() if name != "weights"}
    teacher = None if recipe.teacher is None else dataclasses.replace(recipe.teacher, weights=None)
    model = dataclasses.replace(recipe.model, weights=None)
    return dataclasses.replace(recipe, model=model, teacher=teacher, resolved=resolved)
