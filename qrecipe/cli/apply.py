"""``qrecipe apply``: the whole walk."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from ..errors import RunError
from ..recipe.given import read_recipe
from .command import Command
from .console import narrator, say, show
from .options import add_recipe_options


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, metavar="RECIPE")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="the run folder (default: runs/NAME)")
    parser.add_argument("--resume", action="store_true", help="continue a run that was cut off")
    text = "with --resume: go on although annotations, images or weights are not those that the run was started with"
    parser.add_argument("--accept-changes", action="store_true", help=text)
    text = "know images by their content, not by size and time of their files (reads all of them)"
    parser.add_argument("--hash-images", action="store_true", help=text)
    add_recipe_options(parser)


def _run(arguments: argparse.Namespace, console: Console) -> None:
    if arguments.accept_changes and not arguments.resume:
        raise RunError("a run that begins has no changes to accept", where="--accept-changes", remedy="add --resume")
    recipe = read_recipe(arguments.recipe, arguments.set, arguments.random_weights)
    from ..commands.apply import apply
    from ..report.progress import training_display
    from ..report.tables import summary_tables

    with training_display(console) as display:
        applied = apply(
            recipe,
            arguments.output,
            resume=arguments.resume,
            accept_changes=arguments.accept_changes,
            hash_images=arguments.hash_images,
            listener=narrator(console, display),
        )
    show(console, summary_tables(applied.summary))
    for note in applied.summary.notes:
        say(console, f"note: {note}")
    say(console, f"run: {applied.folder}")


COMMAND = Command("run a recipe: calibrate, train, evaluate, keep everything in a run folder", _options, _run)
