"""``qrecipe evaluate``: COCO AP of a model on a split."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from ..errors import RunError
from ..recipe.definition import SPLITS
from ..run.layout import WHICH
from .command import Command
from .console import TerminalConsole, narrator, show
from .options import TARGET, WHICH_TEXT, add_recipe_options


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", type=Path, metavar="TARGET", help=TARGET)
    parser.add_argument("--split", default="val", choices=SPLITS, help="of the recipe's data (default: val)")
    parser.add_argument("--model", choices=WHICH, help=WHICH_TEXT)
    parser.add_argument("--detections", type=Path, metavar="FILE", help="write the detections here, in COCO's format")
    parser.add_argument("--json", action="store_true", help="the numbers as JSON, and nothing else")
    add_recipe_options(parser)


def _run(arguments: argparse.Namespace, console: Console) -> None:
    from ..commands.evaluate import evaluate
    from ..report.progress import counter
    from ..report.tables import evaluation_tables
    from ..run.files import write_atomically

    if arguments.detections is not None:
        _check_new(arguments.detections)
    with ExitStack() as stack:
        listener = (
            narrator(TerminalConsole(stderr=True))
            if arguments.json
            else narrator(console, stack.enter_context(counter(console)))
        )
        found = evaluate(
            arguments.target,
            arguments.split,
            model=arguments.model,
            overrides=arguments.set,
            random_weights=arguments.random_weights,
            listener=listener,
        )
    if arguments.detections is not None:
        write_atomically(arguments.detections, json.dumps(found.detections).encode())
    if arguments.json:
        sys.stdout.write(json.dumps(found.evaluation.to_dict(), indent=1) + "\n")
        return
    show(console, evaluation_tables(found.evaluation, f"{found.title}: {found.split} split"))


def _check_new(path: Path) -> None:
    """Raises: RunError: a file is there already, or its folder is not. Said before the work, not after it."""
    if path.exists():
        raise RunError("the file is there already, and is not overwritten", where=str(path))
    if not path.parent.is_dir():
        raise RunError("there is no such folder", where=str(path.parent), remedy="make it first")


COMMAND = Command("COCO AP of a run, a saved student, or a recipe's real-valued model", _options, _run)
