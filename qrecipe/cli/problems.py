"""Problems as lines: plain ones where nobody watches, with their source in a terminal, and as data for machines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.text import Text

from ..errors import QRecipeError, RecipeErrors
from ..plain_text import printable
from ..recipe.definition import Mark, Recipe, Spot, dotted
from .excerpt import SHORTEST, excerpt

INDENT = 5
"""Cells before the further lines of a message that does not fit into one."""


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


def pictured(problem: object, console: Console) -> Iterator[Text]:
    """A problem for a terminal: its line as everywhere, coloured, and below it the source with a caret."""
    line = Text.assemble(("error: ", "bold red"))
    if isinstance(problem, QRecipeError):
        where = f"{problem.where}: " if problem.where else ""
        line.append(printable(where, keep="\n"), style="bold")
        line.append(printable(problem.what, keep="\n"))
        line.append(printable(f" ({problem.remedy})" if problem.remedy else "", keep="\n"), style="green")
    else:
        line.append(printable(str(problem), keep="\n"))
    first, *rest = line.wrap(console, max(SHORTEST, console.width - INDENT), overflow="fold")
    yield first
    for further in rest:
        yield Text(" " * INDENT) + further
    mark = mark_of(problem)
    if mark is not None:
        yield from excerpt(mark, console.width)
