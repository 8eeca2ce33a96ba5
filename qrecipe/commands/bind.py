"""``qrecipe validate --bind``: build and capture the model, and hold the recipe to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..experiment.binding import bound
from ..experiment.events import Listener, nobody
from ..experiment.workspace import Workspace
from ..planning import Plan
from ..recipe.definition import Recipe
from ..recipe.given import read_recipe


def bind(
    recipe: Recipe | Path | str,
    *,
    overrides: Sequence[str] = (),
    random_weights: bool = False,
    cache: bool = True,
    listener: Listener = nobody,
) -> Plan:
    """Compile the student and its teacher as ``apply`` would, and take one training step on noise; the student's plan.

    Args:
        recipe: a file, or what ``load_recipe`` gives.
        overrides: such as ``train.epochs=1``. random_weights: leave the recipe's weights out.
        cache: whether a capture that an earlier command has kept will do, and a new one is kept.

    Raises:
        PlanErrors: rules, roles and targets that do not fit the student or the teacher, all of them.
        QRecipeError: the data or a model cannot be used, or its predictions are not finite.
    """
    return bound(Workspace(read_recipe(recipe, overrides, random_weights), ("train", "val"), listener, cache=cache))
