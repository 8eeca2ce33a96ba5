"""``qrecipe apply``: the whole walk."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from ..run.layout import RUNS
from .command import Command
from .console import narrator, say, show
from .options import add_recipe_options
from .recipe import typed_recipe


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, metavar="RECIPE")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="the run folder (default: runs/NAME)")
    parser.add_argument("--resume", action="store_true", help="continue a run that was cut off")
    add_recipe_options(parser)


def _run(arguments: argparse.Namespace, console: Console) -> None:
    recipe = typed_recipe(arguments)
    from ..commands.apply import apply
    from ..report.progress import training_display
    from ..report.tables import summary_tables

    folder = (arguments.output or recipe.output or RUNS / recipe.name).resolve()
    with training_display(console) as display:
        summary = apply(recipe, folder, listener=narrator(console, display), resume=arguments.resume)
    show(console, summary_tables(summary))
    for note in summary.notes:
        say(console, f"note: {note}")
    say(console, f"run: {folder}")


COMMAND = Command("run a recipe: calibrate, train, evaluate, keep everything in a run folder", _options, _run)
