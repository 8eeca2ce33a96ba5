"""``qrecipe validate``: everything that is wrong with a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import QRecipeError
from ..recipe.definition import SPLITS, Recipe
from ..recipe.given import read_recipe
from ..recipe.paths import absent_data
from ..recipe.problems import as_data, located, problems_of
from ..recipe.tracker_table import absent_trackers

if TYPE_CHECKING:  # a recipe alone is validated without torch
    from ..experiment.events import Listener
    from ..planning import Plan


@dataclass(frozen=True)
class Validation:
    """What is wrong with a recipe. file: what was validated. plan: the student's, where it was bound and fits.
    notes: data that is not here, where it was not asked for."""

    file: str
    problems: tuple[QRecipeError, ...] = ()
    plan: Plan | None = None
    notes: tuple[str, ...] = ()

    @property
    def valid(self) -> bool:
        return not self.problems

    @property
    def warnings(self) -> tuple[str, ...]:
        return (*self.notes, *(() if self.plan is None else self.plan.warnings))

    def to_dict(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "valid": self.valid,
            "problems": [as_data(problem, self.file) for problem in self.problems],
            "warnings": list(self.warnings),
        }


def validate(
    recipe: Recipe | Path | str,
    *,
    bind: bool = False,
    data: bool = False,
    overrides: Sequence[str] = (),
    random_weights: bool = False,
    cache: bool = True,
    listener: Listener | None = None,
) -> Validation:
    """Everything that is wrong with a recipe, at once; nothing is raised.

    Args:
        recipe: a file, or what ``load_recipe`` gives.
        bind: build and capture the model too, and hold the recipe to it, as ``qrecipe.bind`` does.
        data: read and check the data of all splits too. Without it and ``bind``, data that is not here is a warning.
        overrides: such as ``train.epochs=1``. random_weights: leave the recipe's weights out.
        cache: whether a capture that an earlier command has kept will do, and a new one is kept.
    """
    file = recipe.name if isinstance(recipe, Recipe) else str(recipe)
    needed = bind or data
    try:
        read = read_recipe(recipe, overrides, random_weights, data=needed)
    except QRecipeError as error:
        return Validation(file, _all_problems(error, recipe, overrides, random_weights))
    if absent := tuple(absent_trackers(read)):
        return Validation(file, absent)
    if not needed:
        return Validation(file, notes=tuple(absent_data(read)))
    from ..experiment.events import nobody
    from ..experiment.workspace import Workspace
    from .bind import bind as bound

    plan = None
    try:
        if data:
            _ = Workspace(read, SPLITS, listener or nobody).data
        if bind:
            plan = bound(read, cache=cache, listener=listener or nobody)
    except QRecipeError as error:
        return Validation(file, tuple(located(problem, read) for problem in problems_of(error)))
    return Validation(file, plan=plan)


def _all_problems(
    error: QRecipeError, recipe: Recipe | Path | str, overrides: Sequence[str], random_weights: bool
) -> tuple[QRecipeError, ...]:
    """A recipe's problems; with others, variables that are not set are problems too, so that all come at once."""
    try:
        read_recipe(recipe, overrides, random_weights)
    except QRecipeError as whole:
        return problems_of(whole)
    return problems_of(error)
