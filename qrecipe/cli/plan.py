"""``qrecipe plan``: what a recipe does to its model, and what that costs."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console

from .command import Command
from .console import sayer, show
from .options import add_recipe_options, size
from .recipe import typed_recipe


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, metavar="RECIPE")
    parser.add_argument("--image-size", type=size, metavar="HxW", help="count costs at this size")
    parser.add_argument("--sites", action="store_true", help="list every site")
    parser.add_argument("--json", action="store_true", help="the whole plan as JSON")
    add_recipe_options(parser)


def _run(arguments: argparse.Namespace, console: Console) -> None:
    recipe = typed_recipe(arguments)
    from ..commands.bind import plan
    from ..report.plan import plan_tables

    found = plan(recipe, sayer(Console(stderr=True) if arguments.json else console), arguments.image_size)
    if arguments.json:
        sys.stdout.write(json.dumps(found.to_json(), indent=1) + "\n")
        return
    show(console, plan_tables(found, sites=arguments.sites))


COMMAND = Command("show what a recipe does to its model, and what that costs", _options, _run)
