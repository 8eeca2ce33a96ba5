"""``qrecipe apply``: the whole walk."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ..errors import RunError
from ..recipe.given import read_recipe, smoke_test
from .answer import answering
from .command import Command
from .console import say, show
from .options import add_recipe_options, count

if TYPE_CHECKING:
    from .. import Applied
    from ..experiment.events import Listener


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, metavar="RECIPE")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="the run folder (default: runs/NAME)")
    parser.add_argument("--resume", action="store_true", help="continue a run that was cut off")
    text = "with --resume: go on although annotations, images or weights are not those that the run was started with"
    parser.add_argument("--accept-changes", action="store_true", help=text)
    text = "know images by their content, not by size and time of their files (reads all of them)"
    parser.add_argument("--hash-images", action="store_true", help=text)
    text = "a smoke test of the first N images of each split: --set data.limit=N"
    parser.add_argument("--limit", type=count, metavar="N", help=text)
    text = "a smoke test of at most N epochs of each stage: --set train.limit=N"
    parser.add_argument("--epochs", type=count, metavar="N", help=text)
    text = "the folder and the summary as JSON, and nothing else on standard output"
    parser.add_argument("--json", action="store_true", help=text)
    add_recipe_options(parser)


def _find(arguments: argparse.Namespace, listener: Listener) -> Applied:
    if arguments.accept_changes and not arguments.resume:
        raise RunError("a run that begins has no changes to accept", where="--accept-changes", remedy="add --resume")
    overrides = [*arguments.set, *smoke_test(arguments.limit, arguments.epochs)]
    recipe = read_recipe(arguments.recipe, overrides, arguments.random_weights)
    from ..commands.apply import apply

    return apply(
        recipe,
        arguments.output,
        resume=arguments.resume,
        accept_changes=arguments.accept_changes,
        hash_images=arguments.hash_images,
        cache=arguments.cache,
        listener=listener,
    )


def _tell(found: Applied, arguments: argparse.Namespace, console: Console) -> None:
    from ..report.tables import summary_tables

    show(console, summary_tables(found.summary))
    for note in found.summary.notes:
        say(console, f"note: {note}")
    say(console, f"run: {found.folder}")


def _display(console: Console) -> AbstractContextManager[Listener]:
    from ..report.progress import training_display

    return training_display(console)


COMMAND = Command(
    "run a recipe: calibrate, train, evaluate, keep everything in a run folder",
    _options,
    answering(_find, _tell, _display),
)
