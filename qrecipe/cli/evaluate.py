"""``qrecipe evaluate``: COCO AP of a model on a split."""

from __future__ import annotations

import argparse
import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ..recipe.definition import SPLITS
from ..run.layout import WHICH
from .answer import answering_with
from .command import Command
from .console import show
from .options import TARGET, WHICH_TEXT, add_recipe_options

if TYPE_CHECKING:
    from .. import Evaluated
    from ..experiment.events import Listener


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", type=Path, metavar="TARGET", help=TARGET)
    parser.add_argument("--split", default="val", choices=SPLITS, help="of the recipe's data (default: val)")
    parser.add_argument("--model", choices=WHICH, help=WHICH_TEXT)
    parser.add_argument("--detections", type=Path, metavar="FILE", help="write the detections here, in COCO's format")
    parser.add_argument("--json", action="store_true", help="the numbers as JSON, and nothing else")
    add_recipe_options(parser)


def _find(arguments: argparse.Namespace, listener: Listener) -> Evaluated:
    from ..commands.evaluate import evaluate
    from ..run.files import require_free, write_atomically

    if arguments.detections is not None:
        require_free(arguments.detections)
    found = evaluate(
        arguments.target,
        arguments.split,
        model=arguments.model,
        overrides=arguments.set,
        random_weights=arguments.random_weights,
        cache=arguments.cache,
        listener=listener,
    )
    if arguments.detections is not None:
        write_atomically(arguments.detections, json.dumps(found.detections).encode())
    return found


def _data(found: Evaluated, arguments: argparse.Namespace) -> object:
    return found.evaluation.to_dict()


def _tell(found: Evaluated, arguments: argparse.Namespace, console: Console) -> None:
    from ..report.tables import evaluation_tables

    show(console, evaluation_tables(found.evaluation, f"{found.title}: {found.split} split"))


def _counter(console: Console) -> AbstractContextManager[Listener]:
    from ..report.progress import counter

    return counter(console)


COMMAND = Command(
    "COCO AP of a run, a saved student, or a recipe's real-valued model",
    _options,
    answering_with(_find, _tell, _data, _counter),
)
