"""``qrecipe plan``: what a recipe does to its model, and what that costs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ..recipe.given import read_recipe
from .answer import answering_with
from .command import Command
from .console import show
from .options import add_recipe_options, count, size

if TYPE_CHECKING:
    from .. import Plan
    from ..experiment.events import Listener

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


def _find(arguments: argparse.Namespace, listener: Listener) -> Plan:
    recipe = read_recipe(arguments.recipe, arguments.set, arguments.random_weights, data=False)
    from ..commands.plan import plan

    return plan(recipe, image_size=arguments.image_size, cache=arguments.cache, listener=listener)


def _data(found: Plan, arguments: argparse.Namespace) -> dict[str, Any]:
    from .. import describe

    return describe(found, arguments.depth)


def _tell(found: Plan, arguments: argparse.Namespace, console: Console) -> None:
    from ..report.plan import plan_tables

    wide = console.width >= 100
    show(console, plan_tables(found, arguments.by, arguments.depth, arguments.sites, wide))


COMMAND = Command(
    "show what a recipe does to its model, and what that costs",
    _options,
    answering_with(_find, _tell, _data),
)
