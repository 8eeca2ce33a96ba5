"""``qrecipe plan``: what a recipe does to its model, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..experiment.events import Listener, nobody
from ..experiment.workspace import Workspace
from ..planning import Plan
from ..recipe.definition import Recipe
from ..recipe.given import read_recipe
from ..student import make_plan


def plan(
    recipe: Recipe | Path | str,
    *,
    image_size: tuple[int, int] | None = None,
    overrides: Sequence[str] = (),
    random_weights: bool = False,
    cache: bool = True,
    listener: Listener = nobody,
) -> Plan:
    """The plan of a recipe; ``qrecipe.describe`` makes plain data of it.

    The data is read for its categories alone; where that fails, their number is made up, and that is told.

    Args:
        recipe: a file, or what ``load_recipe`` gives.
        image_size: (height, width) at which costs are counted, by default the size that the input has.
        overrides: such as ``quantize.weight.bits=3``. random_weights: leave the recipe's weights out.
        cache: whether a capture that an earlier command has kept will do, and a new one is kept.

    Raises:
        QRecipeError: the model, a rule, a role or a target does not fit.
    """
    read = read_recipe(recipe, overrides, random_weights, data=False)
    workspace = Workspace(read, ("train",), listener, placeholder=True, cache=cache)
    workspace.check_training()
    return make_plan(workspace.original, read, image_size=image_size)
