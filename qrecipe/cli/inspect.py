"""``qrecipe inspect``: what a model is made of."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ..recipe.definition import InputSpec
from ..recipe.input_words import size_in_words, values_in_words
from .answer import answering
from .command import Command
from .console import say, show
from .options import TARGET, add_recipe_options, size

if TYPE_CHECKING:
    from .. import Inspection
    from ..experiment.events import Listener


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", type=Path, metavar="TARGET", help=TARGET)
    parser.add_argument("--tree", action="store_true", help="the modules as a tree, repeated ones as one")
    parser.add_argument("--image-size", type=size, metavar="HxW", help="count costs at this size")
    parser.add_argument("--json", action="store_true", help="all of it as JSON, the tree too")
    add_recipe_options(parser)


def _find(arguments: argparse.Namespace, listener: Listener) -> Inspection:
    from ..commands.inspect import inspect

    return inspect(
        arguments.target,
        image_size=arguments.image_size,
        overrides=arguments.set,
        random_weights=arguments.random_weights,
        cache=arguments.cache,
        listener=listener,
    )


def _tell(found: Inspection, arguments: argparse.Namespace, console: Console) -> None:
    from ..report.anatomy import TREE_WORDS, anatomy_tables, module_tree

    console.print()
    say(console, f"{found.name}: {found.model}, family {found.family}")
    say(console, f"input: {_input(found.input)}")
    say(console, f"head: {found.classes} classes, {found.scores} scores")
    for note in found.notes:
        say(console, f"note: {note}")
    if arguments.tree:
        console.print()
        console.print(module_tree(found.anatomy), highlight=False)
        show(console, [TREE_WORDS])
    else:
        show(console, anatomy_tables(found.anatomy))


def _input(values: dict[str, Any]) -> str:
    """The prepared image in words."""
    spec = InputSpec(**values)
    return f"{size_in_words(spec)}, {values_in_words(spec)}" + (", with a mask" if spec.mask else "")


COMMAND = Command(
    "show what a model is made of: roles, modules, taps, queries, and their share of the cost",
    _options,
    answering(_find, _tell),
)
