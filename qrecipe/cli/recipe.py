"""The recipe that a command names, with the overrides typed beside it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..recipe.definition import Recipe


def typed_recipe(arguments: argparse.Namespace, path: Path | None = None, *, data: bool = True) -> Recipe:
    """Read ``arguments.recipe`` (or ``path``) with ``--set``, without its weights under ``--random-weights``.

    data: whether the command cannot do without the data, as in ``load_recipe``.

    Raises:
        RecipeErrors: everything that is wrong with it.
    """
    from ..recipe import load_recipe

    recipe = load_recipe(path or arguments.recipe, arguments.set, data=data)
    if not arguments.random_weights:
        return recipe
    from ..experiment.workspace import without_weights

    return without_weights(recipe)
