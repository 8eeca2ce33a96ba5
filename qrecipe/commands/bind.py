"""``qrecipe validate --bind`` and ``qrecipe plan``: build and capture the model, and hold the recipe to it."""

from __future__ import annotations

from ..errors import PlanErrors, QRecipeError
from ..experiment.events import Listener
from ..experiment.workspace import Workspace
from ..plan import Plan, WhichModel
from ..recipe.definition import Recipe
from ..student import Source, Student, make_plan, make_student, real_valued
from ..train.module import TrainingModule
from ..train.rehearsal import rehearse


def bind(recipe: Recipe, listener: Listener) -> Plan:
    """Compile the student and its teacher as ``apply`` would, and take one training step on noise; the student's plan.

    Raises:
        PlanErrors: rules, roles and targets that do not fit the student or the teacher, all of them.
        QRecipeError: the data or a model cannot be used, or its predictions are not finite.
    """
    return bound(Workspace(recipe, ("train", "val"), listener))


def bound(workspace: Workspace) -> Plan:
    """The same with models that are captured already.

    Raises:
        QRecipeError: as ``bind``.
    """
    workspace.check_training()
    recipe = workspace.recipe
    problems: list[QRecipeError] = []
    teacher = None
    student = _made(workspace.source, recipe, "model", problems)
    if recipe.distill.targets or (recipe.teacher is not None and recipe.teacher.roles):
        teacher = _made(workspace.teacher_source, real_valued(recipe, targets=True), "teacher", problems)
    if problems:
        raise PlanErrors(list({str(problem): problem for problem in problems}.values()))
    assert student is not None
    module = TrainingModule(student, teacher)
    if recipe.train.epochs:
        rehearse(module, min(2, recipe.train.batch_size))
    return student.plan


def _made(source: Source, recipe: Recipe, part: WhichModel, problems: list[QRecipeError]) -> Student | None:
    """One of the two; None where it does not fit, which ``problems`` is told."""
    try:
        return make_student(source, recipe, part=part)
    except PlanErrors as found:
        problems += found.problems
        return None


def plan(recipe: Recipe, listener: Listener, image_size: tuple[int, int] | None = None) -> Plan:
    """The plan of a recipe, with its costs at ``image_size`` (height, width) or the size that the input has.

    The data is read for its categories alone; where that fails, their number is made up, and that is said.

    Raises:
        QRecipeError: the model, a rule, a role or a target does not fit.
    """
    workspace = Workspace(recipe, ("train",), listener, placeholder=True)
    workspace.check_training()
    return make_plan(workspace.source, recipe, image_size=image_size)
