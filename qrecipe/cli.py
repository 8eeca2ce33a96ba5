"""The command line. The only place that prints errors and exits.

Exit codes: 0 done; 2 something that the user can mend, a line for each; 130 interrupted; 141 nobody reads the output
(``| head``); 1, with a traceback, a fault of qrecipe's own.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from .arguments import parser
from .errors import QRecipeError, RecipeErrors, RunError

if TYPE_CHECKING:
    from rich.table import Table

    from .recipe.definition import Recipe

Command = Callable[[argparse.Namespace, Console], None]


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """rich would leave with 1, which is for faults."""
        raise BrokenPipeError


class _Several(Exception):  # noqa: N818 - a bundle of errors
    """The problems of several recipes."""

    def __init__(self, problems: Sequence[QRecipeError]) -> None:
        super().__init__(*problems)
        self.problems = tuple(problems)


def _validate(arguments: argparse.Namespace, console: Console) -> None:
    problems: list[QRecipeError] = []
    for path in arguments.recipes:
        try:
            console.print(f"{path}: {_validated(path, arguments, console)}", highlight=False, soft_wrap=True)
        except RecipeErrors as errors:
            problems += errors.problems
        except QRecipeError as error:
            problems.append(error)
    if problems:
        raise _Several(problems)


def _validated(path: Path, arguments: argparse.Namespace, console: Console) -> str:
    from .recipe import load_recipe  # all that validate needs: without --bind no library of models is loaded

    recipe = load_recipe(path, arguments.set)
    if not arguments.bind:
        return "valid"
    from .commands.bind import bind
    from .commands.workshop import without_weights

    plan = bind(without_weights(recipe) if arguments.random_weights else recipe, _sayer(console))
    layers = len(plan.alignments)
    aligned = f", queries aligned in {layers} decoder layer{'s'[: layers != 1]}" if layers else ""
    return f"valid, and binds: {len(plan.quantizers)} quantizers{aligned}"


def _recipe(arguments: argparse.Namespace) -> Recipe:
    from .recipe import load_recipe

    recipe = load_recipe(arguments.recipe, arguments.set)
    if not arguments.random_weights:
        return recipe
    from .commands.workshop import without_weights

    return without_weights(recipe)


def _plan(arguments: argparse.Namespace, console: Console) -> None:
    recipe = _recipe(arguments)
    from .commands.bind import plan
    from .report.plan import plan_tables

    found = plan(recipe, _sayer(Console(stderr=True) if arguments.json else console), arguments.image_size)
    if arguments.json:
        sys.stdout.write(json.dumps(found.to_json(), indent=1) + "\n")
        return
    _show(console, plan_tables(found, sites=arguments.sites))


def _apply(arguments: argparse.Namespace, console: Console) -> None:
    recipe = _recipe(arguments)
    from .commands.apply import apply
    from .report.progress import training_watcher
    from .report.tables import summary_tables

    folder = (arguments.output or recipe.output or Path("runs") / recipe.name).resolve()
    with training_watcher(console, recipe.train.epochs) as watcher:
        summary = apply(recipe, folder, say=_sayer(console), watcher=watcher, resume=arguments.resume)
    _show(console, summary_tables(summary))
    for note in summary.notes:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"run: {folder}", highlight=False, markup=False, soft_wrap=True)


def _evaluate(arguments: argparse.Namespace, console: Console) -> None:
    from .commands.evaluate import evaluate
    from .commands.target import find_target
    from .report.progress import counter
    from .report.tables import evaluation_tables
    from .run.files import write_atomically

    target = find_target(arguments.target, arguments.model, arguments.set, arguments.random_weights)
    if arguments.detections is not None:
        _check_new(arguments.detections)
    if arguments.json:
        evaluation, results = evaluate(target, arguments.split, _sayer(Console(stderr=True)))
    else:
        with counter(console, f"{arguments.split}: batches") as progress:
            evaluation, results = evaluate(target, arguments.split, _sayer(console), progress)
    if arguments.detections is not None:
        write_atomically(arguments.detections, json.dumps(results).encode())
    if arguments.json:
        sys.stdout.write(json.dumps(evaluation.to_dict(), indent=1) + "\n")
        return
    _show(console, evaluation_tables(evaluation, f"{target.title}: {arguments.split} split"))


def _predict(arguments: argparse.Namespace, console: Console) -> None:
    from .commands.predict import find_images, predict
    from .commands.target import find_target

    target = find_target(arguments.target, arguments.model, arguments.set, arguments.random_weights)
    images = find_images(arguments.images, arguments.limit)
    predict(target, images, arguments.output, _sayer(console), threshold=arguments.threshold)
    console.print(f"pictures and detections.json: {arguments.output}", highlight=False, markup=False, soft_wrap=True)


def _show(console: Console, parts: Iterable[Table | str]) -> None:
    for part in parts:
        console.print()
        console.print(part, highlight=False, markup=False, soft_wrap=isinstance(part, str))
    console.print()


def _check_new(path: Path) -> None:
    """Raises: RunError: a file is there already, or its folder is not. Said before the work, not after it."""
    if path.exists():
        raise RunError("the file is there already, and is not overwritten", where=str(path))
    if not path.parent.is_dir():
        raise RunError("there is no such folder", where=str(path.parent), remedy="make it first")


def _sayer(console: Console) -> Callable[[str], None]:
    return lambda text: console.print(text, highlight=False, markup=False, soft_wrap=True)


COMMANDS: dict[str, Command] = {
    "validate": _validate,
    "plan": _plan,
    "apply": _apply,
    "evaluate": _evaluate,
    "predict": _predict,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = parser().parse_args(argv)
    _calm()
    console = _Console()
    try:
        COMMANDS[arguments.command](arguments, console)
    except (RecipeErrors, _Several) as errors:
        _complain([str(problem) for problem in errors.problems])
        return 2
    except QRecipeError as error:
        _complain([str(error)])
        return 2
    except KeyboardInterrupt:
        remedy = " (continue the run with --resume)" if arguments.command == "apply" else ""
        _complain([f"interrupted{remedy}"])
        return 130
    except BrokenPipeError:
        # Nothing is left to say; without this Python would complain when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0


def _complain(lines: Sequence[str]) -> None:
    for line in lines:
        sys.stderr.write(f"error: {line}\n")


def _calm() -> None:
    """Keep other libraries' notices out of the user's terminal; errors still show."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", module=r"(torch|transformers|accelerate)\b")
    logging.getLogger("accelerate").setLevel(logging.ERROR)
