"""``qrecipe init``: a commented recipe for one's own model and data."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from ..recipe.definition import SPLITS
from .command import Command
from .console import narrator, say
from .options import size

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
    parser.add_argument("--input-size", type=size, metavar="HxW", help="resize images to this (default: the model's)")


def _bits(text: str) -> tuple[int, int, int]:
    """``4-4-8`` as bits of weights, activations and attention."""
    parts = text.split("-")
    if len(parts) != 3 or not all(part in {str(bits) for bits in range(2, 9)} for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is no W-A-ATT; write three numbers from 2 to 8, such as 4-4-8")
    weight, activation, attention = map(int, parts)
    return weight, activation, attention


def _run(arguments: argparse.Namespace, console: Console) -> None:
    from ..commands.init import Request, init

    splits = {name: getattr(arguments, name) for name in SPLITS if getattr(arguments, name) is not None}
    request = Request(
        model=arguments.model,
        data=arguments.data,
        splits=splits,
        teacher=arguments.teacher,
        output=arguments.output,
        bits=arguments.bits,
        size=arguments.input_size,
    )
    started = init(request, narrator(console))
    say(console, f"\n{started.recipe}: valid, and binds: {len(started.plan.quantizers)} quantizers")
    if started.tuning is not None:
        say(console, f"{started.tuning}: valid, and binds: to be applied first, as {started.fresh}")
    for warning in started.plan.warnings:
        say(console, f"warning: {warning}")
    say(console, "\nnext:")
    for command, text in started.next:
        say(console, f"  # {text}\n  {command}")
    if started.tuning is not None:
        look = (
            "add --set train.epochs=1 --output FOLDER to step 1; step 2 then takes FOLDER/student/weights.safetensors"
        )
        say(console, f"\nfor a first look in minutes, {look}")


COMMAND = Command("write a commented recipe for a model and data", _options, _run)
