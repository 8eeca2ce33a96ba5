"""``qrecipe search``: bits for every weight and activation within a budget."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from rich.console import Console

from .answer import answering
from .command import Command
from .console import say, show
from .options import widths
from .sensitivity import add_measuring_options

if TYPE_CHECKING:
    from .. import Found
    from ..experiment.events import Listener


def _options(parser: argparse.ArgumentParser) -> None:
    text = "the largest share of the real-valued model's: size=0.15, operations=0.2 or bit_operations=0.05"
    parser.add_argument("--budget", required=True, metavar="KIND=SHARE", help=text)
    add_measuring_options(parser, "runs/NAME_search", "8,6,4", widths)
    parser.add_argument("--by", choices=("role", "module"), default="module", help="what has one width")
    parser.add_argument("--no-ap", action="store_true", help="do not score what is chosen on the validation split")


def _find(arguments: argparse.Namespace, listener: Listener) -> Found:
    from ..bit_allocation.budget import Budget
    from ..commands.search import search

    budget = Budget.read(arguments.budget)  # what is wrong with it is said before anything is read
    return search(
        arguments.recipe,
        budget,
        arguments.output,
        bits=arguments.bits,
        by=arguments.by,
        images=arguments.images,
        scored=not arguments.no_ap,
        overrides=arguments.set,
        random_weights=arguments.random_weights,
        cache=arguments.cache,
        listener=listener,
    )


def _tell(found: Found, arguments: argparse.Namespace, console: Console) -> None:
    from ..report.search import search_tables

    show(console, search_tables(found))
    assert found.path is not None
    say(console, f"recipe: {found.path}")
    say(console, f"picture: {found.path.parent / found.path.stem}.svg")


COMMAND = Command(
    "choose bits for every weight and activation within a budget, as a recipe",
    _options,
    answering(_find, _tell),
)
