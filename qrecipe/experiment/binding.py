"""Holding a recipe to its models, before anything is spent on a run."""

from __future__ import annotations

import dataclasses

from ..errors import PlanErrors, QRecipeError
from ..planning import Plan, WhichModel
from ..recipe.definition import Recipe
from ..student import Original, Student, make_student, real_valued
from ..train.module import TrainingModule
from ..train.rehearsal import rehearse
from .events import Noted
from .workspace import Workspace


def bound(workspace: Workspace) -> Plan:
    """Compile the student and its teacher as a run would, and take one training step on noise; the student's plan.

    Raises:
        PlanErrors: rules, roles and targets that do not fit the student or the teacher, all of them.
        QRecipeError: the data or a model cannot be used, or its predictions are not finite.
    """
    workspace.check_training()
    recipe = workspace.recipe
    problems: list[QRecipeError] = []
    teacher = None
    student = _made(workspace.original, recipe, "model", problems)
    if recipe.distill.targets or (recipe.teacher is not None and recipe.teacher.roles):
        teacher = _made(workspace.teacher_original, real_valued(recipe, targets=True), "teacher", problems)
    if problems:
        raise PlanErrors(list({str(problem): problem for problem in problems}.values()))
    assert student is not None
    module = TrainingModule(student, teacher)
    if recipe.train.epochs:
        for note in rehearse(module, min(2, recipe.train.batch_size)).notes():
            workspace.listener(Noted("training", note))
    return student.plan


def same_model(a: Recipe, b: Recipe) -> bool:
    """Whether two recipes build a model of the same structure, for the same input and categories."""
    parts = [
        (dataclasses.replace(recipe.model, roles={}), recipe.train.loss, recipe.data.format, recipe.data.train)
        for recipe in (a, b)
    ]
    return parts[0] == parts[1]


def _made(original: Original, recipe: Recipe, part: WhichModel, problems: list[QRecipeError]) -> Student | None:
    """One of the two; None where it does not fit, which ``problems`` is told."""
    try:
        return make_student(original, recipe, part=part)
    except PlanErrors as found:
        problems += found.problems
        return None
