"""Where a recipe does not fit its model: all of it at once, and what is seen before the model is analysed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import PlanError, PlanErrors, QRecipeError
from ..graph.captured import Captured
from ..recipe.definition import Recipe, Spot
from ..structure.roles import override_problems
from .rules import pattern_problems


def check(captured: Captured, recipe: Recipe, roles: Mapping[str, str], part: str) -> None:
    """Stop at patterns that are no regular expressions, and at roles of a recipe that name no module.

    Args:
        roles: the recipe's ``model.roles``, or ``teacher.roles``. part: ``model`` or ``teacher``.

    Raises:
        PlanErrors: all of them, each at its place.
    """
    problems = [
        PlanError(problem.what, where=recipe.where((part, "roles", role)), remedy=problem.remedy)
        for role, problem in override_problems(captured, roles).items()
    ]
    stop_at([*pattern_problems(recipe), *problems])


def stop_at(problems: Sequence[PlanError]) -> None:
    """Raise them, those of one file from its top to its bottom. Raises: PlanErrors."""
    if problems:
        raise PlanErrors(sorted(problems, key=_line))


def _line(problem: QRecipeError) -> tuple[str, int, int]:
    mark = problem.where.mark if isinstance(problem.where, Spot) else None
    return ("", 0, 0) if mark is None else (mark.file, mark.line, mark.column)
