"""Where commands print: the terminal, and what went wrong on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from ..plain_text import bounded, printable

if TYPE_CHECKING:
    from rich.table import Table

    from ..experiment.events import Event, Listener


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
    """One line as it is, its control characters written out: never wrapped, coloured or read as markup."""
    console.print(bounded(printable(text, keep="\n")), highlight=False, markup=False, soft_wrap=True)


def narrator(console: Console, *others: Listener) -> Listener:
    """A listener that says the lines of every event, and then hands it to the others. Light until the first."""

    def listen(event: Event) -> None:
        from ..report.lines import lines_of

        for line in lines_of(event):
            say(console, line)
        for other in others:
            other(event)

    return listen


def noticing() -> Listener:
    """A listener that says what a user should know in any case, on standard error; nothing of how far it is.

    In a sweep, which run it is of is said before the first notice of a run.
    """
    heading: list[str] = []

    def listen(event: Event) -> None:
        from ..experiment.events import Noted
        from ..report.lines import lines_of, notices_of

        lines = list(notices_of(event))
        if isinstance(event, Noted) and event.topic == "sweep":
            heading[:] = [] if lines else lines_of(event)
        elif lines:
            lines = [*heading, *lines]
            heading.clear()
        for line in lines:
            say(TerminalConsole(stderr=True), line)

    return listen


def complain(problems: Sequence[object]) -> None:
    """Each problem on standard error, each text once: a line, and in a terminal the source that it points at too."""
    console = TerminalConsole(stderr=True)
    unique = list({str(problem): problem for problem in problems}.values())
    if not console.is_terminal:
        for problem in unique:
            sys.stderr.write(bounded(printable(f"error: {problem}\n", keep="\n")))
        return
    from .problems import pictured

    for problem in unique:
        for line in pictured(problem, console):
            console.print(line, overflow="fold", highlight=False)
    if len(unique) > 2:
        console.print(f"{len(unique)} problems", style="bold", highlight=False)


def warn(warnings: Iterable[str]) -> None:
    """A line on standard error for each warning, each text once."""
    console = TerminalConsole(stderr=True)
    for text in dict.fromkeys(bounded(printable(warning, keep="\n")) for warning in warnings):
        if console.is_terminal:
            console.print(Text.assemble(("warning: ", "bold yellow"), text), overflow="fold", highlight=False)
        else:
            sys.stderr.write(f"warning: {text}\n")
