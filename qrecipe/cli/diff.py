"""``qrecipe diff``: two recipes side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from .answer import answering
from .command import Command
from .console import show
from .options import TARGET, add_recipe_options, size

if TYPE_CHECKING:
    from .. import Comparison
    from ..experiment.events import Listener


def _options(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Exits with 0 whether they differ or not, and with 2 where one of them cannot be read or built."
    parser.add_argument("a", type=Path, metavar="A", help=TARGET)
    parser.add_argument("b", type=Path, metavar="B", help="another")
    parser.add_argument("--keys", action="store_true", help="compare the recipes' keys alone; no model is built")
    parser.add_argument("--image-size", type=size, metavar="HxW", help="count costs at this size")
    parser.add_argument("--json", action="store_true", help="the differences as JSON")
    add_recipe_options(parser)


def _find(arguments: argparse.Namespace, listener: Listener) -> Comparison:
    from ..commands.diff import diff

    return diff(
        arguments.a,
        arguments.b,
        keys_only=arguments.keys,
        image_size=arguments.image_size,
        overrides=arguments.set,
        random_weights=arguments.random_weights,
        cache=arguments.cache,
        listener=listener,
    )


def _tell(found: Comparison, arguments: argparse.Namespace, console: Console) -> None:
    from ..report.diff import comparison_of_recipes

    show(console, comparison_of_recipes(found))


COMMAND = Command(
    "show which keys of two recipes and which sites of their models differ",
    _options,
    answering(_find, _tell),
)
