"""``qrecipe plan``: what a recipe does to its model, and what that costs."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console

from ..recipe.given import read_recipe
from .command import Command
from .console import TerminalConsole, narrator, show
from .options import add_recipe_options, count, size

DEPTH = 2
BY = ("role", "module", "rule")


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, metavar="RECIPE")
    parser.add_argument("--by", choices=BY, default="role", help="what the main table has a row for (default: role)")
    text = f"levels of module paths in --by module (default: {DEPTH})"
    parser.add_argument("--depth", type=count, default=DEPTH, metavar="N", help=text)
    parser.add_argument("--image-size", type=size, metavar="HxW", help="count costs at this size")
    parser.add_argument("--sites", action="store_true", help="list every site")
    parser.add_argument("--json", action="store_true", help="the whole plan as JSON, by role, module and rule")
    add_recipe_options(parser)


def _run(arguments: argparse.Namespace, console: Console) -> None:
    recipe = read_recipe(arguments.recipe, arguments.set, arguments.random_weights, data=False)
    from ..commands.plan import plan
    from ..report.plan import plan_data, plan_tables

    listener = narrator(TerminalConsole(stderr=True) if arguments.json else console)
    found = plan(recipe, image_size=arguments.image_size, listener=listener)
    if arguments.json:
        sys.stdout.write(json.dumps(plan_data(found, arguments.depth), indent=1) + "\n")
        return
    wide = console.width >= 100
    show(console, plan_tables(found, arguments.by, arguments.depth, arguments.sites, wide))


COMMAND = Command("show what a recipe does to its model, and what that costs", _options, _run)
