"""A problem as a terminal shows it: its line, and its source with a caret."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from ..errors import QRecipeError
from ..plain_text import printable
from ..recipe.problems import mark_of
from .excerpt import SHORTEST, excerpt

INDENT = 5
"""Cells before the further lines of a message that does not fit into one."""


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
