"""What a command of the command line is."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console


@dataclass(frozen=True)
class Command:
    """One command.

    text: its line in ``qrecipe --help``. options: adds its arguments to its parser.
    run: does it; returns the exit code, None for 0. Libraries of models are imported in it, not above it.
    """

    text: str
    options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Console], int | None]
