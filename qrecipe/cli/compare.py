"""``qrecipe compare``: finished runs beside one another."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from .answer import answering
from .command import Command
from .console import say, show
from .options import share

if TYPE_CHECKING:
    from .. import Compared
    from ..experiment.events import Listener


def _options(parser: argparse.ArgumentParser) -> None:
    text = "a run folder, or the folder of a sweep in place of the runs in it"
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help=text)
    text = "compare with this group (default: the first), or with the one that has this part in its name, as lsq+"
    parser.add_argument("--baseline", metavar="NAME", help=text)
    text = "judge by this row of the summaries, such as calibrated (default: the last of each run)"
    parser.add_argument("--model", metavar="ROW", help=text)
    parser.add_argument("--confidence", type=share, default=0.95, metavar="P", help="of intervals (default: 0.95)")
    parser.add_argument("--html", type=Path, metavar="FILE", help="the comparison as a page, a new file")
    parser.add_argument("--json", action="store_true", help="the comparison as JSON, and nothing else")


def _find(arguments: argparse.Namespace, listener: Listener) -> Compared:
    from ..commands.compare import compare

    return compare(
        arguments.runs,
        baseline=arguments.baseline,
        model=arguments.model,
        confidence=arguments.confidence,
        html=arguments.html,
    )


def _tell(found: Compared, arguments: argparse.Namespace, console: Console) -> None:
    from ..report.compare import compared_tables

    show(console, compared_tables(found.tables))
    for note in found.notes:
        say(console, f"note: {note}")
    if found.path is not None:
        say(console, f"page: {found.path}")


COMMAND = Command(
    "compare finished runs: means over seeds, paired differences with intervals, costs, keys",
    _options,
    answering(_find, _tell),
)
