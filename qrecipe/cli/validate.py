"""``qrecipe validate``: everything that is wrong with recipes."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from ..errors import QRecipeError, RecipeErrors
from .command import Command
from .console import complain, say, sayer
from .options import add_recipe_options
from .recipe import typed_recipe


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipes", nargs="+", type=Path, metavar="RECIPE")
    text = "build and capture the model too, and hold the recipe to it"
    parser.add_argument("--bind", action="store_true", help=text)
    add_recipe_options(parser)


def _run(arguments: argparse.Namespace, console: Console) -> int:
    problems: list[QRecipeError] = []
    for path in arguments.recipes:
        try:
            say(console, f"{path}: {_validated(path, arguments, console)}")
        except RecipeErrors as errors:
            problems += errors.problems
        except QRecipeError as error:
            problems.append(error)
    complain(problems)
    return 2 if problems else 0


def _validated(path: Path, arguments: argparse.Namespace, console: Console) -> str:
    if not arguments.bind:
        from ..recipe import load_recipe  # all that is needed: without --bind no library of models is loaded

        load_recipe(path, arguments.set)
        return "valid"
    from ..commands.bind import bind

    plan = bind(typed_recipe(arguments, path), sayer(console))
    layers = len(plan.alignments)
    aligned = f", queries aligned in {layers} decoder layer{'s'[: layers != 1]}" if layers else ""
    return f"valid, and binds: {len(plan.quantizers)} quantizers{aligned}"


COMMAND = Command("say everything that is wrong with recipes; builds nothing", _options, _run)
