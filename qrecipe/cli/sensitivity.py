"""``qrecipe sensitivity``: what each part of a detector costs when it alone is quantized."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from .answer import answering
from .command import Command
from .console import say, show
from .options import add_recipe_options, count, numbers_of_bits

if TYPE_CHECKING:
    from .. import Sensitivity
    from ..experiment.events import Listener

IMAGES, DEPTH = 16, 3


def add_measuring_options(
    parser: argparse.ArgumentParser, default: str, given: str, read: Callable[[str], Sequence[int | None]]
) -> None:
    """What a sensitivity analysis and a search have in common. read: what ``--bits`` may be."""
    parser.add_argument("recipe", type=Path, metavar="RECIPE")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help=f"where measurements are kept (default: {default})"
    )
    text = f"predictions are compared on so many images of the training split (default: {IMAGES})"
    parser.add_argument("--images", type=count, default=IMAGES, metavar="N", help=text)
    parser.add_argument("--bits", type=read, default=read(given), metavar="B,B", help=f"widths (default: {given})")
    parser.add_argument("--json", action="store_true", help="the outcome as JSON, and nothing else")
    add_recipe_options(parser)


def _options(parser: argparse.ArgumentParser) -> None:
    add_measuring_options(parser, "runs/NAME_sensitivity", "8,4", numbers_of_bits)
    choices = ("role", "module", "operand")
    parser.add_argument("--by", choices=choices, default="role", help="what a part is (default: role)")
    text = f"levels of module paths in --by module (default: {DEPTH})"
    parser.add_argument("--depth", type=count, default=DEPTH, metavar="N", help=text)
    parser.add_argument("--ap", action="store_true", help="AP on the validation split as well")


def _find(arguments: argparse.Namespace, listener: Listener) -> Sensitivity:
    from ..commands.sensitivity import sensitivity

    return sensitivity(
        arguments.recipe,
        arguments.output,
        bits=arguments.bits,
        by=arguments.by,
        depth=arguments.depth,
        images=arguments.images,
        scored=arguments.ap,
        overrides=arguments.set,
        random_weights=arguments.random_weights,
        cache=arguments.cache,
        listener=listener,
    )


def _tell(found: Sensitivity, arguments: argparse.Namespace, console: Console) -> None:
    from ..report.search import sensitivity_tables

    show(console, sensitivity_tables(found))
    say(console, f"chart: {found.chart}")


COMMAND = Command(
    "show what each part of a detector costs when it alone is quantized, without labels",
    _options,
    answering(_find, _tell),
)
