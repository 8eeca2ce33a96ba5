"""``qrecipe sweep``: what is varied in a recipe, run by run."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from .answer import answering
from .command import Command
from .console import complain, say, show
from .options import add_recipe_options, count

if TYPE_CHECKING:
    from .. import Swept
    from ..experiment.events import Listener


def _options(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Exits with 2 where a run failed; the others are carried out, and the same command tries it again."
    parser.add_argument("sweep", type=Path, metavar="SWEEP", help="a sweep file")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="of all runs (default: runs/NAME)")
    parser.add_argument("--dry-run", action="store_true", help="show the runs, their states and how long they may take")
    text = "this one alone, by its number from 1 or its name: for a job of an array"
    parser.add_argument("--run", metavar="I", help=text)
    text = "so many runs at a time, each in a process with its share of the cores (default: 1)"
    parser.add_argument("--jobs", type=count, default=1, metavar="N", help=text)
    parser.add_argument("--json", action="store_true", help="runs and results as JSON, and nothing else")
    add_recipe_options(parser)


def _find(arguments: argparse.Namespace, listener: Listener) -> Swept:
    from ..recipe.sweep_file import read_sweep

    read_sweep(arguments.sweep)  # what is wrong with it is said before anything heavy is imported
    from ..commands.sweep import sweep

    return sweep(
        arguments.sweep,
        arguments.output,
        dry_run=arguments.dry_run,
        run=arguments.run,
        jobs=arguments.jobs,
        overrides=arguments.set,
        random_weights=arguments.random_weights,
        listener=listener,
    )


def _tell(found: Swept, arguments: argparse.Namespace, console: Console) -> None:
    from ..report.sweep import rest_text, results_table, runs_table

    show(console, runs_table(found.runs) if arguments.dry_run else results_table(found.runs))
    say(console, rest_text(found.runs, found.left, arguments.jobs))
    say(console, f"runs: {found.folder}")


def _code(found: Swept) -> int | None:
    from ..report.sweep import failures_text

    if not found.failed:
        return None
    complain([failures_text(found.failed)])
    return 2


def _display(console: Console) -> AbstractContextManager[Listener]:
    from ..report.progress import training_display

    return training_display(console)


COMMAND = Command(
    "run a recipe with everything that a sweep file varies in it, and every seed",
    _options,
    answering(_find, _tell, _display, _code),
)
