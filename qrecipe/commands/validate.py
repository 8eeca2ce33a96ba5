"""``qrecipe validate``: reads recipes without building anything; with ``--bind``, builds and captures the model too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..plan import Plan
from ..recipe import load_recipe
from ..recipe.definition import Recipe
from ..student import make_plan, make_student, real_valued
from ..train.module import TrainingModule
from .workshop import Say, Workshop


def validate(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Raises: RecipeErrors: everything that is wrong with the text, each error at its place."""
    return load_recipe(path, tuple(overrides))


def bind(recipe: Recipe, say: Say, random_weights: bool = False) -> Plan:
    """Build and capture the model, plan it, and hold the teacher against it.

    Raises:
        QRecipeError: the data, the model, a rule, a role or a target does not fit.
    """
    workshop = Workshop(recipe, ("train", "val"), say, random_weights)
    student = make_student(workshop.source, recipe)
    if recipe.distill.targets:
        TrainingModule(student, make_student(workshop.teacher_source, real_valued(recipe, targets=True)))
    return student.plan


def plan(
    recipe: Recipe, say: Say, *, random_weights: bool = False, image_size: tuple[int, int] | None = None
) -> Plan:
    """The plan of a recipe, with its costs at ``image_size`` (height, width) or the size that the input has.

    Raises:
        QRecipeError: the model, a rule, a role or a target does not fit.
    """
    workshop = Workshop(recipe, ("train",), say, random_weights)
    return make_plan(workshop.source, recipe, image_size=image_size)

