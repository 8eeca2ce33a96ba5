"""A problem as a terminal shows it: its line, and its source with a caret."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from ..errors import QRecipeError
from ..plain_text import bounded, printable
from ..recipe.problems import mark_of
from .excerpt import SHORTEST, excerpt

INDENT = 5
"""Cells before the further lines of a message that does not fit into one."""


def pictured(problem: object, console: Console) -> Iterator[Text]:
    """A problem for a terminal: its line as everywhere, coloured, and below it the source with a caret."""
    line = Text.assemble(("error: ", "bold red"))
    if isinstance(problem, QRecipeError):
        where = f"{problem.where}: " if problem.where else ""
        line.append(_plain(where), style="bold")
        line.append(_plain(problem.what))
        line.append(_plain(f" ({problem.remedy})" if problem.remedy else ""), style="green")
    else:
        line.append(_plain(str(problem)))
    first, *rest = line.wrap(console, max(SHORTEST, console.width - INDENT), overflow="fold")
    yield first
    for further in rest:
        yield Text(" " * INDENT) + further
    mark = mark_of(problem)
    if mark is not None:
        yield from excerpt(mark, console.width)


def _plain(text: str) -> str:
    return bounded(printable(text, keep="\n"))
