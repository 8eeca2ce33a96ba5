"""``qrecipe validate --bind`` and ``qrecipe plan``: build and capture the model, and hold the recipe to it."""

from __future__ import annotations

from ..plan import Plan
from ..recipe.definition import Recipe
from ..student import make_plan, make_student, real_valued
from ..train.module import TrainingModule
from .workshop import Say, Workshop


def bind(recipe: Recipe, say: Say) -> Plan:
    """Compile the student and its teacher as ``apply`` would.

    Raises:
        QRecipeError: the data, the model, a rule, a role or a target does not fit.
    """
    workshop = Workshop(recipe, ("train", "val"), say)
    student = make_student(workshop.source, recipe)
    if recipe.distill.targets:
        TrainingModule(student, make_student(workshop.teacher_source, real_valued(recipe, targets=True)))
    return student.plan


def plan(recipe: Recipe, say: Say, image_size: tuple[int, int] | None = None) -> Plan:
    """The plan of a recipe, with its costs at ``image_size`` (height, width) or the size that the input has.

    The data is read for its categories alone; where that fails, their number is made up, and that is said.

    Raises:
        QRecipeError: the model, a rule, a role or a target does not fit.
    """
    workshop = Workshop(recipe, ("train",), say, placeholder=True)
    return make_plan(workshop.source, recipe, image_size=image_size)
