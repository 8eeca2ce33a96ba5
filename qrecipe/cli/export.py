"""``qrecipe export``: a student as an ONNX file."""

from __future__ import annotations

import argparse
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ..errors import ExportError
from ..recipe.definition import SPLITS
from ..run.layout import MODELS
from .answer import answering
from .command import Command
from .console import complain, say
from .options import add_capture_options, count, points

if TYPE_CHECKING:
    from .. import Exported
    from ..experiment.events import Listener

FORMATS = ("onnx", "pt2")
MODES = ("integer", "packed")
DEFAULT = "onnxruntime"
TOLERANCE = 0.2

DEPARTS = 3
"""The exit code where a file was written and its AP is not its student's."""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", type=Path, metavar="TARGET", help="a run folder or a student's folder")
    parser.add_argument(
        "--to", choices=FORMATS, default="onnx", help="onnx (default); pt2: a program of torch.export, in float"
    )
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
    parser.add_argument(
        "--check",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="compare the file in its runtime with the student, over --split (default: yes)",
    )
    parser.add_argument("--split", default="val", choices=SPLITS, help="of the recipe's data (default: val)")
    parser.add_argument("--samples", type=count, metavar="N", help="compare on the first N images (default: all)")
    parser.add_argument(
        "--tolerance",
        type=points,
        default=TOLERANCE,
        metavar="POINTS",
        help=f"AP points, hundredths, by which the file may differ from its student (default: {TOLERANCE})",
    )
    parser.add_argument(
        "--runtime", metavar="NAME", help=f"what runs the file (default: the recipe's target, else {DEFAULT})"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="other data, such as data.val.images=FOLDER"
    )
    parser.add_argument("--json", action="store_true", help="what was written as JSON, and nothing else")
    add_capture_options(parser)


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
        check=arguments.check,
        split=arguments.split,
        samples=arguments.samples,
        tolerance=arguments.tolerance,
        runtime=arguments.runtime,
        overrides=arguments.set,
        to=arguments.to,
        cache=arguments.cache,
        listener=listener,
    )


def _tell(found: Exported, arguments: argparse.Namespace, console: Console) -> None:
    say(console, f"{found.path}: {found.size / 1e6:.2f} MB, {found.mode}, {found.held}")
    for part in (found.kernels, found.parity):
        for line in part.lines() if part is not None else ():
            say(console, line)


def _counter(console: Console) -> AbstractContextManager[Listener]:
    from ..report.progress import counter

    return counter(console)


def _code(found: Exported) -> int | None:
    if found.parity is None or found.parity.passed:
        return None
    sys.stdout.flush()
    why = found.parity.advice
    complain([ExportError("the file departs from its student", where=str(found.path), remedy=why)])
    return DEPARTS


COMMAND = Command(
    "write a run's student as an ONNX file that other runtimes read",
    _options,
    answering(_find, _tell, _counter, _code),
)
