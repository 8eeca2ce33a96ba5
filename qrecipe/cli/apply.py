"""``qrecipe apply``: the whole walk."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from ..recipe.given import read_recipe
from .command import Command
from .console import narrator, say, show
from .options import add_recipe_options


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, metavar="RECIPE")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="the run folder (default: runs/NAME)")
    parser.add_argument("--resume", action="store_true", help="continue a run that was cut off")
    add_recipe_options(parser)


def _run(arguments: argparse.Namespace, console: Console) -> None:
    recipe = read_recipe(arguments.recipe, arguments.set, arguments.random_weights)
    from ..commands.apply import apply
    from ..report.progress import training_display
    from ..report.tables import summary_tables

    with training_display(console) as display:
        applied = apply(recipe, arguments.output, resume=arguments.resume, listener=narrator(console, display))
    show(console, summary_tables(applied.summary))
    for note in applied.summary.notes:
        say(console, f"note: {note}")
    say(console, f"run: {applied.folder}")


COMMAND = Command("run a recipe: calibrate, train, evaluate, keep everything in a run folder", _options, _run)
