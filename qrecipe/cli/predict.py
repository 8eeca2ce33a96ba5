"""``qrecipe predict``: detections drawn into images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ..run.layout import WHICH
from .answer import answering
from .command import Command
from .console import say
from .options import TARGET, WHICH_TEXT, add_recipe_options, count, share

if TYPE_CHECKING:
    from .. import Predictions
    from ..experiment.events import Listener


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", type=Path, metavar="TARGET", help=TARGET)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files, or folders of them")
    parser.add_argument("--model", choices=WHICH, help=WHICH_TEXT)
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("predictions"),
        metavar="FOLDER",
        help="a new or empty folder (default: predictions)",
    )
    parser.add_argument(
        "--threshold",
        type=share,
        default=0.3,
        metavar="SCORE",
        help="draw boxes from this score on (default: 0.3)",
    )
    parser.add_argument("--limit", type=count, metavar="N", help="only the first N images")
    parser.add_argument("--batch", type=count, default=1, metavar="N", help="images at once (default: 1)")
    add_recipe_options(parser)


def _find(arguments: argparse.Namespace, listener: Listener) -> Predictions:
    from ..commands.predict import predict

    return predict(
        arguments.target,
        arguments.images,
        arguments.output,
        model=arguments.model,
        threshold=arguments.threshold,
        limit=arguments.limit,
        batch=arguments.batch,
        overrides=arguments.set,
        random_weights=arguments.random_weights,
        cache=arguments.cache,
        listener=listener,
    )


def _tell(found: Predictions, arguments: argparse.Namespace, console: Console) -> None:
    say(console, f"pictures and detections.json: {arguments.output}")


COMMAND = Command("detect objects in images: boxes drawn, and COCO-format JSON", _options, answering(_find, _tell))
