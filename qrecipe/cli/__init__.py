"""The command line: a row of ``COMMANDS`` for each command, one file each. The only place that prints errors and exits.

Exit codes: 0 done; 2 something that the user can mend, a line for each; 3 an exported file that departs from its
student; 128 and the signal's number where one ended it
(130 Ctrl-C, 143 SIGTERM, 129 SIGHUP, 141 nobody reads the output, as with ``| head``); 1, with a traceback, a fault of
qrecipe's own.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from .. import __version__
from ..errors import ProcessError, QRecipeError, RecipeErrors
from ..launched import is_first, processes
from ..out_of_memory import ran_out
from ..termination import Terminated, listening
from . import (
    apply,
    bench,
    compare,
    diff,
    evaluate,
    export,
    init,
    inspect,
    plan,
    predict,
    report,
    schema,
    search,
    sensitivity,
    sweep,
    validate,
)
from .command import Command
from .console import TerminalConsole, complain
from .streams import OutputError, forget_output, watched_streams

COMMANDS: dict[str, Command] = {
    "init": init.COMMAND,
    "validate": validate.COMMAND,
    "plan": plan.COMMAND,
    "inspect": inspect.COMMAND,
    "diff": diff.COMMAND,
    "apply": apply.COMMAND,
    "sweep": sweep.COMMAND,
    "evaluate": evaluate.COMMAND,
    "predict": predict.COMMAND,
    "export": export.COMMAND,
    "bench": bench.COMMAND,
    "compare": compare.COMMAND,
    "report": report.COMMAND,
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
    closed = sys.stdout is None
    with watched_streams(), _heard_if_first():
        try:
            if closed:
                raise OutputError("standard output is closed", remedy="send it somewhere: > FILE, or > /dev/null")
            return _answer(argv)
        except RecipeErrors as errors:
            _complain(errors.problems)
            return 2
        except QRecipeError as error:
            _complain([error])
            if isinstance(error, OutputError):
                forget_output()
            return 2
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                forget_output()  # nothing is left to say
                return 141
            if error.errno is None or error.filename is None:  # what a library means by it, it does not say
                raise
            _complain([f"{os.fsdecode(error.filename)}: the system refuses it: {error.strerror}"])
            return 2
        except (MemoryError, RuntimeError) as error:
            if not ran_out(error):
                raise
            _complain(["memory ran out (give it smaller batches or images, or a device with more)"])
            return 2
        except Terminated as signal:
            _complain([signal])
            return signal.code


@contextmanager
def _heard_if_first() -> Iterator[None]:
    """Of several processes that a launcher started, the first one is heard."""
    if is_first():
        yield
        return
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield


def _complain(problems: Sequence[object]) -> None:
    """On standard error; of several processes the first one says it, also what ended another."""
    first = is_first()
    if first:
        complain(problems)
    if processes() == 1 or "torch" not in sys.modules:
        return
    from ..processes import leave_word, say_so, wait_for_first

    if first:
        say_so()
    elif any(isinstance(problem, Terminated) for problem in problems):
        wait_for_first()
    elif not any(isinstance(problem, ProcessError) for problem in problems):
        leave_word("\n".join(map(str, problems)))


def _answer(argv: Sequence[str] | None) -> int:
    """The exit code of a command that goes through, its output flushed: Python's exit would not tell of a failure."""
    try:
        arguments = parser().parse_args(argv)
        _calm()
        _share_the_cores()
        with listening():
            return COMMANDS[arguments.command].run(arguments, TerminalConsole()) or 0
    finally:
        sys.stdout.flush()


def _share_the_cores() -> None:
    """Before torch is imported: its OpenMP threads (GNU's, as in Linux wheels) turn 10,000 times while they wait for
    each other, not 300,000, before they sleep. docs/performance.md has what it is worth beside another process."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def _calm() -> None:
    """Keep other libraries' notices out of the user's terminal, errors still show; a width that is none is absent."""
    for name in ("COLUMNS", "LINES"):  # rich would take 0 for a width in which nothing can be shown
        if not re.fullmatch("[1-9][0-9]{0,4}", os.environ.get(name, "1")):
            del os.environ[name]
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", module=r"(torch|transformers|accelerate)\b")
    logging.getLogger("accelerate").setLevel(logging.ERROR)
