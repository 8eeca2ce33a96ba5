"""``qrecipe validate``: everything that is wrong with recipes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from .answer import narrated, wants_json, write_as_json
from .command import Command
from .console import complain, say, warn
from .options import add_recipe_options

if TYPE_CHECKING:
    from ..commands.validate import Validation


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipes", nargs="+", type=Path, metavar="RECIPE")
    text = "build and capture the model too, and hold the recipe to it"
    parser.add_argument("--bind", action="store_true", help=text)
    parser.add_argument("--data", action="store_true", help="read and check the data too; builds no model")
    text = "a list on standard output, one object for each recipe: file, valid, problems, warnings"
    parser.add_argument("--json", action="store_true", help=text)
    add_recipe_options(parser)


def _run(arguments: argparse.Namespace, console: Console) -> int:
    from ..commands.validate import validate

    reads, found = arguments.bind or arguments.data, []
    for path in arguments.recipes:
        one = validate(
            path,
            bind=arguments.bind,
            data=arguments.data,
            overrides=arguments.set,
            random_weights=arguments.random_weights,
            cache=arguments.cache,
            listener=narrated(arguments, console) if reads else None,
        )
        found.append(one)
        if not wants_json(arguments) and one.valid:
            say(console, f"{path}: {_title(one)}")
    if wants_json(arguments):
        write_as_json([one.to_dict() for one in found])
    else:
        warn(text for one in found for text in one.warnings)
        complain([problem for one in found for problem in one.problems])
    return 0 if all(one.valid for one in found) else 2


def _title(found: Validation) -> str:
    """What is said of a recipe without problems."""
    if found.plan is None:
        return "valid"
    layers = len(found.plan.alignments)
    aligned = f", queries aligned in {layers} decoder layer{'s'[: layers != 1]}" if layers else ""
    return f"valid, and binds: {len(found.plan.quantizers)} quantizers{aligned}"


COMMAND = Command("say everything that is wrong with recipes; builds nothing", _options, _run)
