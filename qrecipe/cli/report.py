"""``qrecipe report``: a run as one page for a browser."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from .answer import answering
from .command import Command
from .console import say
from .options import add_capture_options

if TYPE_CHECKING:
    from .. import Reported
    from ..experiment.events import Listener


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a run folder, finished or not")
    text = "a new file (default: report.html in the run's folder; of several runs, report.html here)"
    parser.add_argument("--output", type=Path, metavar="FILE", help=text)
    text = "look into the models again first: detections, noise, queries; needs the run's data and weights"
    parser.add_argument("--evidence", action="store_true", help=text)
    parser.add_argument("--json", action="store_true", help="where it is, as JSON")
    add_capture_options(parser)


def _find(arguments: argparse.Namespace, listener: Listener) -> Reported:
    from ..commands.report import write_report

    return write_report(
        arguments.runs, arguments.output, evidence=arguments.evidence, cache=arguments.cache, listener=listener
    )


def _tell(found: Reported, arguments: argparse.Namespace, console: Console) -> None:
    from ..report.amounts import size

    say(console, f"report: {found.path} ({size(found.size)})")


def _counter(console: Console) -> AbstractContextManager[Listener]:
    from ..report.progress import counter

    return counter(console)


COMMAND = Command("a run, or several, as one page for a browser", _options, answering(_find, _tell, _counter))
