"""``qrecipe schema``: the recipe language for editors and other programs."""

from __future__ import annotations

import argparse
import sys

from rich.console import Console

from .command import Command


def _options(parser: argparse.ArgumentParser) -> None:
    text = "tables of all keys in Markdown instead, as the documentation has them"
    parser.add_argument("--markdown", action="store_true", help=text)


def _run(arguments: argparse.Namespace, console: Console) -> None:
    from ..recipe.key_tables import reference
    from ..recipe.schema_file import schema_text

    sys.stdout.write(reference() if arguments.markdown else schema_text())


COMMAND = Command("print the JSON Schema of recipes", _options, _run)
