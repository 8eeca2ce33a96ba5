"""``qrecipe validate``: everything that is wrong with recipes."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from ..errors import QRecipeError
from ..recipe import Recipe, load_recipe
from .command import Command
from .console import complain, narrator, say, warn
from .options import add_recipe_options
from .problems import as_data, located, problems_of
from .recipe import typed_recipe


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipes", nargs="+", type=Path, metavar="RECIPE")
    text = "build and capture the model too, and hold the recipe to it"
    parser.add_argument("--bind", action="store_true", help=text)
    text = "a list on standard output, one object for each recipe: file, valid, problems, warnings"
    parser.add_argument("--json", action="store_true", help=text)
    add_recipe_options(parser)


@dataclass
class _Verdict:
    """What became of one file. title: what is said of one without problems."""

    file: Path
    title: str = "valid"
    problems: list[QRecipeError] = field(default_factory=list)
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "file": str(self.file),
            "valid": not self.problems,
            "problems": [as_data(problem, str(self.file)) for problem in self.problems],
            "warnings": list(self.warnings),
        }


def _run(arguments: argparse.Namespace, console: Console) -> int:
    verdicts = []
    for path in arguments.recipes:
        verdict = _validated(path, arguments, Console(stderr=True) if arguments.json else console)
        verdicts.append(verdict)
        if not arguments.json and not verdict.problems:
            say(console, f"{path}: {verdict.title}")
    if arguments.json:
        sys.stdout.write(json.dumps([verdict.to_json() for verdict in verdicts], indent=1) + "\n")
    else:
        warn(text for verdict in verdicts for text in verdict.warnings)
        complain([problem for verdict in verdicts for problem in verdict.problems])
    return 2 if any(verdict.problems for verdict in verdicts) else 0


def _validated(path: Path, arguments: argparse.Namespace, console: Console) -> _Verdict:
    verdict = _Verdict(path)
    try:
        recipe = typed_recipe(arguments, path) if arguments.bind else load_recipe(path, arguments.set)
    except QRecipeError as error:
        verdict.problems += problems_of(error)
        return verdict
    if arguments.bind:
        _bind(recipe, verdict, console)
    return verdict


def _bind(recipe: Recipe, verdict: _Verdict, console: Console) -> None:
    """Hold a recipe to its model. Mutates the verdict."""
    from ..commands.bind import bind

    try:
        plan = bind(recipe, narrator(console))
    except QRecipeError as error:
        verdict.problems += [located(problem, recipe) for problem in problems_of(error)]
        return
    layers = len(plan.alignments)
    aligned = f", queries aligned in {layers} decoder layer{'s'[: layers != 1]}" if layers else ""
    verdict.warnings = plan.warnings
    verdict.title = f"valid, and binds: {len(plan.quantizers)} quantizers{aligned}"


COMMAND = Command("say everything that is wrong with recipes; builds nothing", _options, _run)
