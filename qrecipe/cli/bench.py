"""``qrecipe bench``: size and latency of a student, or of an exported file, in every runtime that is installed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ..run.layout import MODELS
from .answer import answering
from .command import Command
from .console import say, show
from .options import add_capture_options, count, size

if TYPE_CHECKING:
    from .. import Benched
    from ..experiment.events import Listener

ROUNDS, IMAGES = 20, 16


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target", type=Path, metavar="TARGET", help="a run folder, a student's folder, or an exported .onnx file"
    )
    parser.add_argument("--model", choices=tuple(MODELS), help="of a run: trained (default), control or calibrated")
    parser.add_argument("--batch", type=count, metavar="N", help="images at a time (default: 1)")
    parser.add_argument("--size", type=size, metavar="HxW", help="of the images (default: the student's input)")
    parser.add_argument("--threads", type=count, default=1, metavar="N", help="of each program (default: 1)")
    parser.add_argument("--rounds", type=count, default=ROUNDS, metavar="N", help=f"timed calls of each ({ROUNDS})")
    parser.add_argument("--no-peers", action="store_true", help="leave out ONNX Runtime's and NNCF's own quantization")
    parser.add_argument(
        "--images", type=count, default=IMAGES, metavar="N", help=f"that those are calibrated on (default: {IMAGES})"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="a new folder for the files that were measured")
    parser.add_argument("--json", action="store_true", help="the measurements as JSON, and nothing else")
    add_capture_options(parser)


def _find(arguments: argparse.Namespace, listener: Listener) -> Benched:
    from ..commands.bench import bench

    return bench(
        arguments.target,
        model=arguments.model,
        batch=arguments.batch,
        size=arguments.size,
        threads=arguments.threads,
        rounds=arguments.rounds,
        peers=not arguments.no_peers,
        images=arguments.images,
        keep=arguments.keep,
        cache=arguments.cache,
        listener=listener,
    )


def _tell(found: Benched, arguments: argparse.Namespace, console: Console) -> None:
    from ..report.latencies import latency_table

    show(console, [latency_table(found)])
    for line in found.lines():
        say(console, line)


COMMAND = Command(
    "size and latency of a student, or of an exported file, in every runtime that is installed",
    _options,
    answering(_find, _tell),
)
