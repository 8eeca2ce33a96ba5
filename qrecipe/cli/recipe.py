"""The recipe that a command names, with the overrides typed beside it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..recipe.definition import Recipe


def typed_recipe(arguments: argparse.Namespace, path: Path | None = None) -> Recipe:
    """Read ``arguments.recipe`` (or ``path``) with ``--set``, without its weights under ``--random-weights``.

    Raises:
        RecipeErrors: everything that is wrong with it.
    """
    from ..recipe import load_recipe

    recipe = load_recipe(path or arguments.recipe, arguments.set)
    if not arguments.random_weights:
        return recipe
    from ..commands.workshop import without_weights

    return without_weights(recipe)
