"""How a command answers: events while it works, notices alone with ``--quiet``; then its outcome, or that as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from rich.console import Console

from .console import TerminalConsole, narrator, noticing

if TYPE_CHECKING:
    from ..experiment.events import Event, Listener


class Outcome(Protocol):
    """What a command's function returns."""

    def to_dict(self) -> dict[str, Any]: ...


Of = TypeVar("Of")
OutcomeT = TypeVar("OutcomeT", bound=Outcome)


def narrated(arguments: argparse.Namespace, console: Console, *others: Listener) -> Listener:
    """Says events on the console and hands them to the others; with ``--json`` it says them on standard error, where
    others are left out, with ``--quiet`` only notes and warnings, there too."""
    if getattr(arguments, "quiet", False):
        return noticing()
    return narrator(TerminalConsole(stderr=True)) if wants_json(arguments) else narrator(console, *others)


def wants_json(arguments: argparse.Namespace) -> bool:
    return bool(getattr(arguments, "json", False))


def write_as_json(data: object) -> None:
    sys.stdout.write(json.dumps(data, indent=1) + "\n")


def answering(
    find: Callable[[argparse.Namespace, Listener], OutcomeT],
    tell: Callable[[OutcomeT, argparse.Namespace, Console], None],
    display: Callable[[Console], AbstractContextManager[Listener]] | None = None,
    code: Callable[[OutcomeT], int | None] | None = None,
) -> Callable[[argparse.Namespace, Console], int | None]:
    """A command that calls its function and tells what it found; with ``--json``, ``to_dict()`` of it.

    Args:
        find: calls the function. tell: for people. display: shows more while it works, but for JSON.
            code: the exit code of what was found.
    """
    return answering_with(find, tell, lambda found, arguments: found.to_dict(), display, code)


def answering_with(
    find: Callable[[argparse.Namespace, Listener], Of],
    tell: Callable[[Of, argparse.Namespace, Console], None],
    data: Callable[[Of, argparse.Namespace], object],
    display: Callable[[Console], AbstractContextManager[Listener]] | None = None,
    code: Callable[[Of], int | None] | None = None,
) -> Callable[[argparse.Namespace, Console], int | None]:
    """The same where JSON has something else than ``to_dict()``."""

    def run(arguments: argparse.Namespace, console: Console) -> int | None:
        with ExitStack() as stack:
            shown: list[Listener] = []

            def show(event: Event) -> None:
                if display is not None and not shown:  # at the first: what a recipe has wrong is said before imports
                    shown.append(stack.enter_context(display(console)))
                for listener in shown:
                    listener(event)

            found = find(arguments, narrated(arguments, console, show))
        if wants_json(arguments):
            write_as_json(data(found, arguments))
        else:
            tell(found, arguments, console)
        return None if code is None else code(found)

    return run
