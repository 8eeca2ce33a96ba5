"""``qrecipe export``: a student as an ONNX file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ..run.layout import MODELS
from .answer import answering
from .command import Command
from .console import say
from .options import count

if TYPE_CHECKING:
    from .. import Exported
    from ..experiment.events import Listener

FORMATS = ("onnx",)
MODES = ("integer", "packed")


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", type=Path, metavar="TARGET", help="a run folder or a student's folder")
    parser.add_argument("--to", choices=FORMATS, default="onnx", help="the format (default: onnx)")
    parser.add_argument(
        "--out", type=Path, default=Path("student.onnx"), metavar="FILE", help="a new file (default: student.onnx)"
    )
    parser.add_argument(
        "--mode",
        choices=MODES,
        default="integer",
        help="integer (default): 8 bits for every quantized operand; packed: weights of 4 bits and fewer in 4 bits",
    )
    for name in ("batch", "height", "width"):
        parser.add_argument(f"--{name}", type=count, metavar="N", help=f"fix the {name} (default: any)")
    parser.add_argument("--model", choices=tuple(MODELS), help="of a run: trained (default), control or calibrated")
    parser.add_argument("--json", action="store_true", help="what was written as JSON, and nothing else")


def _find(arguments: argparse.Namespace, listener: Listener) -> Exported:
    from ..commands.export import export

    return export(
        arguments.target,
        arguments.out,
        arguments.mode,
        model=arguments.model,
        batch=arguments.batch,
        height=arguments.height,
        width=arguments.width,
    )


def _tell(found: Exported, arguments: argparse.Namespace, console: Console) -> None:
    held = f"{found.weights} weights and {found.activations} activations in integers"
    say(console, f"{found.path}: {found.size / 1e6:.2f} MB, {found.mode}, {held}")
    for line in found.kernels.lines() if found.kernels is not None else ():
        say(console, line)


COMMAND = Command("write a run's student as an ONNX file that other runtimes read", _options, answering(_find, _tell))
