"""``qrecipe diff``: two recipes side by side."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console

from .command import Command
from .console import TerminalConsole, narrator, show
from .options import TARGET, add_recipe_options, size


def _options(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Exits with 0 whether they differ or not, and with 2 where one of them cannot be read or built."
    parser.add_argument("a", type=Path, metavar="A", help=TARGET)
    parser.add_argument("b", type=Path, metavar="B", help="another")
    parser.add_argument("--keys", action="store_true", help="compare the recipes' keys alone; no model is built")
    parser.add_argument("--image-size", type=size, metavar="HxW", help="count costs at this size")
    parser.add_argument("--json", action="store_true", help="the differences as JSON")
    add_recipe_options(parser)


def _run(arguments: argparse.Namespace, console: Console) -> None:
    from ..commands.diff import diff
    from ..report.diff import comparison_of_recipes

    found = diff(
        arguments.a,
        arguments.b,
        keys_only=arguments.keys,
        image_size=arguments.image_size,
        overrides=arguments.set,
        random_weights=arguments.random_weights,
        listener=narrator(TerminalConsole(stderr=True) if arguments.json else console),
    )
    if arguments.json:
        sys.stdout.write(json.dumps(found.to_dict(), indent=1, default=str) + "\n")
        return
    show(console, comparison_of_recipes(found))


COMMAND = Command("show which keys of two recipes and which sites of their models differ", _options, _run)
