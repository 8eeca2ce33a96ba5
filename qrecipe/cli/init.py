"""``qrecipe init``: a commented recipe for one's own model and data."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ..recipe.definition import SPLITS
from ..run.layout import MODELS
from .answer import answering
from .command import Command
from .console import say
from .options import add_capture_options, size

if TYPE_CHECKING:
    from .. import Started
    from ..experiment.events import Listener

MODEL = (
    "demo; an architecture, such as detr (random weights); org/name[@revision] of the hub; a folder with config.json "
    "and model.safetensors; or a Python function that returns the detector: path/to/file.py:function or "
    "package.module:function"
)
DATA = "synthetic, or a folder with COCO jsons and images"


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, metavar="MODEL", help=MODEL)
    parser.add_argument("--data", metavar="DATA", help=DATA)
    for split in SPLITS:
        text = f"the {split} split, where --data does not find the right one"
        parser.add_argument(f"--{split}", metavar="IMAGES:ANNOTATIONS", help=text)
    parser.add_argument("--teacher", metavar="MODEL", help="another detector to learn from (default: the model itself)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="the recipe (default: MODEL_DATA.yaml, here)")
    parser.add_argument(
        "--bits", type=_bits, default=(4, 4, 8), metavar="W-A-ATT", help="of weights, activations, attention: 4-4-8"
    )
    parser.add_argument(
        "--input-size", type=size, dest="size", metavar="HxW", help="resize images to this (default: the model's)"
    )
    add_capture_options(parser)


def _bits(text: str) -> tuple[int, int, int]:
    """``4-4-8`` as bits of weights, activations and attention."""
    parts = text.split("-")
    if len(parts) != 3 or not all(part in {str(bits) for bits in range(2, 9)} for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is no W-A-ATT; write three numbers from 2 to 8, such as 4-4-8")
    weight, activation, attention = map(int, parts)
    return weight, activation, attention


def _find(arguments: argparse.Namespace, listener: Listener) -> Started:
    from ..commands.init import init

    splits = {name: text for name in SPLITS if (text := getattr(arguments, name)) is not None}
    typed = {name: getattr(arguments, name) for name in ("model", "data", "teacher", "output", "bits", "size")}
    return init(**typed, splits=splits, cache=arguments.cache, listener=listener)


def _tell(found: Started, arguments: argparse.Namespace, console: Console) -> None:
    from ..run.checkpoint import WEIGHTS

    say(console, f"\n{found.recipe}: valid, and binds: {len(found.plan.quantizers)} quantizers")
    if found.tuning is not None:
        say(console, f"{found.tuning}: valid, and binds: to be applied first, as {found.fresh}")
    for warning in found.plan.warnings:
        say(console, f"warning: {warning}")
    say(console, "\nnext:")
    for command, text in found.next:
        say(console, f"  # {text}\n  {command}")
    if found.tuning is not None:
        look = "for a first look in minutes, add --set train.epochs=1 --output FOLDER to step 1"
        say(console, f"\n{look}; step 2 then takes FOLDER/{MODELS['trained']}/{WEIGHTS}")


COMMAND = Command("write a commented recipe for a model and data", _options, answering(_find, _tell))
