"""Problems with a recipe: where in it they stand, and what they are as data for machines."""

from __future__ import annotations

from typing import Any

from ..errors import QRecipeError, RecipeErrors
from .definition import Mark, Recipe, Spot, dotted


def problems_of(error: QRecipeError) -> tuple[QRecipeError, ...]:
    """The problems that an error holds: its own, or all of a recipe's."""
    return tuple(error.problems) if isinstance(error, RecipeErrors) else (error,)


def located(problem: QRecipeError, recipe: Recipe) -> QRecipeError:
    """Give a problem that names a key of the recipe the place where that key stands. Mutates the problem."""
    if isinstance(problem.where, str) and not isinstance(problem.where, Spot):
        for path in recipe.marks:
            if path and dotted(path) == problem.where:
                problem.where = recipe.where(path)
                break
    return problem


def mark_of(problem: object) -> Mark | None:
    """Where a problem stands in a recipe, if it says so."""
    where = getattr(problem, "where", None)
    return where.mark if isinstance(where, Spot) else None


def as_data(problem: QRecipeError, file: str) -> dict[str, Any]:
    """A problem as ``--json`` gives it: file, line, column, path, what, remedy; null for what it does not have.

    file: the recipe that was asked for, named where the problem stands in none.
    """
    mark = mark_of(problem)
    path = problem.where.path if isinstance(problem.where, Spot) else None
    elsewhere = problem.where if path is None and mark is None and problem.where != file else None
    return {
        "file": mark.file if mark else file,
        "line": mark.line if mark else None,
        "column": mark.column if mark else None,
        "path": None if path is None else dotted(path),
        "what": f"{elsewhere}: {problem.what}" if elsewhere else problem.what,
        "remedy": problem.remedy,
    }
