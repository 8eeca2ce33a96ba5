"""The command line: a row of ``COMMANDS`` for each command, one file each. The only place that prints errors and exits.

Exit codes: 0 done; 2 something that the user can mend, a line for each; 130 interrupted; 141 nobody reads the output
(``| head``); 1, with a traceback, a fault of qrecipe's own.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Sequence

from .. import __version__
from ..errors import QRecipeError, RecipeErrors
from . import apply, diff, evaluate, init, inspect, plan, predict, schema, search, sensitivity, validate
from .command import Command
from .console import TerminalConsole, complain

COMMANDS: dict[str, Command] = {
    "init": init.COMMAND,
    "validate": validate.COMMAND,
    "plan": plan.COMMAND,
    "inspect": inspect.COMMAND,
    "diff": diff.COMMAND,
    "apply": apply.COMMAND,
    "evaluate": evaluate.COMMAND,
    "predict": predict.COMMAND,
    "sensitivity": sensitivity.COMMAND,
    "search": search.COMMAND,
    "schema": schema.COMMAND,
}


def parser() -> argparse.ArgumentParser:
    """Everything that can be typed. The parsed ``command`` is the command's name."""
    root = argparse.ArgumentParser(
        prog="qrecipe", description="Compile a detection transformer into a quantized, distilled student from a recipe."
    )
    root.add_argument("--version", action="version", version=f"qrecipe {__version__}")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        text = command.text
        command.options(commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}."))
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = parser().parse_args(argv)
    _calm()
    console = TerminalConsole()
    try:
        return COMMANDS[arguments.command].run(arguments, console) or 0
    except RecipeErrors as errors:
        complain(errors.problems)
        return 2
    except QRecipeError as error:
        complain([error])
        return 2
    except KeyboardInterrupt:
        remedy = " (continue the run with --resume)" if arguments.command == "apply" else ""
        complain([f"interrupted{remedy}"])
        return 130
    except BrokenPipeError:
        # Nothing is left to say; without this Python would complain when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _calm() -> None:
    """Keep other libraries' notices out of the user's terminal; errors still show."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", module=r"(torch|transformers|accelerate)\b")
    logging.getLogger("accelerate").setLevel(logging.ERROR)
