"""Where commands print: the terminal, and what went wrong on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from rich.table import Table


class TerminalConsole(Console):
    def on_broken_pipe(self) -> None:
        """rich would leave with 1, which is for faults."""
        raise BrokenPipeError


def show(console: Console, parts: Iterable[Table | str]) -> None:
    """Tables and lines, an empty line between them."""
    for part in parts:
        console.print()
        console.print(part, highlight=False, markup=False, soft_wrap=isinstance(part, str))
    console.print()


def say(console: Console, text: str) -> None:
    """One line as it is: never wrapped, coloured or read as markup."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def sayer(console: Console) -> Callable[[str], None]:
    return lambda text: say(console, text)


def complain(problems: Sequence[object]) -> None:
    """One line on standard error for each problem."""
    for problem in problems:
        sys.stderr.write(f"error: {problem}\n")
